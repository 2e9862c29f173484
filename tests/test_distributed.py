"""Several real processes: who sees what, whether they stay in step, and what happens when one of them dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from runs import free_port, same_run
from tiny import tiny_processed

from vehicle_nb.checkpoints import list_checkpoints, read_checkpoint
from vehicle_nb.core import VehicleError
from vehicle_nb.distributed import meet
from vehicle_nb.processes import fresh_store
from vehicle_nb.train import train

RANKS = Path(__file__).parent / "ranks.py"
SMALL = {"input_size": 32, "batch_size": 8, "precision": "fp32"}


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu_where_gpus_are_too_few():
    "Four ranks need four GPUs, or none."
    with pytest.MonkeyPatch.context() as patch:
        if torch.cuda.device_count() < 4:
            patch.setenv("ACCELERATE_USE_CPU", "true")
        yield


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    "35 pictures to train, validate and test: no multiple of 2, 3, 4 or 8."
    path = tiny_processed(tmp_path_factory.mktemp("data") / "processed", each=9)
    next((path / "train" / "boat").iterdir()).unlink()
    return path


def launch(ranks: int, *flags: str, **options) -> subprocess.Popen:
    "Start `ranks.py` under torchrun; one rank alone needs no launcher."
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(ranks), "--master_port", str(free_port()), *flags]
    command = [sys.executable, *(torchrun if ranks > 1 else []), str(RANKS), json.dumps(options, default=str)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def ended(process: subprocess.Popen, code: int | None = 0) -> str:
    "Wait for a process; returns all that it said."
    out, err = process.communicate(timeout=240)
    assert code is None or process.returncode == code, out + err
    return out + err


def read_notes(folder: Path) -> list[dict]:
    "The notes of each rank."
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(len(list(folder.glob("*.json"))))]


def pictures_of(notes: list[dict], epoch: int) -> list[int]:
    "Indices of all pictures that any rank has seen in an epoch, sorted."
    return sorted(i for rank in notes for at, index in rank["seen"] if at == epoch for i in index)


@pytest.fixture(scope="module")
def four(processed, tmp_path_factory) -> Path:
    "Four ranks, two epochs."
    path = tmp_path_factory.mktemp("four")
    ended(launch(4, processed=processed, models=path, run_name="run", epochs=2, notes=path / "notes", **SMALL | {"batch_size": 16}))
    return path


@pytest.fixture(scope="module")
def two(processed, tmp_path_factory) -> Path:
    "Two ranks, three epochs, a checkpoint after every step."
    path = tmp_path_factory.mktemp("two")
    ended(launch(2, processed=processed, models=path, run_name="run", epochs=3, save_every=1, notes=path / "notes", **SMALL))
    return path


@pytest.fixture(scope="module")
def killed(processed, tmp_path_factory) -> Path:
    "The run of `two`, killed without warning in its second epoch: rank 0, which saves, is the one that dies."
    path = tmp_path_factory.mktemp("killed")
    ended(launch(2, processed=processed, models=path, run_name="run", epochs=3, save_every=1, notes=path / "first", **SMALL,
                 trouble={"rank": 0, "epoch": 1, "step": 2, "kind": "kill"}), None)  # fmt: skip
    return path


# --- right ---------------------------------------------------------------------------------------------------------------


def test_four_ranks_see_each_picture_exactly_once_an_epoch(four):
    notes = read_notes(four / "notes")
    assert len(notes) == 4
    for epoch in (0, 1):
        assert pictures_of(notes, epoch) == list(range(35))
    orders = [[i for at, index in notes[0]["seen"] if at == epoch for i in index] for epoch in (0, 1)]
    assert orders[0] != orders[1], "each epoch has its own order"


def test_after_every_epoch_the_weights_are_the_same_on_all_ranks_to_the_last_bit(four):
    weights = [rank["weights"] for rank in read_notes(four / "notes")]
    assert len(weights[0]) == 2 and weights.count(weights[0]) == 4 and weights[0][0] != weights[0][1]


def test_what_four_ranks_measure_is_what_one_process_measures(four, processed):
    "The last epoch's model, judged here by this one process."
    from vehicle_nb.loading import PackedSplit, to_input
    from vehicle_nb.model import create_model

    model = create_model(num_classes=4)
    found = read_checkpoint(four / "run")
    model.load_state_dict({name.removeprefix("module."): value for name, value in found["ema"].items() if name != "n_averaged"})
    for split in ("val", "test"):
        data = PackedSplit(processed, split, quiet=True)
        images, labels, _ = data.__getitems__(range(len(data)))
        with torch.inference_mode():
            logits = model.eval()(to_input(images, 32))
        for rank in range(4):
            theirs = torch.load(four / "notes" / f"{rank}.pt")[split]
            torch.testing.assert_close(theirs, logits, rtol=1e-4, atol=1e-4)
        if split == "val":
            share = (logits.argmax(1) == labels).float().mean().item()
            assert pd.read_csv(four / "run" / "history.csv")["val_accuracy"].iloc[-1] == pytest.approx(share, abs=1e-7)


def test_a_picture_is_augmented_alike_whatever_the_number_of_ranks(four, two):
    one, other = ({k: v for rank in read_notes(p / "notes") for k, v in rank["pictures"].items()} for p in (four, two))
    assert one and len({*one.values()}) > 60
    assert all(other[key] == value for key, value in one.items())


def test_ranks_agree_on_how_many_epochs_fit_into_the_minutes(processed, tmp_path):
    timed = {"minutes": 0.01, "quiet": False, "notes": tmp_path / "notes"}
    said = ended(launch(2, processed=processed, models=tmp_path, run_name="run", **timed, **SMALL))
    assert said.count("into 0.01 minutes") == 1
    first, second = read_notes(tmp_path / "notes")
    assert first["weights"] == second["weights"] and len(first["weights"]) == max(row + 1 for row, _ in first["seen"])


def test_a_step_too_small_for_its_ranks_is_refused_in_one_sentence(processed, tmp_path):
    few = SMALL | {"batch_size": 3}
    said = ended(launch(2, processed=processed, models=tmp_path, run_name="run", epochs=1, notes=tmp_path / "notes", **few), None)
    assert said.count("are too few for 2 processes") == 1 and "--batch_size 8" in said
    assert "Error:" not in said.replace("ChildFailedError:", "")


def test_a_step_of_four_ranks_has_the_gradient_of_one_process(tmp_path):
    data = tiny_processed(tmp_path / "processed", each=8)
    same = {"processed": data, "models": tmp_path, "epochs": 1, "norms": "fixed", "clip": 0, "no_dropout": True}
    gradients = []
    for ranks in (1, 4):
        options = same | SMALL | {"batch_size": 32, "run_name": f"of_{ranks}", "notes": tmp_path / f"notes_{ranks}"}
        ended(launch(ranks, **options))
        gradients.append(torch.load(tmp_path / f"notes_{ranks}" / "0.pt")["gradient"])
    assert gradients[0].norm() > 0.01
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-5)


# --- stopped, killed, resumed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["term", "kill", "kill in save"])
def test_two_ranks_that_are_stopped_go_on_to_the_very_same_weights(two, killed, processed, tmp_path, kind):
    if kind == "kill":
        shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    else:
        trouble = {"rank": 0, "epoch": 1, "step": 2, "kind": kind}
        same = {"processed": processed, "models": tmp_path, "run_name": "run", "epochs": 3, "save_every": 1} | SMALL
        ended(launch(2, **same, notes=tmp_path / "first", trouble=trouble), None)
    stopped = list_checkpoints(tmp_path / "run")[-1].name
    # A request is heard every ten steps and at an epoch's end, a kill at once.
    assert stopped == {"term": "epoch_0002_step_000000.pt"}.get(kind, "epoch_0001_step_000002.pt")
    said = ended(launch(2, models=tmp_path, run_name="run", resume=True, notes=tmp_path / "second"))
    assert said.count("Going on with") == 1
    same_run(two / "run", tmp_path / "run")
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_run_goes_on_with_another_number_of_ranks_at_the_right_picture(killed, tmp_path, ranks):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    assert list_checkpoints(tmp_path / "run")[-1].stem == "epoch_0001_step_000002"
    ended(launch(ranks, models=tmp_path, run_name="run", resume=True, notes=tmp_path / "second"))
    before = [{"seen": [row for row in rank["seen"] if row[0] == 1][:2]} for rank in read_notes(tmp_path / "first")]
    after = read_notes(tmp_path / "second")
    assert len(after) == ranks
    assert pictures_of(before + after, 1) == list(range(35)), "neither twice nor left out"
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert len(history) == 3 and (history["train_accuracy"] <= 1).all()


def test_a_broken_checkpoint_is_passed_over(two, processed, tmp_path):
    shutil.copytree(two / "run", tmp_path / "run")
    *_, older, newest = list_checkpoints(tmp_path / "run")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    newest.write_bytes(content)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"finished": False}))
    said = []
    assert read_checkpoint(tmp_path / "run", said.append)["state"] == torch.load(older)["state"]
    assert len(said) == 1 and newest.name in said[0] and "passed over" in said[0]
    train(models=str(tmp_path), run_name="run", resume=True, threads=1, quiet=True)
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 3
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"finished": False}))
    for file in list_checkpoints(tmp_path / "run"):
        file.write_bytes(b"PK")
    with pytest.raises(VehicleError, match="is whole"):
        train(models=str(tmp_path), run_name="run", resume=True, threads=1, quiet=True)


def test_a_full_disk_stops_all_ranks_with_one_sentence_and_spoils_nothing(processed, tmp_path):
    trouble = {"rank": 0, "epoch": 1, "step": 0, "kind": "disk full"}
    options = {"processed": processed, "models": tmp_path, "run_name": "run", "epochs": 3, **SMALL}
    process = launch(2, **options, notes=tmp_path / "notes", trouble=trouble)
    said = ended(process, None)
    assert process.returncode != 0 and said.count("could not be saved") == 1 and "No space left" in said
    assert read_checkpoint(tmp_path / "run")["model"] and len(list_checkpoints(tmp_path / "run")) == 1


# --- a rank dies ---------------------------------------------------------------------------------------------------------


def terminal(rank: int, port: int, options: str) -> subprocess.Popen:
    "One of two processes, started by hand."
    command = f"{sys.executable} -m vehicle_nb.distributed --rank {rank} --world_size 2 --master_port {port} --threads 1 {options}"
    return subprocess.Popen(command.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("how", "seconds"), [(signal.SIGKILL, 20), (signal.SIGSTOP, 45)], ids=["dies", "hangs"])
def test_when_a_rank_is_lost_the_other_says_so_and_leaves(processed, tmp_path, how, seconds):
    port = free_port()
    options = f"--processed {processed} --models {tmp_path} --run_name run --epochs 500 --input_size 32 --batch_size 8 --peer_timeout 8"
    survivor, lost = (terminal(rank, port, options) for rank in (0, 1))
    deadline = time.monotonic() + 120
    while not list_checkpoints(tmp_path / "run"):
        assert survivor.poll() is None and time.monotonic() < deadline, survivor.communicate()
        time.sleep(0.05)
    start = time.monotonic()
    lost.send_signal(how)
    _, err = survivor.communicate(timeout=120)
    took = time.monotonic() - start
    lost.kill()
    lost.communicate()
    last = [line for line in err.replace("\r", "\n").splitlines() if line.strip()][-1]
    assert survivor.returncode == 75 and took < seconds, err
    assert "another process has died or does not answer" in last and "--resume --run_name run" in last
    assert "Traceback" not in err and "frame #" not in err and "gloo/transport" not in err, err
    assert read_checkpoint(tmp_path / "run")


def test_torchrun_starts_a_job_again_and_it_finishes_as_if_nothing_had_been(two, processed, tmp_path):
    trouble = {"rank": 1, "epoch": 1, "step": 2, "kind": "kill"}
    options = {"processed": processed, "models": tmp_path, "run_name": "run", "epochs": 3, "save_every": 1, **SMALL}
    said = ended(launch(2, "--max-restarts", "2", **options, notes=tmp_path / "notes", trouble=trouble))
    assert "Going on with" in said
    same_run(two / "run", tmp_path / "run")


def test_the_living_do_not_meet_the_dead():
    "Three attempts in one store, the second given up half-way: the ranks of each meet under a name of their own."
    store = torch.distributed.HashStore()
    with ThreadPoolExecutor(3) as pool:
        for attempt in range(3):
            if attempt == 1:
                store.set("here/1", "of a process that died before it had an answer")
                continue
            met = list(pool.map(lambda rank: fresh_store(rank, 3, store), range(3)))
            assert not met[0].check(["address"]), "an address of an earlier attempt"
            met[1].set("address", f"attempt {attempt}")
            assert [s.get("address").decode() for s in met] == [f"attempt {attempt}"] * 3


class Mortal:
    "The store of a rank 0 that is killed just before it is asked for one thing."

    def __init__(self, keeper: subprocess.Popen, store, last: str):
        self.keeper, self.store, self.last = keeper, store, last

    def __getattr__(self, name: str):
        if name == self.last:
            self.keeper.kill()
            self.keeper.wait()
        return getattr(self.store, name)


@pytest.mark.parametrize("last", ["add", "set", "wait", "check", "get"])
def test_rank_0_may_leave_at_any_moment_of_the_meeting(monkeypatch, last):
    port, open_store = free_port(), torch.distributed.TCPStore
    keep = f"import torch.distributed as d, time; s = d.TCPStore('127.0.0.1', {port}, None, True, wait_for_workers=False)"
    others = "" if last == "check" else "; s.set('size/0', '2')"  # with "check" it never says that it is there
    code = f"{keep}{others}; print('open', flush=True); time.sleep(60)"
    keeper = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    keeper.stdout.readline()
    monkeypatch.setattr(torch.distributed, "TCPStore", lambda *args, **options: Mortal(keeper, open_store(*args, **options), last))
    try:
        with pytest.raises(VehicleError, match="Rank 0 has left before all had come"):
            meet(1, 2, "127.0.0.1", port, timeout=3 if last == "check" else 60)
    finally:
        keeper.kill()
        keeper.communicate()


def test_a_job_that_may_be_started_again_needs_a_name(processed, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(VehicleError, match="--run_name NAME"):
        train(processed=str(processed), models=str(tmp_path), quiet=True)


# --- several machines ----------------------------------------------------------------------------------------------------


class Machines:
    "Two network namespaces with a cable between them: two machines, as far as the network knows."

    names = ("vehicle_a", "vehicle_b")

    def __enter__(self):
        a, b = self.names
        steps = [f"netns add {a}", f"netns add {b}", f"link add veth_a netns {a} type veth peer name veth_b netns {b}"]
        for name, end, address in ((a, "veth_a", 1), (b, "veth_b", 2)):
            steps += [f"-n {name} addr add 10.99.0.{address}/24 dev {end}", f"-n {name} link set {end} up", f"-n {name} link set lo up"]
        try:
            for step in steps:
                subprocess.run(["ip", *step.split()], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            pytest.skip(f"two network namespaces are not permitted here: {getattr(error, 'stderr', error)!r}")
        return self

    def __exit__(self, *_):
        for name in self.names:
            if shutil.which("ip"):
                subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def start(self, machine: int, rank: int, options: str) -> subprocess.Popen:
        meeting = f"--rank {rank} --world_size 4 --master_addr 10.99.0.1 --threads 1 --peer_timeout 15"
        command = f"ip netns exec {self.names[machine]} {sys.executable} -m vehicle_nb.distributed {meeting} {options}"
        return subprocess.Popen(command.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_machines_train_lose_one_and_resume(processed, tmp_path):
    options = f"--models {tmp_path} --run_name run"
    new = f"{options} --processed {processed} --epochs 400 --input_size 32 --batch_size 16 --precision fp32"
    with Machines() as machines:
        ranks = [machines.start(rank // 2, rank, new) for rank in range(4)]
        deadline = time.monotonic() + 150
        while not list_checkpoints(tmp_path / "run"):
            assert ranks[0].poll() is None and time.monotonic() < deadline, [r.kill() or r.communicate() for r in ranks]
            time.sleep(0.05)
        for rank in ranks[2:]:
            for child in [psutil.Process(rank.pid), *psutil.Process(rank.pid).children(recursive=True)]:
                child.kill()
        said = [rank.communicate(timeout=120)[1] for rank in ranks[:2]]
        assert [rank.returncode for rank in ranks[:2]] == [75, 75] and all("has died" in text for text in said), said
        settings = json.loads((tmp_path / "run" / "settings.json").read_text())
        done = read_checkpoint(tmp_path / "run")["state"]
        epochs = json.loads(done["json"])["epoch"] + 2  # what is left is made short
        (tmp_path / "run" / "settings.json").write_text(json.dumps(settings | {"epochs": epochs}))
        ranks = [machines.start(rank // 2, rank, f"{options} --resume") for rank in (3, 1, 0, 2)]
        outputs = [rank.communicate(timeout=180) for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0] * 4, outputs
        assert "world size 4" in outputs[2][0] and len(pd.read_csv(tmp_path / "run" / "history.csv")) == epochs
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "history.csv")["val_loss"]).all()
