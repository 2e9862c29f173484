"""What all benchmarks share: how a run is started, what is written down, how a table is printed."""

import argparse
import csv
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from vehicle_nb.parallel import cpu_count

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "torchvision", "accelerate", "numpy", "pillow")
LOAD = [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None  # before we start


def parser(
    doc: str,  # docstring of the program
    processed: bool = False,  # does it take a processed set?
) -> argparse.ArgumentParser:
    "A command line that shows the program's docstring as its help."
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--name", default=Path(sys.argv[0]).stem, help="name of the result file")
    if processed:
        made.add_argument("processed", help="folder that vehicle_preprocess wrote")
    return made


def head() -> dict:
    "How, when and on what the figures were taken: no host names, and of folders on this machine only the last part."
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    processors = re.findall(r"model name\s*: (.+)", info) or [platform.machine()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words]), "date": date.today().isoformat(),
        "machine": {"processor": processors[0], "cores": cpu_count(), "memory_gib": round(memory, 1), "accelerator": gpu,
                    "load_before": LOAD},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }  # fmt: skip


def save(
    name: str,  # of the result file
    **results,  # what was measured
):
    "Write the results with their head; the innermost lists and objects stand on one line."
    text = json.dumps(head() | results, indent=1, default=str)
    flat = re.sub(r"[\[{][^][{}]+[]}]", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    (RESULTS / f"{name}.json").write_text(flat + "\n", encoding="utf-8")


def spread(
    values: list[float],  # one for each repeat
    digits: int = 2,  # after the decimal point
) -> str:
    "Mean and standard deviation, as text."
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}"


def percent(
    values: list[float],  # shares, one for each run
) -> str:
    "Mean and standard deviation in percent, as text."
    return spread([100 * value for value in values], 1)


def table(
    rows: list[dict],  # column: cell
):
    "Print rows as Markdown."
    print("|" + "|".join(f" {name} " for name in rows[0]) + "|", "|---" * len(rows[0]) + "|", sep="\n")
    for row in rows:
        print("|" + "|".join(f" {cell:.3g} " if isinstance(cell, float) else f" {cell} " for cell in row.values()) + "|", flush=True)


def start_training(
    options: str,  # of vehicle_train
    processes: int = 1,  # ranks on this machine
    **popen,  # options of Popen
) -> subprocess.Popen:
    "Start a training run as a user does, in processes of its own."
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"] if processes > 1 else []
    return subprocess.Popen([sys.executable, "-m", *launch, "vehicle_nb.train", *options.split()], **popen)


def read_run(
    folder: Path,  # of a finished run
) -> dict:
    "Metrics, settings and history of a run."
    config, settings = (json.loads((folder / name).read_text()) for name in ("config.json", "train_config.json"))
    with open(folder / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    return {"metrics": config["metrics"], "settings": settings, "history": history}


def train_once(
    processed: str | Path,  # folder that vehicle_preprocess wrote
    options: str,  # more of vehicle_train
    processes: int = 1,  # ranks on this machine
    **popen,  # options of Popen
) -> dict:  # see `read_run`, and the minutes that the command took: by the clock, and of all cores together
    "Train in a temporary folder."
    with tempfile.TemporaryDirectory() as models:
        start, cpu = time.perf_counter(), cpu_seconds()
        options = f"--data {processed} --output {models} --run_name it --quiet {options}"
        process = start_training(options, processes, stdout=subprocess.DEVNULL, **popen)
        if process.wait():
            sys.exit(f"vehicle_train {options} ended with exit code {process.returncode}.")
        minutes, cpu_minutes = (round(seconds / 60, 2) for seconds in (time.perf_counter() - start, cpu_seconds() - cpu))
        return read_run(Path(models) / "it") | {"minutes": minutes, "cpu_minutes": cpu_minutes}


def cpu_seconds() -> float:
    "What the processes that this one has started, and that have ended, have computed: hardly changes on a busy machine."
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def images_per_second(
    run: dict,  # of `train_once`
    processed: str | Path,  # its set
) -> float:
    "Training images a second, over the last two thirds of the epochs."
    counts = json.loads((Path(processed) / "config.json").read_text())["counts"]["train"]
    seconds = [float(row["seconds"]) for row in run["history"]]
    rest = seconds[len(seconds) // 3 :]
    return sum(counts.values()) * len(rest) / sum(rest)
