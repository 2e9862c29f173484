"""Memory and disk where a set is large: what a file costs, and that images are fetched before they are read."""

import ctypes
import hashlib
import mmap
import os
import shutil
import sys
import time
import tracemalloc

import numpy as np
import pytest

from vehicle_nb.data import audit as auditing
from vehicle_nb.data.audit import EMPTY, audit
from vehicle_nb.data.dataset import DistributedBatchSampler, PackedDataset, look_ahead, make_loader
from vehicle_nb.data.layouts import Layout
from vehicle_nb.data.listing import RawSet
from vehicle_nb.data.preprocess import make_manifest


def _read_nothing(path, each=None, side=224, near=True) -> dict:
    "What reading an image finds, without reading it."
    return EMPTY | {"sha256": hashlib.sha256(path.name.encode()).hexdigest(), "width": 320, "height": 200, "format": "JPEG", "bytes": 9_000}


def test_a_file_takes_3_kb_of_memory(tmp_path, monkeypatch):
    "From the listing to the manifest; the search for changed copies, which takes more, is left out."
    monkeypatch.setattr(auditing, "_facts", _read_nothing)
    for k in range(1_000):
        path = tmp_path / f"class_{k % 2}" / f"{k:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    source = RawSet(tmp_path, Layout("class folders", {f"class_{k}": (f"class_{k}", "") for k in range(2)}))
    make_manifest(audit(source, 1, True, duplicates="exact").table[:10])  # loads what pandas loads late
    del source.rows
    tracemalloc.start()
    try:
        manifest = make_manifest(audit(source, 1, True, duplicates="exact").table)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(manifest) == manifest["sha256"].nunique() == 1_000 and set(manifest["split"]) == {"train", "val", "test"}
    assert 500 < most / len(manifest) < 3_500


def test_batches_are_announced_before_their_turn_and_stay_the_same():
    sampler, said = DistributedBatchSampler(100, batch_size=10), []
    plain = list(sampler)
    for turn, batch in enumerate(look_ahead(iter(plain), said.append, images=25)):
        assert batch == plain[turn] and said == plain[: min(turn + 4, 10)]
    assert turn == 9 and list(look_ahead([], said.append)) == []
    sampler.announce = said.append
    assert list(sampler) == plain and said[10:] == plain


def resident(dataset: PackedDataset) -> np.ndarray:
    "Is each page of the packed file in memory? bool"
    base, length = dataset.images.ctypes.data - dataset.images.offset, len(dataset.images._mmap)
    pages = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(base), ctypes.c_size_t(length), pages) == 0
    return np.frombuffer(pages, np.uint8) & 1 > 0


@pytest.mark.skipif(sys.platform != "linux", reason="mincore")
def test_images_that_will_be_needed_are_fetched_and_no_others(processed_set, tmp_path):
    data = PackedDataset(shutil.copytree(processed_set, tmp_path / "set"), "train", quiet=True)
    assert not any(batch[0].sum() == 0 for batch in make_loader(data, 8))
    data.images._mmap.madvise(mmap.MADV_DONTNEED)
    with open(data.path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(data).any():
        pytest.skip("this file system keeps all files in memory")
    size, until = data.images[0].nbytes, time.monotonic() + 10
    wanted = slice((data.images.offset + 5 * size) // mmap.PAGESIZE, (data.images.offset + 6 * size - 1) // mmap.PAGESIZE + 1)
    data.will_need([5])
    while not resident(data)[wanted].all() and time.monotonic() < until:
        time.sleep(0.01)
    assert resident(data)[wanted].all() and resident(data).sum() <= wanted.stop - wanted.start + 2
    data.will_need([len(data) - 1])  # up to the end of the file
