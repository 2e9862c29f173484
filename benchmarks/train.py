"""How accurate is the default training after how many minutes, over some seeds, and over some splits?

    python benchmarks/train.py data/processed --seeds 42 43 44
    python benchmarks/train.py SPLIT SPLIT SPLIT --seeds 42 43      the same pictures, split by vehicle_preprocess --seed
    python benchmarks/train.py data/processed --seeds 42 -- --arch resnet18 --epochs 20

A split has few test pictures, and one may be easier than another: the mean over several says more. Each run is a process of its
own, as a user starts it. Everything after `--` goes to vehicle_train. The figures are printed and written to
benchmarks/results/train-<name>.json, with the machine and the date.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, command_line, stamp

from vehicle_nb.core import write_json


def one_run(processed: str, seed: int, options: list[str]) -> dict:
    "Train once; returns accuracy and minutes (of the training alone, and with start and test)."
    with tempfile.TemporaryDirectory() as models:
        start = time.perf_counter()
        command = [sys.executable, "-m", "vehicle_nb.train", "--processed", processed, "--models", models]
        subprocess.run([*command, "--run_name", "it", "--seed", str(seed), *options], check=True, stdout=subprocess.DEVNULL)
        wall = time.perf_counter() - start
        run = Path(models) / "it"
        metrics = json.loads((run / "config.json").read_text())["metrics"]
        rows = (run / "history.csv").read_text().splitlines()
        seconds = sum(float(row.split(",")[rows[0].split(",").index("seconds")]) for row in rows[1:])
        settings = json.loads((run / "settings.json").read_text())
    accuracies = {name: metrics[name] for name in ("val_accuracy", "test_accuracy")}
    return {"split": Path(processed).resolve().name, "seed": seed, **accuracies, "test_pictures": metrics["test_pictures"],
            "training_minutes": round(seconds / 60, 2), "all_minutes": round(wall / 60, 2),
            **{name: settings[name] for name in ("arch", "epochs", "input_size", "precision")}}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processed", nargs="+", help="folder that vehicle_preprocess wrote; several: every seed on each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--name", help="name of the result file; by default that of the first folder")
    ours = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    args, options = parser.parse_args(ours), sys.argv[len(ours) + 2 :]
    runs, head = [], stamp(command_line("train.py"))
    for seed, processed in itertools.product(args.seeds, args.processed):
        runs.append(one_run(processed, seed, options))
        print(runs[-1], flush=True)
    accuracies = [run["test_accuracy"] for run in runs]
    spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
    print(f"test accuracy {statistics.mean(accuracies):.1%} ± {spread:.1%} (mean and standard deviation of {len(runs)} runs)")
    name = args.name or Path(args.processed[0]).resolve().name
    write_json(RESULTS / f"train-{name}.json", head | {"options": [Path(word).name for word in options], "runs": runs})


if __name__ == "__main__":
    main()
