"""Training as a user meets it: whole processes that are started, killed, resumed, multiplied and mistyped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from forks import Forked
from PIL import Image
from safetensors.torch import load_file, save_file
from runs import same_run
from tiny import CLASSES, tiny_processed
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vehicle_nb.core import VehicleError
from vehicle_nb.data.augment import normalize_batch
from vehicle_nb.evaluation.evaluate import bundle_data_dir
from vehicle_nb.training.checkpoints import list_checkpoints
from vehicle_nb.models.bundle import load_bundle
from vehicle_nb.models.registry import create_model
from vehicle_nb.training.dist import check_num_gpus
from vehicle_nb.training.config import TrainConfig, choose_epochs, make_config, resolve_defaults, train_options
from vehicle_nb.commands import vehicle_train
from vehicle_nb.train import plan_epochs, train
from vehicle_nb.training import checkpoints
from vehicle_nb.training.loop import EMA, Trainer
from vehicle_nb.training.outliers import Outliers

QUICK = {"input_size": 32, "batch_size": 8, "num_threads": 1, "quiet": True}
FAST = "--input_size 32 --batch_size 8 --precision fp32 --num_threads 1"


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    return tiny_processed(tmp_path_factory.mktemp("data") / "processed", each=7)


def start(module: str, *options, cwd=None, **env) -> Forked:
    "Start a module of the package as a process of its own."
    return Forked(module, *(word for option in options for word in str(option).split()), cwd=cwd, env=os.environ | env)


def finished(process: Forked | subprocess.Popen) -> tuple[int, str, str]:
    "Wait for a process; returns exit code, standard output and standard error."
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def whole_run(processed, tmp_path_factory) -> Path:
    "An undisturbed run of three epochs."
    models = tmp_path_factory.mktemp("models")
    options = f"--data {processed} --output {models} --run_name whole --epochs 3 {FAST}"  # as a user starts it: all others are forked
    command = [sys.executable, "-m", "vehicle_nb.train", *options.split()]
    code, out, err = finished(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    assert code == 0, err
    assert "Test accuracy" in out and str(models / "whole") in out and "vehicle_predict" in out
    assert "images/s" in err and "loss" in err and "left" in err, "the progress bar tells loss, speed and time left"
    return models / "whole"


# --- what a run leaves ---------------------------------------------------------------------------------------------------


def test_a_run_leaves_bundle_history_and_checkpoints(processed, whole_run):
    model, config, _ = load_bundle(whole_run)
    assert config["classes"] == CLASSES and config["input_size"] == 32 and not model.training
    assert 0 < config["temperature"] < 100 and config["ood_score"] == "p_known" and 0 < config["ood_threshold"] <= 1
    assert config["metrics"]["test_images"] > 0 and 0 <= config["metrics"]["test_accuracy"] <= 1
    assert list(pd.read_csv(whole_run / "history.csv")["epoch"]) == [1, 2, 3]
    assert len(list_checkpoints(whole_run)) == 2
    assert not list(whole_run.rglob(".part-*"))
    assert Path(bundle_data_dir(whole_run)).samefile(processed) and not Path(config["data"]["path"]).is_absolute()


def test_minutes_choose_the_epochs_and_so_many_epochs_are_the_same_run(processed, tmp_path, capsys):
    where = {"data": str(processed), "output": str(tmp_path), "precision": "fp32"}
    train(**where, run_name="timed", max_minutes=0.03, **QUICK | {"quiet": False})
    settings = json.loads((tmp_path / "timed/train_config.json").read_text())
    said = ["One epoch fits", "Not even one epoch fits"] if settings["epochs"] == 1 else [f"{settings['epochs']} epochs fit"]
    out = capsys.readouterr().out
    assert any(f"{words} into 0.03 minutes" in out for words in said)
    train(**where, run_name="counted", epochs=settings["epochs"], **QUICK)
    same_run(tmp_path / "timed", tmp_path / "counted")
    train(**where, run_name="timed", resume=True, **QUICK)
    assert json.loads((tmp_path / "timed/train_config.json").read_text()) == settings, "a resumed run is not timed again"


@pytest.fixture
def cpu() -> Accelerator:
    "An Accelerator on the CPU, although other tests in this process may have one on a GPU."
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("minutes, epochs", [(1e-6, 0), (1e6, 2 * choose_epochs(21))])
def test_too_few_minutes_and_too_many(processed, tmp_path, cpu, minutes, epochs):
    options = {"data": str(processed), "input_size": 64, "batch_size": 8}
    assert Trainer(resolve_defaults(TrainConfig(**options), cpu.device), tmp_path, cpu).epochs_within(minutes) == epochs


def test_same_seed_gives_the_same_run_and_another_seed_another(processed, whole_run, tmp_path):
    options = {"data": str(processed), "output": str(tmp_path), "epochs": 3, "precision": "fp32"}
    train(**options, **QUICK, run_name="again")
    same_run(whole_run, tmp_path / "again")
    train(**options, **QUICK, run_name="other", seed=7)
    a, b = (load_file(run / "model.safetensors") for run in (whole_run, tmp_path / "other"))
    assert not torch.equal(a["head.2.weight"], b["head.2.weight"])


def test_the_largest_seed_is_a_seed_like_any_other(processed, tmp_path, cpu):
    steps = []
    for seed in (2**63 - 1, 2**63 - 2):
        trainer = fresh_trainer(processed, tmp_path, cpu, seed=seed)
        steps.append(trainer.train_step(next(iter(trainer.loaders["train"])), 7).tolist())
    assert steps[0] != steps[1]


# --- one config ----------------------------------------------------------------------------------------------------------


NO_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "torchvision", "pandas", "accelerate", "numpy")))  # to import one is an error
import vehicle_nb.train
from vehicle_nb.commands import vehicle_train
vehicle_train()
"""


@pytest.mark.parametrize(("options", "code", "said"), [
    (["--help"], 0, "--no_progressive full-size images from the start"), (["--epochss", "3"], 2, "unknown option: --epochss 3"),
    (["--epochs", "three"], 2, "argument --epochs: invalid int value: 'three'"),
    (["--lr", "nan"], 2, "vehicle_train: --lr must be a finite number ≥ 0, not nan."),
], ids=str)  # fmt: skip
def test_help_and_a_wrong_option_are_answered_without_pytorch_and_pandas(options, code, said):
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert said in " ".join((done.stdout + done.stderr).split()) and "Traceback" not in done.stderr


def test_each_option_stands_once_and_its_help_says_what_it_does():
    options = {option.name: option for option in train_options()}
    assert set(options) == {field.name for field in fields(TrainConfig)} - {"content_hash"} | {"config"}
    for option in options.values():
        assert len(option.help.split()) >= 2 and option.default is None, option
        assert option.type is not bool or len(option.help.partition(" | ")[2].split()) >= 2, f"{option.name}: what does its opposite do?"
    assert "(default: 0.1)" in options["label_smoothing"].help


def test_what_a_run_wrote_can_be_given_again(whole_run, tmp_path):
    train(whole_run / "train_config.json", output=str(tmp_path), run_name="again", quiet=True)
    same_run(whole_run, tmp_path / "again")


def test_a_file_of_options_is_checked_and_what_is_typed_wins(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("lr: 1e-3\nseed: 7\nepochs: 4\nprogressive: false\n")
    config, given = make_config(file, {"seed": 42, "max_minutes": 2.0, "batch_size": None})
    assert make_config(overrides={"data": tmp_path})[0].data == str(tmp_path)
    assert (config.lr, config.seed, config.epochs, config.max_minutes, config.progressive) == (1e-3, 42, None, 2.0, False)
    assert given == {"lr": 1e-3, "seed": 42, "max_minutes": 2.0, "progressive": False}
    planned = tmp_path / "planned.json"  # a run with a time budget wrote it
    planned.write_text(json.dumps({"epochs": 37, "max_minutes": 8.0, "content_hash": "abc"}))
    assert (config := make_config(planned)[0]).epochs == 37 and config.max_minutes is None
    wrong = {
        "learning_rate: 0.1\nepoch: 3": "no option 'learning_rate'.*no option 'epoch', did you mean epochs",
        "epochs: 2.5": "epochs must be a whole number", "epochs: true": "epochs must be a whole number, not True",
        "resume: 1": "resume must be true or false", "- lr": "is not a config", "a: [": "cannot be read",
    }  # fmt: skip
    for text, why in wrong.items():
        file.write_text(text)
        with pytest.raises(VehicleError, match=f"mine.yaml.*{why}"):
            make_config(file)


# --- the average ---------------------------------------------------------------------------------------------------------


def learn(model: torch.nn.Module, steps: int):
    "Some steps of SGD on noise, with a pause after each."
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    for step in range(steps):
        model(torch.randn(4, 3, 32, 32) + step / 4).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        yield step


def floats(model: torch.nn.Module) -> dict:
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def test_the_average_is_that_of_pytorch_to_the_last_bit(cpu):
    torch.manual_seed(0)
    plain = create_model(num_classes=4).train()
    model = cpu.prepare(plain)
    ours = EMA(plain, decay=0.9, warmup=False)
    theirs = AveragedModel(plain, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for _ in learn(model, 6):
        ours.update_parameters(model)
        theirs.update_parameters(model)
    assert int(ours.n_averaged) == int(theirs.n_averaged) == 6
    a, b = floats(ours.module), floats(theirs.module)
    assert a.keys() == b.keys() and any("running_var" in name for name in a) and all(torch.equal(a[name], b[name]) for name in a)
    assert any((a[name] - value).abs().max() > 1e-3 for name, value in floats(plain).items()), "it is an average, not the model"
    counters = [value for name, value in ours.module.state_dict().items() if "num_batches" in name]
    assert counters and all(int(value) == 6 for value in counters), "a counter is copied"


def test_a_young_average_forgets_its_random_start(cpu):
    torch.manual_seed(0)
    model = create_model(num_classes=4).train()
    start, (young, old) = floats(deepcopy(model)), [EMA(model, 0.998, warmup) for warmup in (True, False)]
    for _ in learn(model, 8):
        for ema in (young, old):
            ema.update_parameters(model)
    distance = [sum((floats(ema.module)[name] - value).norm() for name, value in floats(model).items()) for ema in (young, old)]
    moved = [sum((floats(ema.module)[name] - value).norm() for name, value in start.items()) for ema in (young, old)]
    assert distance[0] < distance[1] / 2 and moved[0] > moved[1]


# --- the progress --------------------------------------------------------------------------------------------------------


def test_a_program_can_read_how_far_a_run_is(processed, whole_run, tmp_path, monkeypatch):
    seen, write = [], checkpoints.write_json
    monkeypatch.setattr(checkpoints, "write_json", lambda path, value: [write(path, value), seen.append((Path(path).name, dict(value)))])
    train(data=str(processed), output=str(tmp_path), run_name="run", epochs=3, precision="fp32", **QUICK)
    told = [value for name, value in seen if name == "progress.json"]
    assert list(dict.fromkeys(value["stage"] for value in told)) == ["preparing", "training", "testing", "finished"]
    last = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert list(last) == ["stage", "epoch", "epochs", "step", "steps", "seconds_left", "val_accuracy"]
    accuracy = pd.read_csv(tmp_path / "run" / "history.csv")["val_accuracy"].iloc[-1]
    assert (last["stage"], last["epoch"], last["epochs"], last["val_accuracy"]) == ("finished", 3, 3, accuracy)
    same_run(whole_run, tmp_path / "run")


def test_a_progress_file_never_ends_a_run_nor_brings_a_deleted_folder_back(tmp_path, monkeypatch):
    file = checkpoints.ProgressFile(tmp_path / "gone")
    file.update(stage="training")
    assert not (tmp_path / "gone").exists()
    monkeypatch.setattr(checkpoints, "write_json", lambda *_: Path("/dev/full").write_text("x"))
    checkpoints.ProgressFile(tmp_path).update(stage="training")


# --- what changes a step, and what must not --------------------------------------------------------------------------------


def fresh_trainer(processed, path, accelerator, **options) -> Trainer:
    "A run before its first step; nothing in it depends on chance or on the neighbours in the batch."
    wanted = {"data": str(processed), "epochs": 1, "input_size": 32, "batch_size": 8, "precision": "fp32", "freeze_bn": True}
    trainer = Trainer(resolve_defaults(TrainConfig(**wanted | options), accelerator.device), path, accelerator)
    trainer.train_mode()
    trainer.model.head[1].p = 0.0
    return trainer


@pytest.mark.parametrize("mixing", [{}, {"cutmix": 0.5, "mixup": 0.5}, {"outliers": 0.5}], ids=["plain", "mixed", "outliers"])
def test_a_step_in_three_pieces_is_the_step_in_one(processed, tmp_path, cpu, mixing):
    whole, pieces = (fresh_trainer(processed, tmp_path, cpu, grad_accum_steps=k, **mixing) for k in (1, 3))
    batch = next(iter(whole.loaders["train"]))
    sums = [trainer.train_step(batch, len(batch[1])) for trainer in (whole, pieces)]
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
def test_long_runs_from_scratch_mix_images_unless_asked_otherwise(processed, options, share):
    assert resolve_defaults(TrainConfig(data=str(processed), **options), torch.device("cpu")).cutmix == share


@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"epochs": 100}, 0.33), ({"epochs": 99}, 0.0), ({"epochs": 100, "weights": "known.safetensors"}, 0.0),
        ({"epochs": 100, "outliers": 0.0}, 0.0), ({"epochs": 3, "outliers": 0.2}, 0.2),
    ],
    ids=str,
)  # fmt: skip
def test_long_runs_from_scratch_learn_from_outliers_unless_asked_otherwise(processed, options, share):
    assert resolve_defaults(TrainConfig(data=str(processed), **options), torch.device("cpu")).outliers == share


@pytest.mark.parametrize(
    ("tried", "fit", "epochs"),
    [(0.33, 150, 150), (0.33, 90, 99), (0.33, 40, 53), (0.0, 60, 60), (0.0, 140, 105), (0.0, 0, 0)],
    ids=str,
)
def test_the_plan_knows_that_outliers_take_time(processed, cpu, tried, fit, epochs):
    config = TrainConfig(data=str(processed), max_minutes=1.0)
    trial = SimpleNamespace(epochs_within=lambda minutes: fit, accelerator=cpu, config=replace(config, outliers=tried))
    assert plan_epochs(trial, config) == epochs


def test_a_network_that_sees_outliers_is_less_sure_about_them(processed, tmp_path, cpu):
    "And its loss is that of the images alone; another epoch has other outliers, the same epoch the same."
    sure = []
    for share in (0.0, 0.5):
        trainer = fresh_trainer(processed, tmp_path, cpu, outliers=share, freeze_bn=False)
        images, labels, index = next(iter(trainer.loaders["train"]))
        metrics = [trainer.train_step((images, labels, index), len(labels)).tolist() for _ in range(30)]
        assert metrics[-1][0] < metrics[0][0] and metrics[-1][2] == len(labels)
        others = Outliers(seed=1)(normalize_batch(images, 32), index)
        with torch.no_grad():
            sure.append(trainer.model.eval()(others).softmax(1).amax(1).mean().item())
    assert sure[1] < sure[0] - 0.1, f"{sure[1]:.2f} with outliers, {sure[0]:.2f} without"


def test_a_pretrained_network_keeps_its_first_layers_and_its_statistics(processed, whole_run, tmp_path):
    weights = {name: value for name, value in load_file(whole_run / "model.safetensors").items() if not name.startswith("head.")}
    save_file(weights, tmp_path / "pretrained.safetensors")
    options = {"data": str(processed), "output": str(tmp_path), "weights": str(tmp_path / "pretrained.safetensors"), "freeze_groups": 2}
    metrics = train(**options, **QUICK, run_name="tuned", epochs=1, precision="fp32")
    after = load_file(tmp_path / "tuned" / "model.safetensors")
    assert torch.equal(after["stem.0.0.weight"], weights["stem.0.0.weight"])
    assert torch.equal(after["stages.3.body.0.1.running_mean"], weights["stages.3.body.0.1.running_mean"])
    assert not torch.equal(after["stages.3.body.1.0.weight"], weights["stages.3.body.1.0.weight"])
    assert metrics["val_accuracy"] > 0.9, "four colours are easy, even for a head that is trained alone"


@pytest.mark.parametrize("freeze_bn", [False, True])
def test_frozen_layers_stay_as_they_are_with_their_statistics(processed, tmp_path, cpu, freeze_bn):
    trainer = fresh_trainer(processed, tmp_path, cpu, freeze_groups=2, freeze_bn=freeze_bn)
    before = {name: value.clone() for name, value in trainer.unwrapped.state_dict().items()}
    frozen = {name for name, weight in trainer.unwrapped.named_parameters() if not weight.requires_grad}
    for batch in trainer.loaders["train"]:
        trainer.train_step(batch, len(batch[1]))
    after = trainer.unwrapped.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert frozen and not frozen & moved and moved
    statistics = {name: f"{name.rpartition('.')[0]}.weight" in frozen for name in after if "running_" in name}
    assert set(statistics.values()) == {True, False}
    may_move = {name for name, is_frozen in statistics.items() if not (is_frozen or freeze_bn)}
    assert may_move == {name for name in statistics if name in moved}


# --- killed, and resumed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_goes_on_to_the_very_same_weights(processed, whole_run, tmp_path, name):
    options = f"--data {processed} --output {tmp_path} --run_name broken --epochs 3 --checkpoint_every 1"
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
    code, out, err = finished(start("vehicle_nb.train", f"--output {tmp_path} --run_name broken --resume --num_threads 1"))
    assert code == 0 and "Resuming" in out, err
    same_run(whole_run, tmp_path / "broken")


def test_a_run_goes_on_with_its_own_set_and_its_own_settings_only(processed, whole_run, tmp_path):
    shutil.copytree(whole_run, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"finished": False}))
    code, out, err = finished(start("vehicle_nb.train", f"--output {tmp_path} --run_name run --resume --num_threads 1 --lr 0.5 --seed 42"))
    assert code == 0 and "ignored: --lr 0.5. To change" in out, out + err
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"finished": False}))
    other = tiny_processed(tmp_path / "other", each=7, content_hash="another")
    with pytest.raises(VehicleError, match="is not the set that"):
        train(output=str(tmp_path), run_name="run", resume=True, data=str(other), quiet=True)


def test_ctrl_c_is_heard_even_when_an_epoch_is_one_step(processed, tmp_path):
    options = f"--data {processed} --output {tmp_path} --run_name one_step --epochs 300 --batch_size 64 --input_size 32 --num_threads 1"
    process = start("vehicle_nb.train", options)
    deadline = time.monotonic() + 120
    while not list_checkpoints(tmp_path / "one_step"):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, out, err = finished(process)
    assert code == 0 and "Stopped." in out and f"--run_name one_step --output {tmp_path}" in out, err
    assert len(pd.read_csv(tmp_path / "one_step" / "history.csv")) < 300


def test_a_run_is_not_overwritten_by_another_of_its_name(processed, whole_run):
    with pytest.raises(VehicleError, match="holds a run already"):
        train(data=str(processed), output=str(whole_run.parent), run_name="whole", quiet=True)


# --- several processes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("here, gpus, cpu, refused", [(2, 1, "", True), (2, 2, "", False), (1, 0, "", False), (8, 1, "true", False)])
def test_more_processes_than_gpus_are_refused_before_they_meet(monkeypatch, here, gpus, cpu, refused):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("cuda") if gpus else None)
    for name, value in {"LOCAL_WORLD_SIZE": here, "LOCAL_RANK": 0, "ACCELERATE_USE_CPU": cpu}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(VehicleError, match=r"1 GPU for 2 processes.*--num_processes 1") if refused else nullcontext():
        check_num_gpus()


# --- mistakes ------------------------------------------------------------------------------------------------------------


MISTAKES = {
    "unknown architecture": ("--arch resnet_18", "resnet18"),
    "no such weights": ("--weights no/such.safetensors", "no weights file no/such.safetensors"),
    "no such processed set": ("--data no/such/set --raw no/raw", "vehicle_preprocess"),
    "nothing to resume": ("--resume --output no/models", "without --resume"),
    "negative epochs": ("--epochs -3", "--epochs"),
    "two lengths of a run": ("--max_minutes 3 --epochs 2", "one of them"),
    "a time that is none": ("--max_minutes nan", "--max_minutes must be a finite number > 0"),
    "pieces of nothing": ("--grad_accum_steps 0", "--grad_accum_steps"),
    "more mixtures than images": ("--cutmix 0.7 --mixup 0.7", "at most 1"),
    "a negative share of mixtures": ("--cutmix -0.5", "from 0 to 1"),
    "more outliers than images": ("--outliers 1.5", "--outliers must be a number from 0 to 1"),
    "too many groups": ("--freeze_groups 5", "from 0 to 4"),
    "unwritable models": ("--output /dev/null/models", "--output"),
    "a size that no network takes": ("--input_size 1", "--input_size"),
    "a number that is none": ("--lr nan", "--lr must be a finite number ≥ 0, not nan"),
    "a seed that no generator takes": ("--seed 99999999999999999999", "2^63"),
    "a run that wants out": ("--run_name ../evil", "slashes"),
    "raw folder mistyped": ("--data no/such/set --raw pix", "vehicle_preprocess"),
    "one class only": ("--data {tmp}/none --raw {tmp}/raw", "class"),
}


def typed(options: str, monkeypatch, capsys) -> tuple[int, str, str]:
    "What `finished` tells of a process, without one: to start Python and PyTorch takes longer than to find a mistake."
    monkeypatch.setattr(sys, "argv", ["vehicle_train", *options.split()])
    with pytest.raises(SystemExit) as left:
        vehicle_train()
    return left.value.code, *capsys.readouterr()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_sentence_and_exit_code_2(processed, tmp_path, mistake, monkeypatch, capsys):
    options, hint = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw" / "bus").mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (40, 30), (i * 50, 90, 20)).save(tmp_path / f"raw/bus/{i}.png")
    if "--data" not in options:
        options += f" --data {processed}"
    options = options.format(tmp=tmp_path) + " --epochs 1" * ("--epochs" not in options and "minutes" not in options)
    alone = mistake == next(iter(MISTAKES))  # one as a process of its own, to prove that both ways are one
    code, out, err = finished(start("vehicle_nb.train", options, cwd=tmp_path)) if alone else typed(options, monkeypatch, capsys)
    assert code == 2 and "Traceback" not in out + err, err
    assert err.strip().splitlines()[-1].startswith("vehicle_train: ") and hint in err
    left = {p.name for p in tmp_path.iterdir()} - {"raw"}
    assert not left, f"half-written: {left}"


def test_a_loss_that_explodes_says_so(processed, tmp_path):
    with pytest.raises(VehicleError, match="learning rate"):
        train(data=str(processed), output=str(tmp_path), run_name="wild", epochs=2, lr=1e30, precision="fp32", **QUICK)


def test_with_no_images_at_all_the_demo_set_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = _few(tmp_path)
    monkeypatch.setattr("vehicle_nb.demo.make.make_demo", lambda raw, **_: shutil.copytree(few, raw))
    metrics = train(epochs=1, input_size=32, num_threads=1, quiet=True)
    assert Path("data/raw").is_dir() and json.loads(Path("data/processed/config.json").read_text())["classes"] == ["bus", "kayak"]
    assert Path(metrics["run"]).parent == Path("models")


def _few(tmp_path) -> Path:
    "A demo set of two classes: drawing all twenty would take half a minute."
    from vehicle_nb.demo.make import make_demo

    return make_demo(tmp_path / "few", per_class=8, classes=["bus", "kayak"], workers=1, quiet=True)


# --- steps that are too small, and a compiler that is not there ----------------------------------------------------------


@pytest.mark.parametrize("batch_size, accumulate, each", [(1, 1, 7), (2, 1, 1), (8, 8, 7)], ids=["batch", "last batch", "pieces"])
def test_one_small_image_alone_is_refused_in_one_sentence(tmp_path, batch_size, accumulate, each):
    data = tiny_processed(tmp_path / "processed", CLASSES[:3], each)
    options = QUICK | {"batch_size": batch_size, "grad_accum_steps": accumulate}
    with pytest.raises(VehicleError, match="a single image of 32×32 pixels"):
        train(data=str(data), output=str(tmp_path / "models"), epochs=1, **options)
    assert not (tmp_path / "models").exists()


def test_one_image_per_step_works_where_batch_normalisation_has_something_to_compare(processed, tmp_path):
    for name, more in {"large": {"input_size": 64}, "fixed": {"freeze_bn": True}, "none": {"arch": "squeezenet1_1"}}.items():
        metrics = train(data=str(processed), output=str(tmp_path), run_name=name, epochs=1, **QUICK | {"batch_size": 1} | more)
        assert metrics["epoch"] == 1


def test_compile_without_a_compiler_is_refused_in_one_sentence(processed, tmp_path):
    options = f"--data {processed} --output {tmp_path / 'models'} --epochs 1 --compile on"
    code, _, err = finished(start("vehicle_nb.train", options, FAST, PATH=str(tmp_path), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache")))
    assert code == 2 and "torch.compile does not work here" in err.splitlines()[-1] and "leave --compile out" in err
    assert "Traceback" not in err and not (tmp_path / "models").exists()
