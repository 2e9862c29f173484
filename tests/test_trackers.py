"""Experiment trackers get what history.csv has, once, also over a stop; and a run does not die of them."""

import json
import os
import signal
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import LoggerType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vehicle_nb.core import VehicleError
from vehicle_nb.train import train
from vehicle_nb.training import trackers
from vehicle_nb.training.config import TrainConfig
from vehicle_nb.training.dist import Interrupted
from vehicle_nb.training.trackers import OFFLINE, start_trackers, tracker_names

QUICK = {"input_size": 32, "batch_size": 14, "precision": "fp32", "num_threads": 1, "quiet": True, "epochs": 3}


class Recorder(GeneralTracker):
    "A tracker that keeps all that it gets; `trouble` happens at an epoch."

    name, requires_logging_directory, tracker = "recorder", False, None
    calls, trouble = [], {}

    def __init__(self, project):
        super().__init__()

    def start(self):
        self.calls.append(("start", None, None))
        self.trouble.get(0, lambda: None)()

    def store_init_configuration(self, values):
        self.calls.append(("config", None, values))

    def log(self, values, step=None):
        self.trouble.get(step, lambda: None)()
        self.calls.append(("log", step, values))

    def finish(self):
        self.calls.append(("finish", None, None))


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "recorder", Recorder)
    monkeypatch.setattr(Recorder, "calls", [])
    monkeypatch.setattr(Recorder, "trouble", {})
    return Recorder


def curves(run) -> dict[str, list]:
    "Step and value of each curve in TensorBoard's events, from all files of a run."
    events = EventAccumulator(str(run / "trackers" / "vehicle_nb")).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_trackers_get_what_the_history_has_also_over_a_stop(processed_set, tmp_path, recorder):
    recorder.trouble[1] = lambda: signal.raise_signal(signal.SIGTERM)  # the machine is wanted back after the first epoch
    where = {"output": str(tmp_path), "run_name": "run"}
    with pytest.raises(Interrupted):
        train(data=str(processed_set), **where, **QUICK, log_with="tensorboard,recorder")
    metrics, run = train(**where, resume=True, quiet=True), tmp_path / "run"  # which trackers, it knows itself
    history = pd.read_csv(run / "history.csv").set_index("epoch")
    assert list(history.index) == [1, 2, 3] and [kind for kind, *_ in recorder.calls].count("config") == 1
    [config] = [values for kind, _, values in recorder.calls if kind == "config"]
    assert config["arch"] == "vehicle_cnn" and config["epochs"] == 3 and config["num_processes"] == 1 and "output" not in config
    *epochs, (_, _, final) = [call for call in recorder.calls if call[0] == "log"]
    assert [step for _, step, _ in epochs] == [1, 2, 3] and recorder.calls[-1][0] == "finish"
    for _, step, values in epochs:
        assert values == pytest.approx(history.loc[step].to_dict(), abs=1e-12)
    figures = json.loads((run / "config.json").read_text())["metrics"]
    assert final == {name: metrics[name] for name in ("val_accuracy", "test_accuracy", "test_ece", "test_images")}
    assert figures["test_ece"] == final["test_ece"] and 0 <= final["test_ece"] <= 1
    drawn = curves(run)
    assert drawn.keys() == {*history.columns, *final}
    for name, column in history.items():
        points = drawn[name][:3]  # the final figures repeat one of the columns
        assert [step for step, _ in points] == [1, 2, 3] and [value for _, value in points] == pytest.approx(list(column), rel=1e-6)
    assert drawn["test_accuracy"] == [(3, pytest.approx(metrics["test_accuracy"], rel=1e-6))]
    [kept] = run.glob("trackers/vehicle_nb/*/hparams.yml")
    assert yaml.safe_load(kept.read_text())["arch"] == "vehicle_cnn"


def test_a_tracker_that_fails_costs_a_warning_and_not_the_run(processed_set, tmp_path, recorder, capsys):
    def leave():
        raise SystemExit("no route to host")

    recorder.trouble[2] = leave
    train(data=str(processed_set), output=str(tmp_path), run_name="run", **QUICK, log_with="recorder,tensorboard")
    assert capsys.readouterr().err.count("The tracker recorder failed (no route to host)") == 1
    assert [step for step, _ in curves(tmp_path / "run")["train_loss"]] == [1, 2, 3]
    state = json.loads((tmp_path / "run" / "trackers" / "state.json").read_text())
    assert {name: kept["epochs"] for name, kept in state.items()} == {"recorder": 1, "tensorboard": 3}


def test_what_is_unknown_or_not_installed_is_refused_before_anything_is_written(processed_set, tmp_path):
    missing = next(str(kind) for kind in LoggerType if str(kind) in LOGGER_TYPE_TO_CLASS and kind not in get_available_trackers())
    for name, told in (("tensorbored", "knows no such tracker. Give one of aim, "), (missing, f"pip install {missing}")):
        with pytest.raises(VehicleError, match=told) as error:
            train(data=str(processed_set), output=str(tmp_path / "models"), log_with=f"tensorboard,{name}", **QUICK)
        assert error.value.code == 2 and not (tmp_path / "models").exists()
    assert "tensorboard" in tracker_names("all") and missing not in tracker_names("all")


def test_a_tracker_that_does_not_start_refuses_a_new_run_only(tmp_path, recorder, capsys):
    accelerator = SimpleNamespace(is_main_process=True, num_processes=1, device=SimpleNamespace(type="cpu"))
    state = SimpleNamespace(history=[], epoch=0)
    trainer = SimpleNamespace(config=TrainConfig(log_with="recorder"), path=tmp_path, state=state, is_main=True,
                              accelerator=accelerator, trackers={})  # fmt: skip
    recorder.trouble[0] = lambda: 1 / 0
    with pytest.raises(VehicleError, match=r"recorder does not start \(division by zero\)"):
        start_trackers(trainer, is_new=True)
    start_trackers(trainer, is_new=False)
    assert not trainer.trackers and "The training goes on without it." in capsys.readouterr().err


def test_nothing_is_sent_unless_the_user_says_so(tmp_path, recorder, monkeypatch):
    for name in OFFLINE:
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "online")
    accelerator = SimpleNamespace(num_processes=1, device=SimpleNamespace(type="cpu"))
    trainer = SimpleNamespace(config=TrainConfig(), path=tmp_path, accelerator=accelerator)
    trackers._start(trainer, "recorder", {})
    assert {name: os.environ[name] for name in OFFLINE} == OFFLINE | {"WANDB_MODE": "online"}
