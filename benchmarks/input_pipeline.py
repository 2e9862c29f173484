"""Does the network ever wait for its pictures, and does memory grow with the set?

    python benchmarks/input_pipeline.py PROCESSED                  both, on the best device that is there
    python benchmarks/input_pipeline.py PROCESSED --archs          the memory alone (--memory with nothing: the speed alone)
    python benchmarks/input_pipeline.py PROCESSED --archs resnet50:224:256 --pictures 5000 --memory --name input_pipeline-gpu

1. Speed: real training (loader, augmentation on the device, forward, backward, optimizer, average) against the same step on one
   batch that never leaves the memory; the ratio of pictures a second. Within a turn the two alternate every half second, so
   that a machine which slows down does so for both. The first turn warms up and is left out. On a GPU also which share of its
   bf16 arithmetic the network uses: products and sums of forward and backward, as PyTorch counts them, over those of a product
   of two matrices of 8,192 × 8,192 in the same run.
2. Memory: a set of 2,000 and one of 20,000 pictures (copies of the pictures of PROCESSED) are packed and read whole, each in a
   process of its own; the most memory that the process held.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from common import RESULTS, command_line, stamp
from torch.utils.flop_counter import FlopCounterMode

from vehicle_nb.data import dataset as loading
from vehicle_nb.core import keep_memory, write_json
from vehicle_nb.data.dataset import OnDevice, PackedSplit, make_loader, read_config
from vehicle_nb.training.dist import on_cpu, share_threads
from vehicle_nb.training.config import Settings, complete
from vehicle_nb.training.loop import Trainer, train_step


def batches(trainer: Trainer):
    "The real thing, epoch after epoch."
    for epoch in itertools.count():
        trainer.sampler.set_epoch(epoch)
        trainer.augment.epoch = epoch
        yield from trainer.loaders["train"]


def burst(trainer: Trainer, source, seconds: float) -> tuple[int, float]:
    "Train on what `source` yields for a while: pictures, seconds."
    pictures, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        batch = next(source)
        train_step(trainer, batch, len(batch[1]))
        pictures += len(batch[1])
    if trainer.accelerator.device.type == "cuda":  # it works behind what it was told
        torch.cuda.synchronize()
    return pictures, time.perf_counter() - start


def turn(trainer: Trainer, sources: dict, seconds: float) -> dict[str, float]:
    "Pictures a second of training on each source, for so many seconds each, half a second at a time."
    totals = {name: np.zeros(2) for name in sources}
    for i in range(round(seconds * 2)):
        for name in list(sources)[:: 1 if i % 2 else -1]:  # who goes first takes turns, too
            totals[name] += burst(trainer, sources[name], 0.5)
    return {name: pictures / spent for name, (pictures, spent) in totals.items()}


def operations(trainer: Trainer) -> float:
    "Products and sums of one picture, forward and backward."
    size, device = trainer.settings.input_size, trainer.accelerator.device
    with FlopCounterMode(display=False) as counter:
        trainer.plain(torch.zeros(2, 3, size, size, device=device)).sum().backward()
    trainer.optimizer.zero_grad()
    return counter.get_total_flops() / 2


def peak(device: torch.device, side: int = 8192) -> float:
    "Products and sums a second of two large matrices in bf16."
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for turn in range(13):
        if turn == 3:  # those before warm up
            torch.cuda.synchronize()
            start = time.perf_counter()
        a @ b
    torch.cuda.synchronize()
    return 10 * 2 * side**3 / (time.perf_counter() - start)


def speed(processed: str, arch: str, size: int, options: dict, turns: int, seconds: float) -> dict:
    "Real training and the synthetic step, in turns."
    accelerator = Accelerator(cpu=on_cpu())
    settings = Settings(processed=processed, arch=arch, input_size=size, progressive=False, epochs=1000, **options)
    gpu = accelerator.device.type == "cuda"
    top = peak(accelerator.device) if gpu else None
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(complete(settings, accelerator.device), Path(folder), accelerator)
        trainer.train_mode()
        each = operations(trainer)
        real = batches(trainer)
        batch = tuple(t.to(accelerator.device) for t in next(real))
        sources = {"real": real, "synthetic": itertools.repeat(batch)}
        taken = [turn(trainer, sources, seconds if i else seconds / 4) for i in range(turns + 1)]
    rates = {name: [rate[name] for rate in taken[1:]] for name in sources}
    ratios = [real / synthetic for real, synthetic in zip(*rates.values(), strict=True)]
    kept = isinstance(trainer.loaders["train"], OnDevice)
    share = np.mean(rates["real"]) * each / top if gpu else None
    print(
        f"{arch} at {size}, batch {settings.batch_size}, {trainer.settings.precision} on {accelerator.device.type}"
        f"{', compiled' if settings.compile else ''}{', pixels kept on the device' if kept else ''}: "
        f"{np.mean(rates['real']):.1f} pictures/s, {np.mean(ratios):.3f} ± {np.std(ratios):.3f} of the step alone (n = {turns})"
        f"{f', {share:.1%} of {top / 1e12:.0f} TFLOP/s' if gpu else ''}",
        flush=True,
    )
    return {
        "arch": arch, "size": size, "precision": trainer.settings.precision, "device": accelerator.device.type,
        "batch_size": settings.batch_size, "compile": settings.compile, "on_device": kept, "rates": rates, "ratios": ratios,
        "flop_per_picture": each, "matrix_product_flop_per_second": top, "share_of_peak": share,
    }  # fmt: skip


def fill(processed: Path, to: Path, count: int) -> None:
    "A processed set of `count` training pictures: copies of those of `processed`."
    config = read_config(processed)
    files = [(name, path) for name in config["classes"] for path in sorted((processed / "train" / name).glob("*.jpg"))]
    for name in config["classes"]:
        (to / "train" / name).mkdir(parents=True)
    for i in range(count):
        name, path = files[i % len(files)]
        shutil.copyfile(path, to / "train" / name / f"{i:06}.jpg")
    for split in ("val", "test"):
        shutil.copytree(processed / split, to / split)
    counts = dict(Counter(files[i % len(files)][0] for i in range(count)))
    write_json(to / "config.json", config | {"counts": config["counts"] | {"train": counts}})


def read_all(processed: str) -> None:
    "Pack and read a whole split; prints the most memory held meanwhile, as the system counts it (runs alone in a process)."
    process, peaks = psutil.Process(), []
    before = process.memory_info().rss
    dataset = PackedSplit(processed, "train", quiet=True)
    peaks.append(process.memory_info().rss - before)
    for step, _ in enumerate(make_loader(dataset, 32, shuffle=True)):
        if step % 20 == 0:
            peaks.append(process.memory_info().rss - before)
    print(json.dumps({"pictures": len(dataset), "packed_bytes": dataset.images.nbytes, "peak_bytes": max(peaks)}))


def memory(processed: Path, counts: list[int]) -> list[dict]:
    "Memory over the start, for sets of several sizes."
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            fill(processed, Path(folder), count)
            command = [sys.executable, __file__, folder, "--read_all"]
            out = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ).stdout
            rows.append(json.loads(out))
            print(f"{count:,} pictures: {rows[-1]['packed_bytes'] / 1e6:,.0f} MB packed, {rows[-1]['peak_bytes'] / 1e6:.0f} MB of memory")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processed")
    parser.add_argument("--archs", nargs="*", default=["vehicle_cnn:128", "resnet18:224"], metavar="ARCH:SIZE[:BATCH_SIZE]")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--streamed", action="store_true", help="as if the pictures did not fit into a GPU's memory")
    parser.add_argument("--pictures", type=int, default=0, help="train on copies of PROCESSED's, so many; 0: on PROCESSED itself")
    parser.add_argument("--memory", type=int, nargs="*", default=[2_000, 20_000], help="sizes of the sets for the second part")
    parser.add_argument("--name", default="input_pipeline", help="of the result file")
    parser.add_argument("--read_all", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read_all:
        return read_all(args.processed)
    share_threads(0)
    keep_memory()
    if args.streamed:
        loading.fits = lambda *_: False
    options = {"precision": args.precision, "compile": args.compile}
    head, path = stamp(command_line("input_pipeline.py")), RESULTS / f"{args.name}.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if args.pictures and args.archs:
            fill(Path(args.processed), Path(folder), args.pictures)
        where, rows = folder if args.pictures else args.processed, []
        for arch, size, batch_size in (f"{arch}:32".split(":")[:3] for arch in args.archs):
            rows.append(speed(where, arch, int(size), options | {"batch_size": int(batch_size)}, args.turns, args.seconds))
            results["speed"] = head | {"rows": rows}
            write_json(path, results)  # what was measured stays, whatever comes
    if args.memory:
        results["memory"] = head | {"rows": memory(Path(args.processed), args.memory)}
        write_json(path, results)


if __name__ == "__main__":
    main()
