"""The step as a graph: the same run to the last bit, whatever is recorded, and only where it pays. CUDA itself: tests/test_gpu.py."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from runs import same_run
from tape import TapeGraph

from vehicle_nb.core import VehicleError
from vehicle_nb.data.dataset import DistributedBatchSampler
from vehicle_nb.models.cnn import VehicleCNN
from vehicle_nb.train import train
from vehicle_nb.training import config as recipe
from vehicle_nb.training import graph, loop
from vehicle_nb.training.checkpoints import list_checkpoints, progress_bar
from vehicle_nb.training.config import TrainConfig, resolve_defaults, validate
from vehicle_nb.training.graph import StepGraphs, StepInputs, lerp_all, pad_batch, why_no_graph
from vehicle_nb.training.loop import Trainer

CPU, GPU = torch.device("cpu"), torch.device("cuda")
QUICK = {"input_size": 32, "batch_size": 6, "num_threads": 1, "precision": "fp32", "ema": 0.9, "quiet": True}  # 28 images: 6, 6, 6, 5 and 5


@pytest.fixture(scope="module", autouse=True)
def one_process_on_the_cpu():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        AcceleratorState._reset_state(reset_partial_state=True)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def taped(monkeypatch):
    "From now on `--compile graph` records the step on a tape."
    monkeypatch.setattr(graph, "why_no_graph", lambda *_: "")
    monkeypatch.setattr(graph, "StepGraphs", partial(StepGraphs, record=TapeGraph))
    monkeypatch.setattr(TapeGraph, "replays", 0)


def steps_of(data: Path, path: Path, epochs: int = 3, **options) -> Trainer:
    "The trainer of a small network after some epochs."
    config = resolve_defaults(TrainConfig(**{"data": str(data), "epochs": epochs} | QUICK | options), CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "create_model", lambda _, classes, __: VehicleCNN(classes, (8, 8, 16, 16)))
        trainer = Trainer(config, path, Accelerator(cpu=True))
    with progress_bar(trainer) as bar:
        for trainer.state.epoch in range(epochs):
            trainer.state.step = 0
            trainer.train_epoch(bar)
    return trainer


def same_weights(one: Trainer, other: Trainer) -> bool:
    pairs = [(getattr(one, name).state_dict(), getattr(other, name).state_dict()) for name in ("unwrapped", "ema")]
    return all(torch.equal(value, b[name]) for a, b in pairs for name, value in a.items())


# --- nothing but the buffers changes between two steps -------------------------------------------------------------------

OPTIONS = {
    "plain, and larger images in the end": ({"input_size": 96, "epochs": 5}, 9),
    "all": ({"cutmix": 0.5, "mixup": 0.2, "outliers": 0.5, "grad_clip": 1.0, "grad_accum_steps": 2, "class_weights": True,
             "weight_decay": 0.05}, 7),
    "fine-tuned in bf16": ({"freeze_bn": True, "freeze_groups": 2, "backbone_lr_mult": 0.1, "precision": "bf16"}, 7),
}  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS)
def test_a_replayed_step_is_the_step_to_the_last_bit(processed_set, tmp_path, taped, case):
    options, replays = OPTIONS[case]
    replayed, plain = (steps_of(processed_set, tmp_path, compile=how, **options) for how in ("graph", "off"))
    assert same_weights(replayed, plain) and replayed.state.metrics == plain.state.metrics
    assert plain.graphs is None and not replayed.graphs.failed
    assert TapeGraph.replays == replays, "the first steps of each shape are not replayed, and one records"
    assert replayed.graphs.size == plain.config.input_size == replayed.augment.input_size, "graphs of smaller images are forgotten"


@pytest.fixture(scope="module")
def plain(processed_set, tmp_path_factory) -> Trainer:
    "Three epochs without a graph."
    return steps_of(processed_set, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("forgotten", ["rates", "ema_weight", "images", "index", "key", "seed"])
def test_what_is_not_filled_is_noticed(processed_set, tmp_path, taped, monkeypatch, forgotten, plain):
    "The double is as stubborn as the real thing: each of these mistakes gives other weights."
    copy = StepInputs.copy_
    if forgotten == "key":
        monkeypatch.setattr("vehicle_nb.data.augment.EpochRandom.set_epoch", lambda self, epoch: None)
    elif forgotten == "seed":
        monkeypatch.setattr(Trainer, "seed_step", lambda self: torch.manual_seed(0))
    else:
        keep = lambda mine, other: copy(mine, StepInputs(**vars(other) | {forgotten: getattr(mine, forgotten)}))  # noqa: E731
        monkeypatch.setattr(StepInputs, "copy_", keep)
    assert not same_weights(steps_of(processed_set, tmp_path, compile="graph"), plain)


def test_a_replayed_run_learns_is_the_plain_run_and_resumes_to_it(processed_set, tmp_path, taped):
    options = {"data": str(processed_set), "output": str(tmp_path), "epochs": 5, **QUICK}
    train(**options, run_name="plain", compile="off")
    metrics = train(**options, run_name="graph", compile="graph", checkpoint_every=2, keep_checkpoints=99)
    assert TapeGraph.replays == 17 and metrics["val_accuracy"] > 0.9, "four colours are easy"
    assert pd.read_csv(tmp_path / "graph/history.csv")["lr"].iloc[-1] < 1e-4, "the rate has fallen"
    same_run(tmp_path / "plain", tmp_path / "graph")
    for checkpoint in list_checkpoints(tmp_path / "graph")[8:]:  # as if killed after the second step of the fourth epoch
        checkpoint.unlink()
    config = tmp_path / "graph/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"finished": False}))
    train(output=str(tmp_path), run_name="graph", resume=True, num_threads=1, quiet=True)
    same_run(tmp_path / "plain", tmp_path / "graph")


def test_a_step_that_asks_for_a_number_goes_on_without_a_graph(processed_set, tmp_path, taped, monkeypatch, capsys, plain):
    forward = loop.Trainer.forward_backward
    asks = lambda self, xb, *rest: forward(self, xb if xb.isfinite().all().item() else None, *rest)  # noqa: E731
    monkeypatch.setattr(Trainer, "forward_backward", asks)
    run = steps_of(processed_set, tmp_path, quiet=False, compile="graph")
    assert run.graphs.failed and TapeGraph.replays == 0 and same_weights(run, plain)
    said = capsys.readouterr().out
    assert said.count("cannot be replayed as a graph (operation not permitted when stream is capturing)") == 1


# --- where it pays -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "images", "trouble", "chosen"), [
    ("cpu", 10**9, "", "off"), ("mps", 10**9, "", "off"), ("xpu", 10**9, "", "off"),
    ("cuda", 30_000, "", "graph"), ("cuda", 2_000_000, "", "on"), ("cuda", 2_000_000, "no compiler", "graph"),
])  # fmt: skip
def test_auto_compiles_in_long_runs_where_a_compiler_works(device, images, trouble, chosen, monkeypatch):
    monkeypatch.setattr("vehicle_nb.training.graph.compile_trouble", lambda _: trouble)
    assert recipe.choose_compile(torch.device(device), images) == chosen


def test_what_was_chosen_is_written_and_what_was_asked_for_stays(processed_set):
    for asked, resolved in {"auto": "off", "graph": "graph", "on": "on", "off": "off"}.items():
        assert resolve_defaults(TrainConfig(data=str(processed_set), compile=asked), CPU).compile == resolved
    with pytest.raises(VehicleError, match='--compile must be "auto", "off", "graph" or "on", not always'):
        validate(TrainConfig(compile="always"))


def test_yaml_may_say_on_and_off_without_quotes(tmp_path):
    for text in ("on", "off", "graph"):
        (tmp_path / "mine.yaml").write_text(f"compile: {text}\n")
        assert recipe.read_config_file(tmp_path / "mine.yaml") == {"compile": text}


def test_where_no_graph_is_possible_one_line_says_so(processed_set, tmp_path, capsys):
    assert why_no_graph(GPU, 1) == "" and "several processes" in why_no_graph(GPU, 2) and "cpu has no" in why_no_graph(CPU, 1)
    steps_of(processed_set, tmp_path, epochs=1, quiet=False, compile="graph")
    assert capsys.readouterr().out.count("The step is not replayed as a graph: cpu has no CUDA graphs.") == 1


# --- the pieces ----------------------------------------------------------------------------------------------------------


def test_the_average_on_a_gpu_is_that_on_a_cpu():
    "Other operations for the same formula; `meta` stands for a device that is no CPU, so its tensors are moved by hand here."
    now, mean = [torch.randn(50), torch.randn(3, 3)], [torch.randn(50), torch.randn(3, 3)]
    for weight in (0.0, 0.002, 0.82, 1.0):
        ours, gpus = ([tensor.clone() for tensor in mean] for _ in range(2))
        lerp_all(ours, now, torch.tensor(weight))
        torch._foreach_add_(gpus, torch._foreach_mul(torch._foreach_sub(now, gpus), torch.tensor(weight)))
        for a, b, old, new in zip(ours, gpus, mean, now, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(a, (1 - weight) * old + weight * new, rtol=1e-5, atol=1e-6)
    lerp_all([t.to("meta") for t in mean], [t.to("meta") for t in now], torch.tensor(0.5, device="meta"))  # it runs without numbers


def test_padding_changes_no_prediction(processed_set, tmp_path, monkeypatch):
    trainer = steps_of(processed_set, tmp_path, epochs=1, batch_size=3)  # validated in batches of 10, 9 and 9
    shapes, hook = set(), trainer.ema.module.register_forward_pre_hook(lambda _, args: shapes.add(tuple(args[0].shape)))
    padded = trainer.predict("val")[0]
    features = trainer.compute_features()[0]
    hook.remove()
    assert shapes == {(10, 3, 32, 32), (3, 3, 32, 32)}, "one shape for all validation images, and one for all features"
    monkeypatch.setattr(loop, "pad_batch", lambda images, rows: images)
    torch.testing.assert_close(trainer.predict("val")[0], padded, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(trainer.compute_features()[0], features, rtol=1e-5, atol=1e-5)
    assert features.shape[0] == 28 and padded.abs().sum(1).min() > 0, "each row was written"


def test_the_largest_batch_is_the_largest():
    for length, size, ranks in [(28, 12, 1), (703, 128, 3), (31, 8, 4), (5, 2, 4)]:
        for rank in range(ranks):
            sampler = DistributedBatchSampler(length, size, shuffle=False, rank=rank, world_size=ranks)
            assert sampler.largest() == max(map(len, sampler))
    assert pad_batch(torch.zeros(0, 4, 4, 3, dtype=torch.uint8), 2).shape == (2, 4, 4, 3)
