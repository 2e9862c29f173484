"""What a GPU changes: nothing but the speed. Without one all of these are skipped."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from conftest import ROOT
from runs import free_port, same_run
from tiny import coloured, tiny_bundle, tiny_processed

from vehicle_nb.data import dataset as loading
from vehicle_nb.data.augment import Augment, CutMixUp, epoch_key, uniform
from vehicle_nb.training.checkpoints import list_checkpoints, progress_bar, read_checkpoint
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.data.dataset import DistributedBatchSampler, DeviceLoader, PackedDataset, make_loader
from vehicle_nb.models.bundle import load_bundle
from vehicle_nb.training.config import TrainConfig, resolve_defaults
from vehicle_nb.train import train
from vehicle_nb.training.graph import WARM_UP
from vehicle_nb.training.loop import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
GPU = torch.device("cuda", 0)
QUICK = {"input_size": 32, "batch_size": 8, "quiet": True}


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    return tiny_processed(tmp_path_factory.mktemp("data") / "processed", each=7)


def trainer(processed: Path, path: Path, **options) -> Trainer:
    config = TrainConfig(data=str(processed), epochs=2, **{"input_size": 32, "batch_size": 8} | options)
    return Trainer(resolve_defaults(config, GPU), path, Accelerator())


OPTIONS = {
    "plain": {},
    "all": {"cutmix": 0.5, "mixup": 0.2, "outliers": 0.5, "grad_clip": 1.0, "grad_accum_steps": 2, "class_weights": True,
            "weight_decay": 0.05},
    "resnet": {"arch": "resnet18"}, "fixed": {"arch": "mobilenet_v2", "freeze_bn": True, "freeze_groups": 2},
}  # fmt: skip


@pytest.mark.parametrize("steps", [2, 5], ids=["eager", "replayed"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_step_never_waits_for_the_gpu(processed, tmp_path, options, steps):
    run = trainer(processed, tmp_path, **options)
    run.train_mode()
    assert isinstance(run.loaders["train"], DeviceLoader), "so small a set lies on the device"
    batches = itertools.cycle(list(run.loaders["train"]))
    for _ in range(steps):
        run.train_step(next(batches), 8)  # the first ones make what the others use
    torch.cuda.set_sync_debug_mode("error")  # whatever waits raises an error
    try:
        sums = run.train_step(next(batches), 8)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    loss, _, seen = sums.tolist()
    assert np.isfinite(loss) and seen == 7
    assert list(run.graphs.graphs) == [7] * (steps > WARM_UP)


def weights_after(run: Trainer, epochs: int = 3) -> list[torch.Tensor]:
    "All that a run has learned after some epochs."
    with progress_bar(run) as bar:
        for run.state.epoch in range(epochs):
            run.state.step = 0
            run.train_epoch(bar)
    return [tensor for model in (run.unwrapped, run.ema.module) for tensor in model.state_dict().values()]


@pytest.mark.parametrize("options", [*OPTIONS.values(), {"batch_size": 6}, {"precision": "fp32"}], ids=[*OPTIONS, "two sizes", "fp32"])
def test_a_replayed_step_is_the_step_to_the_last_bit(processed, tmp_path, options):
    graph, plain = (trainer(processed, tmp_path, quiet=True, compile=how, **options) for how in ("auto", "off"))
    ours, theirs = weights_after(graph), weights_after(plain)
    assert graph.config.compile == "graph" and not graph.graphs.failed and graph.graphs.graphs and plain.graphs is None
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_replayed_run_resumes_to_the_last_bit(processed, tmp_path):
    options = {"data": str(processed), "output": str(tmp_path), "epochs": 4, **QUICK}
    for name in ("whole", "killed"):
        train(**options, run_name=name, checkpoint_every=2, keep_checkpoints=99)
    for checkpoint in list_checkpoints(tmp_path / "killed")[5:]:  # as if killed after the second step of the third epoch
        checkpoint.unlink()
    config = tmp_path / "killed/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"finished": False}))
    train(output=str(tmp_path), run_name="killed", resume=True, quiet=True)
    same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_step_that_cannot_be_recorded_goes_on_without(processed, tmp_path, monkeypatch, capsys):
    plain = weights_after(trainer(processed, tmp_path, compile="off", quiet=True))
    forward = Trainer.forward_backward
    asks = lambda self, xb, *rest: forward(self, xb if xb.isfinite().all().item() else None, *rest)  # noqa: E731
    monkeypatch.setattr(Trainer, "forward_backward", asks)
    run = trainer(processed, tmp_path)
    ours = weights_after(run)
    assert run.graphs.failed and capsys.readouterr().out.count("cannot be replayed as a graph") == 1
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True)), "dropout goes on, too"


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("arch", ["vehicle_cnn", "resnet18", "mobilenet_v2"])
def test_same_seed_gives_the_same_run(processed, tmp_path, arch, precision):
    for name in ("one", "other"):
        train(data=str(processed), output=str(tmp_path), run_name=name, arch=arch, precision=precision, epochs=3, **QUICK)
    same_run(tmp_path / "one", tmp_path / "other")


def test_batches_from_the_device_are_those_from_the_disk(processed, monkeypatch):
    dataset = PackedDataset(processed, "train")
    near = make_loader(dataset, 8, shuffle=True, device=GPU)
    monkeypatch.setattr(loading, "fits_on_device", lambda *_: False)
    far = make_loader(dataset, 8, shuffle=True, device=GPU)
    assert isinstance(near, DeviceLoader) and not isinstance(far, DeviceLoader)
    for ours, theirs in zip(near, far, strict=True):
        assert all(a.is_cuda and b.is_pinned() and torch.equal(a.cpu(), b) for a, b in zip(ours, theirs, strict=True))


def test_a_share_without_pictures_is_a_batch_without_pictures(processed):
    dataset = PackedDataset(processed, "train")
    idle = [len(images) for images, _, _ in DeviceLoader(dataset, DistributedBatchSampler(len(dataset), 2, rank=3, world_size=4), GPU)]
    assert set(idle) == {0}


def test_pictures_that_do_not_fit_train_the_same_network(processed, tmp_path, monkeypatch):
    train(data=str(processed), output=str(tmp_path), run_name="near", epochs=2, **QUICK)
    monkeypatch.setattr(loading, "fits_on_device", lambda *_: False)
    train(data=str(processed), output=str(tmp_path), run_name="far", epochs=2, **QUICK)
    same_run(tmp_path / "near", tmp_path / "far")


def test_chance_and_augmentation_are_those_of_the_cpu():
    index = torch.arange(50)
    key = epoch_key(2**40, 3)
    assert torch.equal(uniform(index.to(GPU), 9, key).cpu(), uniform(index, 9, key))
    images = torch.from_numpy(np.stack([np.asarray(coloured("bus", i, (96, 96))) for i in range(50)]))
    for size in (None, 64):
        here, there = (Augment(size)(images.to(d), index.to(d)).cpu() for d in ("cpu", GPU))
        assert (here - there).abs().mean() < 0.004, "half a step of a byte"
    mix, grey = CutMixUp(4, cutmix=0.5, mixup=0.5), index[:, None, None, None] * torch.ones(50, 3, 8, 8)
    here, there = (mix(grey.to(d), (index % 4).to(d), index.to(d)) for d in ("cpu", GPU))
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-4, atol=1e-4)


def test_one_process_by_nccl_is_the_run_without_it(processed, tmp_path):
    options = f"--data {processed} --output {tmp_path} --epochs 2 --input_size 32 --batch_size 8"
    launcher = "accelerate.commands.launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"
    starts = {
        "alone": "vehicle_nb.train", "launched": f"{launcher} -m vehicle_nb.train",
        "terminal": f"vehicle_nb.distributed --rank 0 --world_size 1 --master_port {free_port()}",
    }  # fmt: skip
    for name, start in starts.items():
        command = [sys.executable, "-m", *start.split(), *options.split(), "--run_name", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ | {"NCCL_DEBUG": "VERSION"})
        assert done.returncode == 0, done.stderr
        assert "on cuda" in done.stdout
        assert ("NCCL version" in done.stdout + done.stderr) == (name == "terminal"), "who starts alone needs no group"
    same_run(tmp_path / "alone", tmp_path / "terminal")
    same_run(tmp_path / "alone", tmp_path / "launched")


def test_more_processes_than_gpus_are_refused_in_one_sentence(tmp_path):
    many = torch.cuda.device_count() + 1
    options = f"--output {tmp_path}"
    terminal = f"vehicle_nb.distributed --rank 0 --world_size {many} {options}"
    launched = f"torch.distributed.run --standalone --nproc_per_node {many} -m vehicle_nb.train {options}"
    for command in (terminal, launched):
        done = subprocess.run([sys.executable, "-m", *command.split()], capture_output=True, text=True, timeout=120)
        assert done.returncode and done.stderr.count(f"{many - 1} GPU") == 1, done.stderr
        assert str(ROOT / "vehicle_nb") not in done.stderr, "no traceback of ours; the launcher has its own"


def test_a_compiled_run_leaves_a_plain_bundle(processed, tmp_path):
    metrics = train(data=str(processed), output=str(tmp_path), run_name="c", epochs=2, compile="on", **QUICK)
    model, *_ = load_bundle(tmp_path / "c")
    names = [*model.state_dict(), *read_checkpoint(tmp_path / "c")["model"]]
    assert metrics["epoch"] > 0 and not any("_orig_mod" in name for name in names)


def test_minutes_are_planned_on_a_gpu_too(processed, tmp_path):
    run = trainer(processed, tmp_path)
    assert run.epochs_within(1.0) > 0


def test_the_answer_does_not_depend_on_the_device(tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle")
    here, there = (Predictor(bundle, device=device) for device in ("cpu", "cuda"))
    assert Predictor(bundle).device.type == "cuda"
    for kind in ("boat", "bus", "fire_truck", "tractor"):
        picture: Image.Image = coloured(kind, 5)
        one, other = here.predict(picture), there.predict(picture)
        assert one.label == other.label == kind and abs(one.probability - other.probability) < 0.01
