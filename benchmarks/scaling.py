"""How much faster do several processes train, at one thread each?

    python benchmarks/scaling.py PROCESSED                       1 and 2 processes in turns, and what DDP's options bring
    python benchmarks/scaling.py PROCESSED --processes 1 2 4     on four cores or more

Two questions are asked of each number of processes: with as many pictures a step for each process as one alone has (weak
scaling: what more GPUs are usually for), and with the step's pictures shared among them (strong scaling). Efficiency is the
rate by the number of processes and the rate of one. Cores that share a physical core, or a chip that lowers its clock when
all cores work, cost efficiency too: "apart" runs as many processes that do not talk to each other, which shows how much.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

from common import RESULTS, command_line, spread, stamp

from vehicle_nb.core import house_style, keep_memory, write_json, write_whole
from vehicle_nb.training.dist import share_threads, start_processes
from vehicle_nb.training.config import Settings, complete
from vehicle_nb.training.loop import Trainer, train_step

WARM = 3  # steps left out: DDP builds its buckets anew after the first


def work(task: dict):
    "One rank: train some steps; rank 0 prints pictures a second over all ranks."
    share_threads(1)
    keep_memory()
    acc = start_processes(120, task["bucket_mb"])
    names = ("processed", "arch", "batch_size", "input_size", "precision")
    settings = complete(Settings(**{name: task[name] for name in names}), acc.device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(settings, Path(folder), acc)
    if task["hook"] and acc.num_processes > 1:
        trainer.model.register_comm_hook(None, bf16_compress_hook)
    trainer.train_mode()
    trainer.augment.input_size = settings.input_size
    seen, sizes, epoch, step = 0, trainer.sampler.sizes(), 0, 0
    while step < WARM + task["steps"]:
        trainer.sampler.set_epoch(epoch)
        for batch, size in zip(trainer.loaders["train"], sizes, strict=True):
            if step == WARM:
                acc.wait_for_everyone()
                start = time.perf_counter()
            if step == WARM + task["steps"]:
                break
            train_step(trainer, batch, size)
            seen, step = seen + size * (step >= WARM), step + 1
        epoch += 1
    acc.wait_for_everyone()
    if acc.is_main_process:
        print(json.dumps(seen / (time.perf_counter() - start)), flush=True)
    if acc.num_processes > 1:
        torch.distributed.destroy_process_group()


def measure(processes: int, task: dict, apart: bool = False) -> float:
    "Pictures a second of so many processes together; `apart`: of as many that know nothing of each other."
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(1 if apart else processes)]
    command = [*run, __file__, "--worker", json.dumps(task)]
    ranks = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(processes if apart else 1)]
    total = 0.0
    for rank in ranks:
        out, err = rank.communicate()
        if rank.returncode:
            sys.exit(err)
        total += float(out.split()[-1])
    return total


def draw(rows: dict, path: Path):
    "Efficiency of each row as bars."
    import matplotlib.pyplot as plt

    house_style()
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scaling"})
    ax = plt.subplots(figsize=(7, 0.45 * len(rows) + 1))[1]
    for name, row in rows.items():
        error = statistics.stdev(row["efficiency"]) if len(row["efficiency"]) > 1 else 0
        ax.barh(name, statistics.mean(row["efficiency"]), xerr=error, color="C0" if "apart" not in name else "C6")
    ax.axvline(1, color="C3", ls="--")
    ax.invert_yaxis()
    ax.set(xlabel="efficiency: rate / (processes × rate of one)", title="Several processes, one thread each", xlim=(0, 1.1))
    with write_whole(path) as file:
        ax.figure.savefig(file, format="svg", metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processed", help="folder that vehicle_preprocess wrote")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--arch", default="vehicle_cnn")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32, help="pictures in a step of one process")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    args = parser.parse_args()
    base = {"processed": args.processed, "arch": args.arch, "input_size": args.size, "precision": args.precision,
            "batch_size": args.batch, "steps": args.steps, "hook": False, "bucket_mb": 25}  # fmt: skip
    rows = {}
    for n in [n for n in args.processes if n > 1]:
        rows |= {
            f"{n} processes": (n, {"batch_size": args.batch * n}, False),
            f"{n} processes, the same step shared": (n, {}, False),
            f"{n} processes, gradients sent as bf16": (n, {"batch_size": args.batch * n, "hook": True}, False),
            f"{n} processes, buckets of 2 MB": (n, {"batch_size": args.batch * n, "bucket_mb": 2}, False),
            f"{n} processes apart": (n, {}, True),
        }
    found = {name: {"rates": [], "efficiency": []} for name in rows}
    alone = []
    for turn in range(args.turns):
        alone.append(measure(1, base))
        for name, (n, change, apart) in rows.items():
            rate = measure(n, base | change, apart)
            found[name]["rates"].append(rate)
            found[name]["efficiency"].append(rate / n / alone[-1])
        shown = ", ".join(f"{name} {row['efficiency'][-1]:.2f}" for name, row in found.items())
        print(f"turn {turn + 1}: one process {alone[-1]:.1f}/s; efficiency: {shown}", flush=True)
    print("| | pictures a second | efficiency |", "|---|---:|---:|", f"| 1 process | {spread(alone)} | 1 |", sep="\n")
    for name, row in found.items():
        print(f"| {name} | {spread(row['rates'])} | {spread(row['efficiency'])} |")
    base["processed"] = Path(args.processed).name
    write_json(RESULTS / "scaling.json", stamp(command_line("scaling.py")) | {"base": base, "alone": alone, "rows": found})
    draw(found, RESULTS / "scaling.svg")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
