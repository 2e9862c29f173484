"""What all benchmarks write down: the machine, the date, the versions, the command; and how figures and runs are compared."""

import argparse
import os
import platform
import statistics
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from vehicle_nb.parallel import cpu_count

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torchvision", "accelerate", "numpy", "pillow")


def machine() -> dict:
    "What the figures were taken on; no names of hosts or people."
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    load = [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {
        "processor": names[0] if names else platform.machine(), "cores": cpu_count(), "memory_gib": round(memory or 0, 1),
        "accelerator": accelerator(), "load_before": load,
    }  # fmt: skip


def accelerator() -> str:
    "The GPU's name, where there is one."
    import torch  # here: not every benchmark needs it

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def stamp(
    command: str,  # how to take the figures again, with a word for each folder: "python benchmarks/x.py PROCESSED"
) -> dict:
    "The head of a result file."
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return {"command": command, "date": date.today().isoformat(), "machine": machine(), "versions": versions}


def command_line(
    script: str,  # the script's name
) -> str:
    "This process's command; of folders on this machine only the last part is told."
    argv = [Path(word).name if word.startswith(("/", "~", ".")) and len(word) > 1 else word for word in sys.argv[1:]]
    return " ".join(["python", f"benchmarks/{script}", *argv])


def each_arch(
    script: str,  # the script's name; what it writes is named after it by default
    doc: str,  # its docstring
    compare,  # (arch, device, side, batch_size, turns) → a row of the result
    archs: list[str],  # by default
    side: int,  # of the pictures, by default
    batch_size: int,  # by default
    turns: int,  # by default
):
    "Run a benchmark that asks the same of one architecture after the other, on the best device that is there."
    import torch  # here: not every benchmark needs them

    from vehicle_nb.core import keep_memory, write_json
    from vehicle_nb.training.dist import on_cpu, share_threads

    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=archs)
    parser.add_argument("--side", type=int, default=side)
    parser.add_argument("--batch_size", type=int, default=batch_size)
    parser.add_argument("--turns", type=int, default=turns)
    parser.add_argument("--name", default=Path(script).stem, help="of the result file")
    args = parser.parse_args()
    share_threads(0)
    keep_memory()
    device = torch.device("cpu" if on_cpu() else "cuda")
    head = stamp(command_line(script))
    rows = [compare(arch, device, args.side, args.batch_size, args.turns) for arch in args.archs]
    write_json(RESULTS / f"{args.name}.json", head | {"device": device.type, "rows": rows})


def spread(
    values: list[float],  # what the turns gave
    digits: int = 2,  # after the point
) -> str:
    "Mean and standard deviation, as text."
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def same_run(
    one: Path,  # folder of a run
    other: Path,  # folder of another
) -> bool:
    "Have both runs the same weights and history, to the last bit?"
    import pandas as pd  # here: not every benchmark needs them
    import torch
    from safetensors.torch import load_file

    from vehicle_nb.training.checkpoints import FIGURES

    a, b = (load_file(run / "model.safetensors") for run in (one, other))
    histories = [pd.read_csv(run / "history.csv")[FIGURES] for run in (one, other)]
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) and histories[0].equals(histories[1])
