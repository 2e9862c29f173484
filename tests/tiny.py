"""Tiny bundles made on the spot: a network that knows three colours after a second of training."""

import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vehicle_nb.files import write_json
from vehicle_nb.data.augment import normalize_batch
from vehicle_nb.models.bundle import save_bundle
from vehicle_nb.models.registry import create_model

CLASSES = ["boat", "bus", "fire_truck", "tractor"]
COLOURS = {"boat": (30, 60, 220), "bus": (230, 200, 20), "fire_truck": (215, 25, 25), "tractor": (25, 160, 40)}


def coloured(kind: str, seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    "A picture in the colour of a class, with a little noise: no two are equal."
    noise = np.random.default_rng([seed, len(kind)]).normal(0, 14, (size[1], size[0], 3))
    return Image.fromarray(np.clip(noise + COLOURS[kind], 0, 255).astype(np.uint8))


@functools.cache
def _trained() -> torch.nn.Module:
    "A VehicleCNN that tells the four colours apart."
    torch.manual_seed(0)
    model = create_model("vehicle_cnn", len(CLASSES)).train()
    pixels = np.stack([np.asarray(coloured(k, seed, (32, 32))) for seed in range(16) for k in CLASSES])
    xb, yb = normalize_batch(torch.from_numpy(pixels), 32), torch.arange(len(CLASSES)).repeat(16)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(xb), yb).backward()
        optimizer.step()
    return model.eval()


@functools.cache
def _template() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix="tiny-bundle-")  # goes when this process ends
    config = {"arch": "vehicle_cnn", "classes": CLASSES, "image_size": 64, "input_size": 32}
    save_bundle(Path(folder.name), _trained(), config)
    return folder


def tiny_bundle(path: Path, **config) -> Path:
    "A bundle that knows four colours, at `path`; `config` replaces what its description says."
    import json

    shutil.copytree(_template().name, path)
    plain = json.loads((path / "config.json").read_text())
    write_json(path / "config.json", plain | config)
    return path


def tiny_processed(path: Path, classes: list[str] = CLASSES, each: int = 5, **config) -> Path:
    "A processed set of coloured pictures: `classes` are its folder names, in the order of `CLASSES`' colours."
    for split in ("train", "val", "test"):
        for name, kind in zip(classes, CLASSES, strict=False):
            folder = path / split / name
            folder.mkdir(parents=True)
            for i in range(each):
                square = coloured(kind, i + 1000 * ("train", "val", "test").index(split), (64, 64))
                square.save(folder / f"{kind}{split}{i}.jpg", quality=92)
    counts = {split: dict.fromkeys(sorted(classes), each) for split in ("train", "val", "test")}
    base = {"version": 1, "seed": 42, "size": 64, "classes": sorted(classes), "counts": counts, "content_hash": "tiny"}
    write_json(path / "config.json", base | config)
    return path


def tiny_fitted(folder: Path) -> tuple[Path, Path]:
    "A bundle with its feature bank and threshold, and the processed set that they come from."
    from vehicle_nb.data.dataset import PackedDataset
    from vehicle_nb.evaluation.ood import fit_ood
    from vehicle_nb.models.bundle import load_bundle

    processed, path = tiny_processed(folder / "processed", each=20), tiny_bundle(folder / "bundle")
    model, config, _ = load_bundle(path)
    train, val = (PackedDataset(processed, split, quiet=True) for split in ("train", "val"))
    bank, fitted = fit_ood(model, train, val, config["input_size"], 1.0)
    save_bundle(path, model, config | fitted, bank)
    return path, processed
