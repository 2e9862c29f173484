"""Training as a user meets it: whole processes that are started, killed, resumed, multiplied and mistyped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file, save_file
from runs import same_run
from tiny import CLASSES, tiny_processed

from vehicle_nb.core import VehicleError
from vehicle_nb.evaluation.evaluate import own_set
from vehicle_nb.training.checkpoints import list_checkpoints
from vehicle_nb.models.cnn import load_bundle
from vehicle_nb.training.dist import enough_gpus
from vehicle_nb.training.config import Settings, choose_epochs, complete
from vehicle_nb.train import epochs_within, main, train
from vehicle_nb.training.loop import Trainer, train_step

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"input_size": 32, "batch_size": 8, "threads": 1, "quiet": True}
FAST = "--input_size 32 --batch_size 8 --precision fp32 --threads 1"


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    return tiny_processed(tmp_path_factory.mktemp("data") / "processed", each=7)


def start(module: str, *options, cwd=None, **env) -> subprocess.Popen:
    "Start a module of the package as a process of its own."
    return subprocess.Popen(
        [sys.executable, "-m", module, *(str(word) for option in options for word in str(option).split())],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=os.environ | env,
    )  # fmt: skip


def finished(process: subprocess.Popen) -> tuple[int, str, str]:
    "Wait for a process; returns exit code, standard output and standard error."
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def whole_run(processed, tmp_path_factory) -> Path:
    "An undisturbed run of three epochs."
    models = tmp_path_factory.mktemp("models")
    code, out, err = finished(start("vehicle_nb.train", f"--processed {processed} --models {models} --run_name whole --epochs 3", FAST))
    assert code == 0, err
    assert "Test accuracy" in out and str(models / "whole") in out and "vehicle_predict" in out
    assert "pictures/s" in err and "loss" in err and "left" in err, "the progress bar tells loss, speed and time left"
    return models / "whole"


# --- what a run leaves ---------------------------------------------------------------------------------------------------


def test_a_run_leaves_bundle_history_checkpoints_and_events(processed, whole_run):
    model, config, _ = load_bundle(whole_run)
    assert config["classes"] == CLASSES and config["input_size"] == 32 and not model.training
    assert 0 < config["temperature"] < 100 and config["unknown_score"] == "familiarity" and 0 < config["unknown_threshold"] <= 1
    assert config["metrics"]["test_pictures"] > 0 and 0 <= config["metrics"]["test_accuracy"] <= 1
    assert list(pd.read_csv(whole_run / "history.csv")["epoch"]) == [1, 2, 3]
    assert len(list_checkpoints(whole_run)) == 2 and list((whole_run / "tensorboard").iterdir())
    assert not list(whole_run.rglob(".part-*"))
    assert Path(own_set(whole_run)).samefile(processed) and not Path(config["data"]["processed"]).is_absolute()


def test_minutes_choose_the_epochs_and_so_many_epochs_are_the_same_run(processed, tmp_path, capsys):
    where = {"processed": str(processed), "models": str(tmp_path), "precision": "fp32"}
    train(**where, run_name="timed", minutes=0.03, **QUICK | {"quiet": False})
    settings = json.loads((tmp_path / "timed/settings.json").read_text())
    said = ["One epoch fits", "Not even one epoch fits"] if settings["epochs"] == 1 else [f"{settings['epochs']} epochs fit"]
    out = capsys.readouterr().out
    assert any(f"{words} into 0.03 minutes" in out for words in said)
    train(**where, run_name="counted", epochs=settings["epochs"], **QUICK)
    same_run(tmp_path / "timed", tmp_path / "counted")
    train(**where, run_name="timed", resume=True, **QUICK)
    assert json.loads((tmp_path / "timed/settings.json").read_text()) == settings, "a resumed run is not timed again"


@pytest.fixture
def cpu() -> Accelerator:
    "An Accelerator on the CPU, although other tests in this process may have one on a GPU."
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("minutes, epochs", [(1e-6, 0), (1e6, 2 * choose_epochs(21))])
def test_too_few_minutes_and_too_many(processed, tmp_path, cpu, minutes, epochs):
    options = {"processed": str(processed), "input_size": 64, "batch_size": 8}
    assert epochs_within(Trainer(complete(Settings(minutes=minutes, **options), cpu.device), tmp_path, cpu)) == epochs


def test_same_seed_gives_the_same_run_and_another_seed_another(processed, whole_run, tmp_path):
    options = {"processed": str(processed), "models": str(tmp_path), "epochs": 3, "precision": "fp32"}
    train(**options, **QUICK, run_name="again")
    same_run(whole_run, tmp_path / "again")
    train(**options, **QUICK, run_name="other", seed=7)
    a, b = (load_file(run / "model.safetensors") for run in (whole_run, tmp_path / "other"))
    assert not torch.equal(a["head.2.weight"], b["head.2.weight"])


def test_the_largest_seed_is_a_seed_like_any_other(processed, tmp_path, cpu):
    steps = []
    for seed in (2**63 - 1, 2**63 - 2):
        trainer = fresh_trainer(processed, tmp_path, cpu, seed=seed)
        steps.append(train_step(trainer, next(iter(trainer.loaders["train"])), 7).tolist())
    assert steps[0] != steps[1]


# --- what changes a step, and what must not --------------------------------------------------------------------------------


def fresh_trainer(processed, path, accelerator, **options) -> Trainer:
    "A run before its first step; nothing in it depends on chance or on the neighbours in the batch."
    wanted = {"processed": str(processed), "epochs": 1, "input_size": 32, "batch_size": 8, "precision": "fp32", "norms": "fixed"}
    trainer = Trainer(complete(Settings(**wanted | options), accelerator.device), path, accelerator)
    trainer.train_mode()
    trainer.model.head[1].p = 0.0
    return trainer


@pytest.mark.parametrize("mixing", [{}, {"cutmix": 0.5, "mixup": 0.5}], ids=["plain", "mixed"])
def test_a_step_in_three_pieces_is_the_step_in_one(processed, tmp_path, cpu, mixing):
    whole, pieces = (fresh_trainer(processed, tmp_path, cpu, accumulate=k, **mixing) for k in (1, 3))
    batch = next(iter(whole.loaders["train"]))
    sums = [train_step(trainer, batch, len(batch[1])) for trainer in (whole, pieces)]
    torch.testing.assert_close(*sums, rtol=1e-5, atol=1e-5)
    for a, b in zip(whole.model.parameters(), pieces.model.parameters(), strict=True):
        # AdamW's first step has the size of the learning rate whatever the gradient is: where it is almost 0, signs may differ.
        assert ((a - b).abs() > 1e-5).float().mean() < 0.01


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"epochs": 100}, 0.5), ({"epochs": 99}, 0.0), ({"epochs": 100, "weights": "known.safetensors"}, 0.0),
        ({"epochs": 100, "cutmix": 0.0}, 0.0), ({"epochs": 3, "cutmix": 0.3}, 0.3), ({"epochs": 100, "mixup": 0.7}, 0.0),
    ],
    ids=str,
)  # fmt: skip
def test_long_runs_from_scratch_mix_pictures_unless_told_otherwise(processed, options, share):
    assert complete(Settings(processed=str(processed), **options), torch.device("cpu")).cutmix == share


def test_a_borrowed_network_keeps_its_first_layers_and_its_statistics(processed, whole_run, tmp_path):
    weights = {name: value for name, value in load_file(whole_run / "model.safetensors").items() if not name.startswith("head.")}
    save_file(weights, tmp_path / "borrowed.safetensors")
    options = {"processed": str(processed), "models": str(tmp_path), "weights": str(tmp_path / "borrowed.safetensors"), "frozen": 2}
    metrics = train(**options, **QUICK, run_name="taught", epochs=1, precision="fp32")
    after = load_file(tmp_path / "taught" / "model.safetensors")
    assert torch.equal(after["stem.0.0.weight"], weights["stem.0.0.weight"])
    assert torch.equal(after["stages.3.body.0.1.running_mean"], weights["stages.3.body.0.1.running_mean"])
    assert not torch.equal(after["stages.3.body.1.0.weight"], weights["stages.3.body.1.0.weight"])
    assert metrics["val_accuracy"] > 0.9, "four colours are easy, even for a head that learns alone"


# --- killed, and resumed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_goes_on_to_the_very_same_weights(processed, whole_run, tmp_path, name):
    options = f"--processed {processed} --models {tmp_path} --run_name broken --epochs 3 --save_every 1"
    process = start("vehicle_nb.train", options, FAST)
    deadline = time.monotonic() + 120
    while not [p for p in list_checkpoints(tmp_path / "broken") if p.stem.endswith("_step_000002")]:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    process.send_signal(getattr(signal, name))
    code, out, err = finished(process)
    if name == "SIGINT":
        assert code == 0 and "--resume --run_name broken" in out and "Traceback" not in err
        assert not load_bundle(tmp_path / "broken")[1]["finished"]  # whoever stops early has a model all the same
    if name == "SIGTERM":
        assert code == 75 and "Traceback" not in err and "--resume --run_name broken" in err.strip().splitlines()[-1]
    assert not list_checkpoints(tmp_path / "broken")[-1].name.startswith("epoch_0003"), "it was to be stopped before its end"
    code, out, err = finished(start("vehicle_nb.train", f"--models {tmp_path} --run_name broken --resume --threads 1"))
    assert code == 0 and "Going on with" in out, err
    same_run(whole_run, tmp_path / "broken")


def test_a_run_goes_on_with_its_own_set_and_its_own_settings_only(processed, whole_run, tmp_path):
    shutil.copytree(whole_run, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"finished": False}))
    code, out, err = finished(start("vehicle_nb.train", f"--models {tmp_path} --run_name run --resume --threads 1 --lr 0.5 --seed 42"))
    assert code == 0 and "not obeyed: --lr 0.5. For" in out, out + err
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"finished": False}))
    other = tiny_processed(tmp_path / "other", each=7, content_hash="another")
    with pytest.raises(VehicleError, match="is not the set any more"):
        train(models=str(tmp_path), run_name="run", resume=True, processed=str(other), quiet=True)


def test_ctrl_c_is_heard_even_when_an_epoch_is_one_step(processed, tmp_path):
    options = f"--processed {processed} --models {tmp_path} --run_name one_step --epochs 300 --batch_size 64 --input_size 32 --threads 1"
    process = start("vehicle_nb.train", options)
    deadline = time.monotonic() + 120
    while not list_checkpoints(tmp_path / "one_step"):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, out, err = finished(process)
    assert code == 0 and "Stopped." in out and f"--run_name one_step --models {tmp_path}" in out, err
    assert len(pd.read_csv(tmp_path / "one_step" / "history.csv")) < 300


def test_a_run_is_not_overwritten_by_another_of_its_name(processed, whole_run):
    with pytest.raises(VehicleError, match="holds a run already"):
        train(processed=str(processed), models=str(whole_run.parent), run_name="whole", quiet=True)


# --- several processes ---------------------------------------------------------------------------------------------------


def test_accelerate_launch_with_cpu2_really_starts_two_processes(processed, tmp_path):
    config = ROOT / "configs" / "cpu2.yaml"
    options = f"--processed {processed} --models {tmp_path} --epochs 2 {FAST}"
    launch = f"--config_file {config} --main_process_port 29531 -m vehicle_nb.train --run_name two"
    code, out, err = finished(start("accelerate.commands.launch", launch, options))
    assert code == 0, err
    assert "world size 2" in out and out.count("Test accuracy") == 1, "rank 0 alone speaks"
    meeting = "--world_size 2 --master_port 29532 --run_name terminals"
    on_cpu = {"ACCELERATE_USE_CPU": "true"}
    terminals = [start("vehicle_nb.distributed", f"--rank {rank} {meeting}", options, **on_cpu) for rank in (1, 0)]
    assert [finished(t)[0] for t in terminals] == [0, 0]
    same_run(tmp_path / "two", tmp_path / "terminals")


@pytest.mark.parametrize("here, gpus, cpu, refused", [(2, 1, "", True), (2, 2, "", False), (1, 0, "", False), (8, 1, "true", False)])
def test_more_processes_than_gpus_are_refused_before_they_meet(monkeypatch, here, gpus, cpu, refused):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    for name, value in {"LOCAL_WORLD_SIZE": here, "LOCAL_RANK": 0, "ACCELERATE_USE_CPU": cpu}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(VehicleError, match=r"1 GPU for 2 processes.*--num_processes 1") if refused else nullcontext():
        enough_gpus()


# --- mistakes ------------------------------------------------------------------------------------------------------------


MISTAKES = {
    "unknown architecture": ("--arch resnet_18", "resnet18"),
    "no such weights": ("--weights no/such.safetensors", "no file of weights"),
    "no such processed set": ("--processed no/such/set --raw no/raw", "vehicle_preprocess"),
    "nothing to resume": ("--resume --models no/models", "without --resume"),
    "negative epochs": ("--epochs -3", "--epochs"),
    "two lengths of a run": ("--minutes 3 --epochs 2", "one of them"),
    "a time that is none": ("--minutes nan --epochs 0", "--minutes"),
    "pieces of nothing": ("--accumulate 0", "--accumulate"),
    "more mixtures than pictures": ("--cutmix 0.7 --mixup 0.7", "at most 1"),
    "a negative share of mixtures": ("--cutmix -0.5", "0 or more"),
    "unknown way with statistics": ("--norms frozen", "fixed"),
    "too many bands": ("--frozen 5", "bands"),
    "unwritable models": ("--models /dev/null/models", "--models"),
    "a size that no network takes": ("--input_size 1", "--input_size"),
    "a number that is none": ("--lr nan", "--lr"),
    "a seed that no generator takes": ("--seed 99999999999999999999", "2^63"),
    "a run that wants out": ("--run_name ../evil", "slashes"),
    "raw folder mistyped": ("--processed no/such/set --raw pix", "vehicle_preprocess"),
    "one class only": ("--processed {tmp}/none --raw {tmp}/raw", "class"),
}


def typed(options: str, monkeypatch, capsys) -> tuple[int, str, str]:
    "What `finished` tells of a process, without one: to start Python and PyTorch takes longer than to find a mistake."
    monkeypatch.setattr(sys, "argv", ["vehicle_train", *options.split()])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, *capsys.readouterr()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_sentence_and_exit_code_2(processed, tmp_path, mistake, monkeypatch, capsys):
    options, hint = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw" / "bus").mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (40, 30), (i * 50, 90, 20)).save(tmp_path / f"raw/bus/{i}.png")
    if "--processed" not in options:
        options += f" --processed {processed}"
    options = options.format(tmp=tmp_path) + " --epochs 1" * ("--epochs" not in options)
    alone = mistake == next(iter(MISTAKES))  # one as a process of its own, to prove that both ways are one
    code, out, err = finished(start("vehicle_nb.train", options, cwd=tmp_path)) if alone else typed(options, monkeypatch, capsys)
    assert code == 2 and "Traceback" not in out + err, err
    assert err.strip().splitlines()[-1].startswith("vehicle_train: ") and hint in err
    left = {p.name for p in tmp_path.iterdir()} - {"raw"}
    assert not left, f"half-written: {left}"


def test_a_loss_that_explodes_says_so(processed, tmp_path):
    with pytest.raises(VehicleError, match="learning rate"):
        train(processed=str(processed), models=str(tmp_path), run_name="wild", epochs=2, lr=1e30, clip=0, precision="fp32", **QUICK)


def test_with_no_pictures_at_all_the_demo_set_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import vehicle_nb.train as module

    monkeypatch.setattr(module, "make_demo", lambda raw: shutil.copytree(_few(tmp_path), raw))
    metrics = train(epochs=1, input_size=32, threads=1, quiet=True)
    assert Path("data/raw").is_dir() and json.loads(Path("data/processed/config.json").read_text())["classes"] == ["bus", "kayak"]
    assert Path(metrics["run"]).parent == Path("models")


def _few(tmp_path) -> Path:
    "A demo set of two classes: drawing all twenty would take half a minute."
    from vehicle_nb.demo.make import make_demo

    return make_demo(tmp_path / "few", per_class=8, classes=["bus", "kayak"], workers=1, show_progress=False)


# --- steps that are too small, and a compiler that is not there ----------------------------------------------------------


@pytest.mark.parametrize("batch_size, accumulate, each", [(1, 1, 7), (2, 1, 1), (8, 8, 7)], ids=["batch", "last batch", "pieces"])
def test_one_small_picture_alone_is_refused_in_one_sentence(tmp_path, batch_size, accumulate, each):
    data = tiny_processed(tmp_path / "processed", CLASSES[:3], each)
    with pytest.raises(VehicleError, match="cannot learn from one picture of 32×32 pixels alone"):
        train(str(data), models=str(tmp_path / "models"), epochs=1, **QUICK | {"batch_size": batch_size, "accumulate": accumulate})
    assert not (tmp_path / "models").exists()


def test_one_picture_a_step_works_where_batch_normalisation_has_something_to_compare(processed, tmp_path):
    for name, more in {"large": {"input_size": 64}, "fixed": {"norms": "fixed"}, "none": {"arch": "squeezenet1_1"}}.items():
        metrics = train(str(processed), models=str(tmp_path), run_name=name, epochs=1, **QUICK | {"batch_size": 1} | more)
        assert metrics["epoch"] == 1


def test_compile_without_a_compiler_is_refused_in_one_sentence(processed, tmp_path):
    options = f"--processed {processed} --models {tmp_path / 'models'} --epochs 1 --compile"
    code, _, err = finished(start("vehicle_nb.train", options, FAST, PATH=str(tmp_path), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache")))
    assert code == 2 and "torch.compile does not work here" in err.splitlines()[-1] and "leave --compile out" in err
    assert "Traceback" not in err and not (tmp_path / "models").exists()
