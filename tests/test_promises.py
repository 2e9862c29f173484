"""What the course promises of its data, asked of real batches of the demo set."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import InterpolationMode, rotate

from vehicle_nb.data.augment import Augment, normalize_batch
from vehicle_nb.data.dataset import PackedDataset, make_loader, make_loaders
from vehicle_nb.data.preprocess import preprocess
from vehicle_nb.data.split import SPLITS
from vehicle_nb.demo.make import make_demo

CLASSES = ["airplane", "bus", "car", "tractor"]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("promises")
    make_demo(root / "raw", per_class=20, size=128, classes=CLASSES, workers=1, quiet=True)
    return preprocess(root / "raw", root / "processed", workers=1, quiet=True)


def test_three_splits_of_224_pixels_and_no_image_in_two(data):
    files = {split: sorted((data / split).rglob("*.jpg")) for split in SPLITS}
    assert {path.name for path in data.iterdir() if path.is_dir() and path.name[0] != "."} == {"train", "val", "test"}
    assert {split: len(found) for split, found in files.items()} == {"train": 56, "val": 12, "test": 12}
    assert {Image.open(path).size for found in files.values() for path in found} == {(224, 224)}
    content = [hashlib.sha256(path.read_bytes()).digest() for found in files.values() for path in found]
    assert len(set(content)) == len(content) == 80
    for split in SPLITS:
        assert {path.parent.name for path in files[split]} == set(CLASSES)


def test_batches_hold_224_pixels_in_minus_one_to_one_and_use_both_ends(data):
    for split, loader in make_loaders(data, batch_size=16, quiet=True).items():
        for images, labels, index in loader:
            assert images.shape == (len(labels), 224, 224, 3) and images.dtype == torch.uint8, split
            files = [loader.dataset.files[i] for i in index]
            assert [CLASSES[y] for y in labels] == [path.parent.name for path in files]
            assert all((image.numpy() == np.asarray(Image.open(path))).all() for image, path in zip(images, files, strict=True))
            for batch in normalize_batch(images), Augment()(images, index):
                assert batch.shape == (len(labels), 3, 224, 224) and batch.dtype == torch.float32
                assert -1 <= batch.min() < -0.9 and 0.9 < batch.max() <= 1, split


@pytest.mark.parametrize("world_size", [1, 4])
def test_an_epoch_has_each_image_once(data, world_size):
    train = PackedDataset(data, "train", quiet=True)
    loaders = [make_loader(train, 16, shuffle=True, rank=rank, world_size=world_size) for rank in range(world_size)]
    orders = []
    for epoch in range(2):
        for loader in loaders:
            loader.batch_sampler.set_epoch(epoch)
        orders.append([int(i) for loader in loaders for _, _, index in loader for i in index])
        assert sorted(orders[-1]) == list(range(len(train)))
    assert orders[0] != orders[1]


def find_flip_and_angle(plain: torch.Tensor, changed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    "For each image: is it mirrored, and by how many degrees is it rotated? Tried out with torchvision, not with our code."
    best = torch.full((len(plain),), torch.inf)
    flips, angles = torch.zeros(len(plain), dtype=torch.bool), torch.zeros(len(plain))
    for flip in (False, True):
        for angle in range(-24, 25):
            tried = rotate(plain.flip(-1) if flip else plain, angle, InterpolationMode.BILINEAR)
            error = (tried - changed).square().mean((1, 2, 3))
            better = error < best
            best[better], flips[better], angles[better] = error[better], flip, float(angle)
    return flips, angles


@pytest.mark.parametrize("degrees", [5, 15])
def test_flips_and_rotations_are_seen_in_a_batch(data, degrees):
    images, _, index = next(iter(make_loader(PackedDataset(data, "train", quiet=True), 56, shuffle=True)))
    only = {"zoom_in": 1, "zoom_out": 1, "aspect": 1, "shift": 0, "brightness": 0, "saturation": 0}
    plain, change = normalize_batch(images, 64), Augment(64, rotate=degrees, **only)
    flips, angles = find_flip_and_angle(plain, change(images, index))
    assert 0.25 < flips.float().mean() < 0.75, "some are mirrored, some are not"
    assert angles.abs().max() <= degrees + 1 and angles.min() < -degrees / 2 and angles.max() > degrees / 2, "within the degrees, both ways"
    change.set_epoch(1)
    again = find_flip_and_angle(plain, change(images, index))
    assert (again[0] != flips).any() and (again[1] - angles).abs().mean() > 1, "another epoch, other changes"
    nothing = Augment(64, flip=0, magnitude=0)(images, index)
    flips, angles = find_flip_and_angle(plain, nothing)
    assert not flips.any() and not angles.any() and torch.allclose(nothing, plain, atol=1e-4)


def test_the_default_augmentation_mirrors_rotates_and_recolours(data):
    images, _, index = next(iter(make_loader(PackedDataset(data, "train", quiet=True), 56, shuffle=True)))
    plain, changed = normalize_batch(images, 64), Augment(64)(images, index)
    flips, angles = find_flip_and_angle(plain, changed)  # zoom and shift disturb it, the majority is right
    assert 0.2 < flips.float().mean() < 0.8 and angles.abs().median() > 2
    colours = (changed.mean((2, 3)) - plain.mean((2, 3))).abs().mean(1)
    assert (colours > 0.01).float().mean() > 0.8
