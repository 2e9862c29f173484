"""Accuracy and minutes of the default training, over some seeds.

    python benchmarks/train.py data/processed --seeds 42 43 44
    python benchmarks/train.py data/processed --seeds 42 -- --arch resnet18 --epochs 20

Each run is a process of its own, as a user starts it. Everything after `--` goes to vehicle_train. The figures are
printed and written to benchmarks/results/train-<name>.json, with the machine and the date.
"""

import argparse
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
    return {"seed": seed, "test_accuracy": metrics["test_accuracy"], "test_pictures": metrics["test_pictures"],
            "training_minutes": round(seconds / 60, 2), "all_minutes": round(wall / 60, 2),
            **{name: settings[name] for name in ("arch", "epochs", "input_size", "precision")}}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processed", help="folder that vehicle_preprocess wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--name", help="name of the result file; by default that of the folder")
    ours = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    args, options = parser.parse_args(ours), sys.argv[len(ours) + 2 :]
    runs, head = [], stamp(command_line("train.py"))
    for seed in args.seeds:
        runs.append(one_run(args.processed, seed, options))
        print(runs[-1], flush=True)
    accuracies = [run["test_accuracy"] for run in runs]
    spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
    print(f"test accuracy {statistics.mean(accuracies):.1%} ± {spread:.1%} (mean and standard deviation of {len(runs)} seeds)")
    name = args.name or Path(args.processed).resolve().name
    write_json(RESULTS / f"train-{name}.json", head | {"options": [Path(word).name for word in options], "runs": runs})


if __name__ == "__main__":
    main()
