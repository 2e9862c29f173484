"""How accurate is the default training after how many minutes, over some seeds and some splits?

    python benchmarks/train.py data/processed --seeds 42 43 44
    python benchmarks/train.py SPLIT SPLIT SPLIT --seeds 42 43          the same images, split by vehicle_preprocess --seed
    python benchmarks/train.py data/processed --seeds 42 -- --arch resnet18 --epochs 20

A split has few test images, and one may be easier than another: the mean over several says more. Each run is a process of its
own, as a user starts it. Everything after `--` goes to vehicle_train.
"""

import itertools
import sys
from pathlib import Path

from common import parser, percent, save, table, train_once


def one_run(processed: str, seed: int, options: str) -> dict:
    "Accuracies, and minutes: of the training alone, and with start and test."
    run = train_once(processed, f"--seed {seed} {options}")
    row = {"split": Path(processed).resolve().name, "seed": seed}
    row |= {name: run["metrics"][name] for name in ("val_accuracy", "test_accuracy")}
    row |= {name: run["settings"][name] for name in ("arch", "epochs", "input_size", "precision")}
    minutes = round(sum(float(epoch["seconds"]) for epoch in run["history"]) / 60, 2)
    return row | {"training_minutes": minutes, "all_minutes": run["minutes"]}


def main():
    words = sys.argv[1:]
    ours, options = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parse = parser(__doc__)
    parse.add_argument("processed", nargs="+", help="folder that vehicle_preprocess wrote; several: every seed on each")
    parse.add_argument("--seeds", type=int, nargs="+", default=[42])
    args = parse.parse_args(ours)
    runs = [one_run(processed, seed, " ".join(options)) for seed, processed in itertools.product(args.seeds, args.processed)]
    table(runs)
    print(f"test accuracy {percent([run['test_accuracy'] for run in runs])} % (mean and standard deviation of {len(runs)} runs)")
    save(args.name, runs=runs)


if __name__ == "__main__":
    main()
