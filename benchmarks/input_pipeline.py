"""Does the network ever wait for its images, and does memory grow with the set?

    python benchmarks/input_pipeline.py PROCESSED                  on the best device that is there
    python benchmarks/input_pipeline.py PROCESSED --archs resnet50:224:256 --images 5000 --name input_pipeline-gpu
    python benchmarks/input_pipeline.py PROCESSED --archs --memory 2000 20000      the memory alone
    python benchmarks/input_pipeline.py PROCESSED --archs --memory --limited 20000 a set of twice the memory

1. Speed: real training (loader, augmentation on the device, forward, backward, optimizer, average) against the same step on one
   batch that never leaves the memory; the ratio of images a second. Within a repeat the two alternate every half second, so that
   a machine which slows down does so for both. The first repeat warms up and is left out. On a GPU also the share of its bf16
   arithmetic: operations of forward and backward, as PyTorch counts them, over those of a product of two large matrices.
2. Memory: a set of 2,000 and one of 20,000 images (copies of those of PROCESSED) are packed and read whole, each in a process of
   its own; the most memory that the process held.
3. A set that does not fit (`--limited`): two processes train on copies of one set, in turn. One has half the memory that the packed
   pixels take (a control group limits it, the cache of files included), the other as much as it likes. The first repeat warms up.
"""

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from common import parser, save, spread, table
from torch.utils.flop_counter import FlopCounterMode

from vehicle_nb.core import tune_malloc
from vehicle_nb.files import write_json
from vehicle_nb.data import dataset as loading
from vehicle_nb.data.dataset import DeviceLoader, PackedDataset, make_loader, read_config
from vehicle_nb.training.config import TrainConfig, resolve_defaults
from vehicle_nb.training.dist import use_cpu, set_num_threads
from vehicle_nb.training.loop import Trainer


def batches(trainer: Trainer):
    "The real thing, epoch after epoch."
    for epoch in itertools.count():
        for part in (trainer.sampler, trainer.augment, trainer.mix, trainer.make_outliers):
            part.set_epoch(epoch)
        yield from trainer.loaders["train"]


def burst(trainer: Trainer, source, seconds: float) -> np.ndarray:
    "Train on what `source` yields for a while: images, seconds."
    images, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        batch = next(source)
        trainer.train_step(batch, len(batch[1]))
        images += len(batch[1])
    synchronize(trainer.accelerator.device)
    return np.array([images, time.perf_counter() - start])


def synchronize(device: torch.device):
    "A GPU lags behind what it was told: wait for it."
    if device.type != "cpu":
        torch.accelerator.synchronize()


def rates(trainer: Trainer, sources: dict, seconds: float) -> dict[str, float]:
    "Images a second of training on each source, half a second at a time."
    totals = {name: np.zeros(2) for name in sources}
    for i in range(round(seconds * 2)):
        for name in list(sources)[:: 1 if i % 2 else -1]:  # the order alternates, too
            totals[name] += burst(trainer, sources[name], 0.5)
    return {name: images / spent for name, (images, spent) in totals.items()}


def operations(trainer: Trainer, size: int) -> float:
    "Operations of one image, forward and backward."
    with FlopCounterMode(display=False) as counter:
        trainer.unwrapped(torch.zeros(2, 3, size, size, device=trainer.accelerator.device)).sum().backward()
    trainer.optimizer.zero_grad()
    return counter.get_total_flops() / 2


def peak(device: torch.device, side: int = 8192) -> float:
    "Operations a second of a product of two large bf16 matrices."
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for repeat in range(13):
        if repeat == 3:  # those before warm up
            synchronize(device)
            start = time.perf_counter()
        a @ b
    synchronize(device)
    return 10 * 2 * side**3 / (time.perf_counter() - start)


def speed(processed: str, arch: str, size: int, batch_size: int, args) -> dict:
    "Real training and the synthetic step."
    acc = Accelerator(cpu=use_cpu())
    more = {"precision": args.precision} if args.precision else {}
    settings = TrainConfig(data=processed, arch=arch, input_size=size, batch_size=batch_size, progressive=False, epochs=1000,
                        compile=args.compile, quiet=True, **more)  # fmt: skip
    top = peak(acc.device) if acc.device.type != "cpu" else None
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(resolve_defaults(settings, acc.device), Path(folder), acc)
        trainer.train_mode()
        each, real = operations(trainer, size), batches(trainer)
        batch = tuple(t.to(acc.device) for t in next(real))
        sources = {"real": real, "synthetic": itertools.repeat(batch)}
        taken = [rates(trainer, sources, args.seconds if i else args.seconds / 4) for i in range(args.repeats + 1)][1:]
    found = {name: [rate[name] for rate in taken] for name in sources}
    ratios = [a / b for a, b in zip(found["real"], found["synthetic"], strict=True)]
    row = {"arch": arch, "size": size, "batch": batch_size, "precision": trainer.config.precision, "compiled": trainer.config.compile,
           "on device": isinstance(trainer.loaders["train"], DeviceLoader), "images/s": spread(found["real"], 1),
           "of the step alone": spread(ratios, 3), "of the peak": np.mean(found["real"]) * each / top if top else "–"}  # fmt: skip
    print(row, flush=True)
    return row | {"rates": found, "ratios": ratios, "flop_per_image": each, "peak_flop_per_second": top}


def fill(processed: Path, to: Path, count: int) -> Path:
    "A processed set of `count` training images: copies of those of `processed`."
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
    return to


def read_all(processed: str):
    "Pack and read a whole split; prints the most memory held meanwhile."
    process = psutil.Process()
    before = process.memory_info().rss
    dataset = PackedDataset(processed, "train", quiet=True)
    peaks = [process.memory_info().rss - before]
    for step, _ in enumerate(make_loader(dataset, 32, shuffle=True)):
        if step % 20 == 0:
            peaks.append(process.memory_info().rss - before)
    print(json.dumps({"images": len(dataset), "packed MB": dataset.images.nbytes / 1e6, "memory MB": max(peaks) / 1e6}))


def memory(processed: Path, count: int) -> dict:
    "Memory that reading a set of `count` images takes."
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, str(fill(processed, Path(folder), count)), "--read_all"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def limited_group(limit: int):
    "A control group inside our own whose processes and files together may take so many bytes of memory."
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, place = line.split(":", 2)
        if kinds in ("", "memory"):  # version 2, version 1
            folder = Path("/sys/fs/cgroup", kinds, place.strip("/"), f"limited-{os.getpid()}")
            try:
                folder.mkdir()
                (folder / ("memory.limit_in_bytes" if kinds else "memory.max")).write_text(str(limit))
            except OSError:  # not ours to divide, or without control of memory
                if folder.exists():
                    folder.rmdir()
                continue
            try:
                yield folder
            finally:
                folder.rmdir()
            return
    sys.exit("No control group of ours can limit memory here: run as root, or under systemd-run --user --scope -p Delegate=yes.")


def forget(path: Path):
    "Take a file out of the system's cache."
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def train_when_asked(processed: str, arch: str, size: str, batch_size: str):
    "Train for as many seconds as each line of the input says; prints images a second, and pages that were missing."
    acc = Accelerator(cpu=use_cpu())
    config = TrainConfig(data=processed, arch=arch, input_size=int(size), batch_size=int(batch_size), progressive=False, epochs=1000,
                      compile="graph", quiet=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(resolve_defaults(config, acc.device), Path(folder), acc)
        trainer.train_mode()
        source = batches(trainer)
        for line in sys.stdin:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
            images, seconds = burst(trainer, source, float(line))
            waits = (resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before) / images
            print(json.dumps({"rate": images / seconds, "faults": waits}), flush=True)


def limited(processed: Path, count: int, arch: str, args) -> dict:
    "Images a second with half the memory that the pixels take, and with plenty."
    with tempfile.TemporaryDirectory() as folder:
        sets = {"plenty": fill(processed, Path(folder) / "plenty", count), "half": Path(folder) / "half"}
        packed = PackedDataset(sets["plenty"], "train", quiet=True)
        shutil.copytree(sets["plenty"], sets["half"])
        for path in sets.values():
            forget(path / packed.path.relative_to(sets["plenty"]))
        with limited_group(packed.images.nbytes // 2) as group:
            enter = {"plenty": None, "half": lambda: (group / "cgroup.procs").write_text(str(os.getpid()))}
            command = [sys.executable, __file__, "--train", *arch.split(":")]
            started = {
                name: subprocess.Popen([*command[:2], str(path), *command[2:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                       preexec_fn=enter[name])
                for name, path in sets.items()
            }  # fmt: skip
            runs = {name: [] for name in sets}
            try:
                for repeat in range(args.repeats + 1):
                    for name in list(sets)[:: 1 if repeat % 2 else -1]:
                        print(args.seconds, file=started[name].stdin, flush=True)
                        runs[name].append(json.loads(started[name].stdout.readline()))
            finally:
                for process in started.values():
                    process.communicate()
    runs = {name: found[1:] for name, found in runs.items()}
    ratios = [half["rate"] / plenty["rate"] for half, plenty in zip(runs["half"], runs["plenty"], strict=True)]
    return {"arch": arch, "images": count, "packed MB": packed.images.nbytes / 1e6, "memory MB": packed.images.nbytes / 2e6,
            "half of plenty": spread(ratios, 3), "ratios": ratios, "runs": runs}  # fmt: skip


def main():
    parse = parser(__doc__, processed=True)
    parse.add_argument("--archs", nargs="*", default=["vehicle_cnn:128:32", "resnet18:224:32"], metavar="ARCH:SIZE:BATCH_SIZE")
    parse.add_argument("--repeats", type=int, default=5)
    parse.add_argument("--seconds", type=float, default=8, help="of a repeat")
    parse.add_argument("--precision", help="default: that of vehicle_train")
    parse.add_argument("--compile", default="graph", help="as for vehicle_train, where auto would compile the thousand epochs planned here")
    parse.add_argument("--streamed", action="store_true", help="as if the images did not fit into a GPU's memory")
    parse.add_argument("--images", type=int, help="train on so many copies of PROCESSED's images")
    parse.add_argument("--memory", type=int, nargs="*", default=[2_000, 20_000], help="sizes of the sets for the second part")
    parse.add_argument("--read_all", action="store_true", help="for the second part's own processes")
    parse.add_argument("--limited", type=int, help="size of the set for the third part")
    parse.add_argument("--train", nargs=3, metavar=("ARCH", "SIZE", "BATCH_SIZE"), help="for the third part's own processes")
    args = parse.parse_args()
    if args.read_all:
        return read_all(args.processed)
    set_num_threads(0)
    tune_malloc()
    if args.train:
        return train_when_asked(args.processed, *args.train)
    if args.streamed:
        loading.fits_on_device = lambda *_: False
    with tempfile.TemporaryDirectory() as folder:
        where = str(fill(Path(args.processed), Path(folder) / "set", args.images)) if args.images else args.processed
        speeds = [speed(where, arch, int(size), int(batch), args) for arch, size, batch in (name.split(":") for name in args.archs)]
    sizes = [memory(Path(args.processed), count) for count in args.memory]
    halves = [limited(Path(args.processed), args.limited, "vehicle_cnn:128:32", args)] if args.limited else []
    for rows in filter(None, (speeds, sizes, halves)):
        table([{name: cell for name, cell in row.items() if not isinstance(cell, dict | list)} for row in rows])
    save(args.name, speed=speeds, memory=sizes, limited=halves)


if __name__ == "__main__":
    main()
