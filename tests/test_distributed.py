"""Several real processes: who sees what, whether they stay in step, and what happens when one of them dies."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from conftest import ROOT
from forks import FORKS, Forked
from ranks import hold_store
from ranks import run as run_rank
from runs import free_port, on_the_cpu_below, same_run
from safetensors.torch import load_file
from tiny import tiny_bundle, tiny_processed

import vehicle_nb
from vehicle_nb.training import dist as processes
from vehicle_nb.training.checkpoints import list_checkpoints, read_checkpoint
from vehicle_nb.core import VehicleError
from vehicle_nb.distributed import init_distributed, rendezvous
from vehicle_nb.models.registry import create_model
from vehicle_nb.training.dist import UNSUPPORTED_PLUGINS, check_same_options, fresh_store
from vehicle_nb.training.loop import EMA
from vehicle_nb.train import train

CONFIGS = Path(__file__).parent.parent / "configs"
RANKS = Path(__file__).parent / "ranks.py"
SMALL = {"input_size": 32, "batch_size": 8, "precision": "fp32", "ema": 0.998}


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu_where_gpus_are_too_few():
    "Four ranks need four GPUs, or none."
    with on_the_cpu_below(4):
        yield


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    "35 pictures to train, validate and test: no multiple of 2, 3, 4 or 8."
    path = tiny_processed(tmp_path_factory.mktemp("data") / "processed", each=9)
    next((path / "train" / "boat").iterdir()).unlink()
    return path


class Ranks:
    "Some ranks of `ranks.py`, forked from a process that has imported torch; to a test they look like one process."

    def __init__(self, count: int, options: dict):
        self.folder, self.processes, port = Path(tempfile.mkdtemp()), [], free_port()
        env, text = os.environ | {"OMP_NUM_THREADS": "1"}, json.dumps(options, default=str)
        for rank in range(count):
            call = (rank, count, port, dict(env), self.folder / f"{rank}.txt", text)
            self.processes.append(FORKS.Process(target=run_rank, args=call))
            self.processes[-1].start()

    def communicate(self, timeout: float) -> tuple[str, str]:
        "Wait for all ranks; returns what they have printed."
        deadline = time.monotonic() + timeout
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
            process.kill()
            process.join()
        said = "".join(file.read_text() for file in sorted(self.folder.glob("*.txt")))
        shutil.rmtree(self.folder)
        return said, ""

    @property
    def returncode(self) -> int:
        "0 if all ranks ended well, otherwise the code of one that did not."
        return next((process.exitcode for process in self.processes if process.exitcode), 0)


def launch(count: int, **options) -> Ranks:
    "Start so many ranks of `ranks.py`."
    return Ranks(count, options)


def torchrun(count: int, *flags: str, **options) -> Forked:
    "Start `ranks.py` under torchrun, which forks its ranks, too."
    meeting = ["--nproc_per_node", count, "--master_port", free_port(), "--start_method", "fork", "--run_path"]
    return Forked("torch.distributed.run", *meeting, *flags, RANKS, json.dumps(options, default=str))


def ended(process: Forked | Ranks, code: int | None = 0) -> str:
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
    ended(launch(4, data=processed, output=path, run_name="run", epochs=2, notes=path / "notes", **SMALL | {"batch_size": 16}))
    return path


@pytest.fixture(scope="module")
def two(processed, tmp_path_factory) -> Path:
    "Two ranks, three epochs, a checkpoint after every step."
    path = tmp_path_factory.mktemp("two")
    ended(launch(2, data=processed, output=path, run_name="run", epochs=3, checkpoint_every=1, notes=path / "notes", **SMALL,
                 log_with="tensorboard"))  # fmt: skip
    return path


@pytest.fixture(scope="module")
def killed(processed, tmp_path_factory) -> Path:
    "The run of `two`, killed without warning in its second epoch: rank 0, which saves, is the one that dies."
    path = tmp_path_factory.mktemp("killed")
    ended(launch(2, data=processed, output=path, run_name="run", epochs=3, checkpoint_every=1, notes=path / "first", **SMALL,
                 trouble={"rank": 0, "epoch": 1, "step": 2, "kind": "kill"}), None)  # fmt: skip
    return path


# --- it learns -----------------------------------------------------------------------------------------------------------


def start(how: str, ranks: int, options: str) -> list[Forked]:
    "Start a training as a user would, on so many processes."
    port, module = free_port(), f"vehicle_nb.train {options}"
    config = "--num_processes 1 --num_machines 1" if ranks == 1 else f"--config_file {CONFIGS}/cpu2.yaml --num_processes {ranks}"
    commands = {
        "alone": [module],
        "accelerate": [f"accelerate.commands.launch {config} --main_process_port {port} -m {module}"],
        "torchrun": [f"torch.distributed.run --nproc_per_node {ranks} --master_port {port} -m {module}"],
        "terminals": [
            f"vehicle_nb.distributed --rank {rank} --world_size {ranks} --master_port {port} {options}" for rank in range(ranks)
        ],
    }[how]  # fmt: skip
    return [Forked(*command.split(), env=os.environ | {"OMP_NUM_THREADS": "1"}) for command in commands]


def learned(how: str, ranks: int, options: str) -> float:
    "Train; returns the validation accuracy of the bundle, judged here by this one process."
    folder = Path(options.split("--output ")[1].split()[0]) / "run"
    said = [ended(process) for process in start(how, ranks, f"{options} --run_name run --num_threads 1")]
    assert any(f"world size {ranks}." in text for text in said), said
    assert "".join(said).count("Test accuracy") == 1, "rank 0 alone speaks"
    return judged(folder)


def judged(bundle: Path) -> float:
    "Share of the validation pictures that a bundle knows; what it says of itself is the same."
    from vehicle_nb.data.augment import normalize_batch
    from vehicle_nb.data.dataset import PackedDataset
    from vehicle_nb.models.bundle import load_bundle

    model, config, _ = load_bundle(bundle)
    data = PackedDataset(bundle / config["data"]["path"], "val", quiet=True)
    images, labels, _ = data.__getitems__(range(len(data)))
    with torch.inference_mode():
        share = (model(normalize_batch(images, config["input_size"])).argmax(1) == labels).float().mean().item()
    assert share == pytest.approx(config["metrics"]["val_accuracy"], abs=1e-6)
    return share


@pytest.mark.parametrize(
    ("how", "ranks"), [("alone", 1), ("terminals", 1), ("terminals", 4), ("accelerate", 2), ("torchrun", 2)], ids=lambda value: str(value)
)
def test_every_launcher_trains_a_network_that_knows_its_pictures(tmp_path, how, ranks):
    data = tiny_processed(tmp_path / "processed", each=16)
    options = f"--data {data} --epochs 6 --batch_size 16 --input_size 32 --precision fp32"
    assert learned(how, ranks, f"{options} --output {tmp_path}") >= 0.9
    if how == "accelerate":
        learned("terminals", ranks, f"{options} --output {tmp_path / 'terminals'}")
        same_run(tmp_path / "run", tmp_path / "terminals" / "run")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> Path:
    "Four kinds of vehicle of the demo set, and a resnet18 that knows them, whose weights can be borrowed."
    from vehicle_nb.demo.make import make_demo
    from vehicle_nb.data.preprocess import preprocess

    path = tmp_path_factory.mktemp("drawings")
    make_demo(path / "raw", per_class=60, classes=["bus", "kayak", "tractor", "unicycle"], quiet=True)
    preprocess(path / "raw", path / "set", quiet=True)
    lender = {"arch": "resnet18", "epochs": 24, "augmentation": 0.5, "input_size": 64}
    train(data=str(path / "set"), output=str(path), run_name="lender", **lender, quiet=True)
    return path


NETWORKS = {
    "own": "--epochs 40 --input_size 64",
    "fine-tuned, fixed": "--arch resnet18 --weights {lender} --freeze_bn --epochs 4 --input_size 64",
    "fine-tuned, free": "--arch resnet18 --weights {lender} --no_freeze_bn --epochs 4 --input_size 64",
}


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("network", NETWORKS)
def test_one_two_and_four_processes_learn_the_same(tmp_path, request, network):
    if "slow" not in request.config.getoption("--flags"):
        pytest.skip('the whole matrix takes most of an hour: --flags "slow"')
    drawings = request.getfixturevalue("drawings")  # not an argument: it takes minutes, also for a test that is skipped
    options = f"--data {drawings / 'set'} {NETWORKS[network].format(lender=drawings / 'lender' / 'model.safetensors')}"
    found = {
        f"{how} {ranks}": learned(how, ranks, f"{options} --output {tmp_path / f'{how}_{ranks}'}")
        for how in ("terminals", "accelerate", "torchrun") for ranks in (1, 2, 4)
    }  # fmt: skip
    alone = learned("alone", 1, f"{options} --output {tmp_path / 'alone'}")
    assert alone >= 0.9 and all(abs(share - alone) <= 4 / 36 for share in found.values()), (alone, found)


def by_hand(average: dict, model: torch.nn.Module, step: int, decay: float) -> dict:
    "The next exponential moving average, from its definition."
    keep = min(decay, (1 + step) / (10 + step)) if step else 0.0
    now = {name: value.detach().double() for name, value in model.state_dict().items()}
    keep = dict.fromkeys(now, keep) | {name: 0.0 for name in now if "num_batches" in name}  # a count is no average
    return {name: keep[name] * average.get(name, 0) + (1 - keep[name]) * value for name, value in now.items()}


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "compiled"])
def test_the_average_follows_a_model_whose_tensors_were_replaced(wrapped):
    torch.manual_seed(0)
    model = create_model(num_classes=4).train()
    average, norm = EMA(model, decay=0.9), model.stem[0][1]
    old = norm.running_mean
    model.to("cpu:0")  # as Accelerate does where several processes share CPUs
    assert norm.running_mean is not old, "this is what the test is about"
    optimizer, hand = torch.optim.SGD(model.parameters(), 1e-3), {}
    for step in range(12):
        model(torch.randn(4, 3, 32, 32) + step / 4).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(torch.compile(model) if wrapped else model)
        hand = by_hand(hand, model, step, 0.9)
    assert int(average.n_averaged) == 12 and (average.module.stem[0][1].running_mean - norm.running_mean).norm() > 1e-2
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value.double(), hand[name], rtol=1e-4, atol=1e-6)


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


@pytest.mark.parametrize("ranks", ["two", "four"])
def test_the_average_of_a_run_is_the_one_computed_by_hand(ranks, request):
    for notes in read_notes(request.getfixturevalue(ranks) / "notes"):
        assert 0 < notes["off"] < 1e-5, "in float32 it rounds, but it follows the model, statistics included"


def test_what_four_ranks_measure_is_what_one_process_measures(four, processed):
    "The last epoch's model, judged here by this one process."
    from vehicle_nb.data.augment import normalize_batch
    from vehicle_nb.data.dataset import PackedDataset
    from vehicle_nb.models.registry import create_model

    model = create_model(num_classes=4)
    found = read_checkpoint(four / "run")
    model.load_state_dict({name.removeprefix("module."): value for name, value in found["ema"].items() if name != "n_averaged"})
    for split in ("val", "test"):
        data = PackedDataset(processed, split, quiet=True)
        images, labels, _ = data.__getitems__(range(len(data)))
        with torch.inference_mode():
            logits = model.eval()(normalize_batch(images, 32))
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


def test_a_probe_of_two_ranks_is_the_probe_of_one(processed, tmp_path):
    start = tiny_bundle(tmp_path / "start") / "model.safetensors"
    options = {"data": processed, "run_name": "run", "weights": start, "probe": True} | SMALL
    ended(launch(2, output=tmp_path / "two", notes=tmp_path / "notes", **options))
    metrics = train(output=tmp_path / "one", num_threads=1, quiet=True, **options)
    one, other = (load_file(tmp_path / name / "run" / "model.safetensors") for name in ("one", "two"))
    # the ranks' features stand in another order, and L-BFGS adds them up in it
    assert all(torch.allclose(value, other[name], rtol=1e-2, atol=1e-3) for name, value in one.items())
    assert judged(tmp_path / "two" / "run") == pytest.approx(metrics["val_accuracy"], abs=1e-6) and metrics["test_accuracy"] > 0.9


def test_ranks_agree_on_how_many_epochs_fit_into_the_minutes(processed, tmp_path):
    timed = {"max_minutes": 0.01, "quiet": False, "notes": tmp_path / "notes"}
    said = ended(launch(2, data=processed, output=tmp_path, run_name="run", **timed, **SMALL))
    assert said.count("into 0.01 minutes") == 1
    first, second = read_notes(tmp_path / "notes")
    assert first["weights"] == second["weights"] and len(first["weights"]) == max(row + 1 for row, _ in first["seen"])


def test_a_step_too_small_for_its_ranks_is_refused_in_one_sentence(processed, tmp_path):
    few = SMALL | {"batch_size": 3}
    said = ended(launch(2, data=processed, output=tmp_path, run_name="run", epochs=1, notes=tmp_path / "notes", **few), None)
    assert said.count("are too few for 2 processes") == 1 and "--batch_size 8" in said
    assert "Error:" not in said.replace("ChildFailedError:", "")


def test_a_step_of_four_ranks_has_the_gradient_of_one_process(tmp_path):
    data = tiny_processed(tmp_path / "processed", each=8)
    same = {"data": data, "output": tmp_path, "epochs": 1, "freeze_bn": True, "no_dropout": True}
    gradients = []
    for ranks in (1, 4):
        options = same | SMALL | {"batch_size": 32, "run_name": f"of_{ranks}", "notes": tmp_path / f"notes_{ranks}"}
        ended(launch(ranks, **options))
        gradients.append(torch.load(tmp_path / f"notes_{ranks}" / "0.pt")["gradient"])
    assert gradients[0].norm() > 0.01
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-5)


def test_rank_0_alone_talks_to_the_trackers(two):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [file] = (two / "run" / "trackers" / "vehicle_nb").glob("events*")
    losses = [event.value for event in EventAccumulator(str(file)).Reload().Scalars("val_loss")]
    assert losses == pytest.approx(list(pd.read_csv(two / "run" / "history.csv")["val_loss"]), rel=1e-6) and len(losses) == 3


# --- stopped, killed, resumed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["term", "kill", "kill in save"])
def test_two_ranks_that_are_stopped_go_on_to_the_very_same_weights(two, killed, processed, tmp_path, kind):
    if kind == "kill":
        shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    else:
        trouble = {"rank": 0, "epoch": 1, "step": 2, "kind": kind}
        same = {"data": processed, "output": tmp_path, "run_name": "run", "epochs": 3, "checkpoint_every": 1} | SMALL
        ended(launch(2, **same, notes=tmp_path / "first", trouble=trouble), None)
    stopped = list_checkpoints(tmp_path / "run")[-1].name
    # A request is heard every ten steps and at an epoch's end, a kill at once.
    assert stopped == {"term": "epoch_0002_step_000000.pt"}.get(kind, "epoch_0001_step_000002.pt")
    said = ended(launch(2, output=tmp_path, run_name="run", resume=True, notes=tmp_path / "second"))
    assert said.count("Resuming ") == 1
    same_run(two / "run", tmp_path / "run")
    assert not list(tmp_path.rglob(".part-*"))


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_run_goes_on_with_another_number_of_ranks_at_the_right_picture(killed, tmp_path, ranks):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    assert list_checkpoints(tmp_path / "run")[-1].stem == "epoch_0001_step_000002"
    ended(launch(ranks, output=tmp_path, run_name="run", resume=True, notes=tmp_path / "second"))
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
    assert len(said) == 1 and newest.name in said[0] and "skipped" in said[0]
    train(output=str(tmp_path), run_name="run", resume=True, num_threads=1, quiet=True)
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 3
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"finished": False}))
    for file in list_checkpoints(tmp_path / "run"):
        file.write_bytes(b"PK")
    with pytest.raises(VehicleError, match="are broken"):
        train(output=str(tmp_path), run_name="run", resume=True, num_threads=1, quiet=True)


def test_a_full_disk_stops_all_ranks_with_one_sentence_and_spoils_nothing(processed, tmp_path):
    trouble = {"rank": 0, "epoch": 1, "step": 0, "kind": "disk full"}
    options = {"data": processed, "output": tmp_path, "run_name": "run", "epochs": 3, **SMALL}
    process = launch(2, **options, notes=tmp_path / "notes", trouble=trouble)
    said = ended(process, None)
    assert process.returncode != 0 and said.count("could not be saved") == 1 and "No space left" in said
    assert read_checkpoint(tmp_path / "run")["model"] and len(list_checkpoints(tmp_path / "run")) == 1


# --- what is printed is what runs ------------------------------------------------------------------------------------------


CONFIG = """compute_environment: LOCAL_MACHINE
num_machines: 1
machine_rank: 0
rdzv_backend: static
same_network: true
main_training_function: main
"""


def user_config(folder: Path, more: str) -> dict:
    "The environment of a user whose `accelerate config` holds these lines."
    (folder / "accelerate").mkdir(parents=True)
    (folder / "accelerate" / "default_config.yaml").write_text(CONFIG + more)
    return {"HF_HOME": str(folder)}


def test_our_options_decide_not_the_users_accelerate_config(processed, tmp_path):
    theirs = 'distributed_type: "NO"\nnum_processes: 1\nmixed_precision: bf16\ndynamo_config:\n  dynamo_backend: INDUCTOR\n'
    env = user_config(tmp_path / "home", theirs) | {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_TORCH_DEVICE": "meta"}
    options = f"--data {processed} --output {tmp_path} --epochs 2 --input_size 32 --batch_size 8"
    options += " --precision fp32 --grad_clip 1 --num_threads 1"
    launched = f"-m accelerate.commands.launch -m vehicle_nb.train {options} --run_name launched"
    command = [sys.executable, *launched.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ | env)
    assert done.returncode == 0, done.stderr
    assert "in fp32, 1 process of 1 thread on cpu" in done.stdout and "mixed_precision bf16 (--precision decides)" in done.stdout
    assert "dynamo_backend inductor (--compile decides)" in done.stdout and "gradient_accumulation_steps 4" in done.stdout
    ended(start("alone", 1, f"{options} --run_name alone")[0])
    same_run(tmp_path / "alone", tmp_path / "launched")


def test_a_config_that_asks_for_fsdp_is_refused_in_one_sentence(tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "-m", "vehicle_nb.train", "--output", str(tmp_path / "models")]
    env = os.environ | user_config(tmp_path / "home", "distributed_type: FSDP\nnum_processes: 2\nfsdp_config: {}\n")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, cwd=tmp_path)
    assert done.returncode and done.stderr.count("asks for FSDP, which vehicle_nb does not support") == 1, done.stderr
    assert str(ROOT / "vehicle_nb") not in done.stderr, "no traceback of ours; the launcher has its own"
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("variable", [*UNSUPPORTED_PLUGINS, "ACCELERATE_MIXED_PRECISION"])
def test_no_plugin_of_accelerate_runs_unasked(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "true" if variable in UNSUPPORTED_PLUGINS else "fp8")
    for call in (lambda: train(output=str(tmp_path / "models")), lambda: init_distributed(0, 1, master_port=free_port())):
        with pytest.raises(VehicleError, match=f"asks for {UNSUPPORTED_PLUGINS.get(variable, 'fp8')}, which"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_program_with_an_accelerator_of_its_own_is_told():
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        Accelerator(mixed_precision="bf16")
        with pytest.raises(VehicleError, match="has already created an Accelerator with other settings"):
            train()
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


# --- all alike -------------------------------------------------------------------------------------------------------------


def different(processed: Path, tmp_path: Path, one: str, other: str) -> str:
    "What two terminals say that were started with different options."
    port = free_port()
    same = f"--data {processed} --output {tmp_path / 'models'} --epochs 1 --input_size 32 --batch_size 8"
    both = [terminal(rank, port, f"{same} {more}") for rank, more in enumerate((one, other))]
    said = "".join(ended(process, 2) for process in both)
    assert said.count("were started with different options") == 1 and "Traceback" not in said, said
    assert not (tmp_path / "models").exists()
    return said


DIFFERENT = {
    "--lr is 0.01 on rank 0 and 1.0 on rank 1. Start all of them with": ("--lr 0.01", "--lr 1.0"),
    "--run_name is a on rank 0 and b on rank 1; --epochs is 1 on rank 0 and 4 on rank 1; --batch_size is 8 on rank 0 and 4 on rank 1; "
    "--class_weights is True on rank 0 and False on rank 1; --seed is 1 on rank 0 and 2 on rank 1; "
    "--resume is False on rank 0 and True on rank 1. Start all of them with":
        ("--run_name a --seed 1 --class_weights", "--run_name b --seed 2 --epochs 4 --batch_size 4 --resume"),
}  # fmt: skip


@pytest.mark.parametrize("told", DIFFERENT, ids=["rate", "many"])
def test_terminals_with_different_options_are_told_which(processed, tmp_path, told):
    assert told in different(processed, tmp_path, *DIFFERENT[told])


def test_what_each_machine_may_have_in_its_own_way_is_no_difference(processed, tmp_path):
    shutil.copytree(processed, tmp_path / "copy")
    port, both = free_port(), "--epochs 1 --input_size 32 --batch_size 8 --run_name run"
    own = [
        f"--data {processed} --output {tmp_path / 'models'}",
        f"--data {tmp_path / 'copy'} --output {tmp_path / 'none'} --ddp_timeout 90 --quiet",
    ]
    said = "".join(ended(process) for process in [terminal(rank, port, f"{both} {own[rank]}") for rank in (0, 1)])
    assert "world size 2" in said and not (tmp_path / "none").exists()


def test_other_code_and_other_weights_are_told(monkeypatch, tmp_path):
    "Two ranks, one of which has another torch, another line of ours, another file of weights."
    found, files = [], [tmp_path / name for name in ("one.pt", "other.pt")]
    for file in files:
        file.write_bytes(file.name.encode())
    monkeypatch.setattr(processes, "gather_object", lambda own: found.extend(own) or found)
    rank = [SimpleNamespace(num_processes=2, process_index=r, is_main_process=not r) for r in range(2)]
    check_same_options(rank[0], {"weights": str(files[0])})
    monkeypatch.setattr(torch, "__version__", "1.0.0+cpu")
    monkeypatch.setattr(processes, "_code", lambda: "0" * 8)
    with pytest.raises(VehicleError, match=r"^$"):  # rank 0 speaks
        check_same_options(rank[1], {"weights": str(files[1])})
    monkeypatch.setattr(processes, "gather_object", lambda own: found)
    with pytest.raises(VehicleError) as told:
        check_same_options(rank[0], {"weights": str(files[0])})
    digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:8] for file in files]
    assert "--weights is " + " and ".join(f"a file with the content {d} on rank {r}" for r, d in enumerate(digests)) in str(told.value)
    assert "and 1.0.0 on rank 1; vehicle_nb is " in str(told.value) and f"with {'0' * 8} on rank 1" in str(told.value)


def test_the_code_counts_whatever_ends_its_lines(monkeypatch, tmp_path):
    monkeypatch.setattr(vehicle_nb, "__file__", str(tmp_path / "__init__.py"))
    names = []
    for content in (b"a\nb\n", b"a\r\nb\r\n", b"a\nc\n"):
        (tmp_path / "__init__.py").write_bytes(content)
        names.append(processes._code())
    assert names[0] == names[1] != names[2]


def test_a_rank_that_leaves_before_the_comparison_is_no_traceback(processed, tmp_path):
    "Rank 1 has an option that cannot be; rank 0 waits for it and says in a sentence that it is gone."
    port, options = free_port(), f"--data {processed} --output {tmp_path}"
    first, second = terminal(0, port, options), terminal(1, port, f"{options} --lr -1")
    assert "--lr must be" in ended(second, 2)
    said = ended(first, 75)
    assert "another process has died or does not respond" in said and "Traceback" not in said


# --- a rank dies ---------------------------------------------------------------------------------------------------------


def terminal(rank: int, port: int, options: str) -> Forked:
    "One of two processes, started by hand."
    words = f"--rank {rank} --world_size 2 --master_port {port} --num_threads 1 {options}"
    return Forked("vehicle_nb.distributed", *words.split())


@pytest.mark.parametrize(("how", "seconds"), [(signal.SIGKILL, 20), (signal.SIGSTOP, 45)], ids=["dies", "hangs"])
def test_when_a_rank_is_lost_the_other_says_so_and_leaves(processed, tmp_path, how, seconds):
    port = free_port()
    options = f"--data {processed} --output {tmp_path} --run_name run --epochs 500 --input_size 32 --batch_size 8 --ddp_timeout 8"
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
    assert "another process has died or does not respond" in last and "--resume --run_name run" in last
    assert "Traceback" not in err and "frame #" not in err and "gloo/transport" not in err, err
    assert read_checkpoint(tmp_path / "run")


def test_torchrun_starts_a_job_again_and_it_finishes_as_if_nothing_had_been(two, processed, tmp_path):
    trouble = {"rank": 1, "epoch": 1, "step": 2, "kind": "kill"}
    options = {"data": processed, "output": tmp_path, "run_name": "run", "epochs": 3, "checkpoint_every": 1, **SMALL}
    said = ended(torchrun(2, "--max-restarts", "2", **options, notes=tmp_path / "notes", trouble=trouble))
    assert "Resuming " in said
    same_run(two / "run", tmp_path / "run")
    assert pd.read_csv(tmp_path / "run" / "history.csv")["val_accuracy"].max() >= 0.5, "of four classes"


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

    def __init__(self, keeper, store, last: str):
        self.keeper, self.store, self.last = keeper, store, last

    def __getattr__(self, name: str):
        if name == self.last:
            self.keeper.kill()
            self.keeper.join()
        return getattr(self.store, name)


@pytest.mark.parametrize("last", ["add", "set", "wait", "check", "get"])
def test_rank_0_may_leave_at_any_moment_of_the_rendezvous(monkeypatch, last):
    port, open_store, ready = free_port(), torch.distributed.TCPStore, FORKS.Event()
    keeper = FORKS.Process(target=hold_store, args=(port, last != "check", ready))  # with "check" it never says that it is there
    keeper.start()
    assert ready.wait(60)
    monkeypatch.setattr(torch.distributed, "TCPStore", lambda *args, **options: Mortal(keeper, open_store(*args, **options), last))
    try:
        with pytest.raises(VehicleError, match="Rank 0 exited before all ranks had joined"):
            rendezvous(1, 2, "127.0.0.1", port, timeout=3 if last == "check" else 60)
    finally:
        keeper.kill()
        keeper.join()


def stranger(kind: str) -> socket.socket:
    "A program on a port, which is none of ours: it says nothing, answers as a web server does, or greets whoever comes."
    server = socket.create_server(("127.0.0.1", 0))
    words = {"web": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "greeting": b"SSH-2.0-OpenSSH_9.2\r\n"}

    def serve():
        callers = []
        while True:
            try:
                callers.append(server.accept()[0])
                callers[-1].sendall(words.get(kind, b""))
                if kind == "web":
                    callers[-1].close()
            except OSError:
                if server.fileno() < 0:
                    return

    threading.Thread(target=serve, daemon=True).start()
    return server


@pytest.mark.parametrize("kind", ["silent", "web", "greeting"])
def test_a_port_that_another_program_holds_is_told_in_time(kind):
    with stranger(kind) as server:
        port = server.getsockname()[1]
        ranks = [terminal(rank, port, "--timeout 4") for rank in (0, 1)]
        begin = time.monotonic()
        first, second = (ended(rank, 2) for rank in ranks)
        assert time.monotonic() - begin < 60
    assert f"Rank 0 cannot open port {port}: it is in use" in first.splitlines()[-1]
    assert f"Rank 1 reached another program at 127.0.0.1:{port}" in second.splitlines()[-1]


def test_a_job_that_may_be_started_again_needs_a_name(processed, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(VehicleError, match="--run_name NAME"):
        train(data=str(processed), output=str(tmp_path), quiet=True)


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

    def start(self, machine: int, rank: int, options: str) -> Forked:
        meeting = f"--rank {rank} --world_size 4 --master_addr 10.99.0.1 --num_threads 1 --ddp_timeout 15"
        return Forked("vehicle_nb.distributed", *f"{meeting} {options}".split(), network=self.names[machine])


def test_two_machines_train_lose_one_and_resume(processed, tmp_path):
    options = f"--output {tmp_path} --run_name run"
    new = f"{options} --data {processed} --epochs 400 --input_size 32 --batch_size 16 --precision fp32"
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
        settings = json.loads((tmp_path / "run" / "train_config.json").read_text())
        done = read_checkpoint(tmp_path / "run")["state"]
        epochs = json.loads(done["json"])["epoch"] + 2  # what is left is made short
        (tmp_path / "run" / "train_config.json").write_text(json.dumps(settings | {"epochs": epochs}))
        ranks = [machines.start(rank // 2, rank, f"{options} --resume") for rank in (3, 1, 0, 2)]
        outputs = [rank.communicate(timeout=180) for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0] * 4, outputs
        assert "world size 4" in outputs[2][0] and len(pd.read_csv(tmp_path / "run" / "history.csv")) == epochs
    assert np.isfinite(pd.read_csv(tmp_path / "run" / "history.csv")["val_loss"]).all()
