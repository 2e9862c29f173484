"""What does each default of the recipe bring?

    python benchmarks/ablation.py PROCESSED                        from scratch, each default changed alone
    python benchmarks/ablation.py PROCESSED --weights FILE --arch mobilenet_v2      the same for a borrowed network
    python benchmarks/ablation.py SPLIT SPLIT SPLIT --seeds 1 2 --only "weight decay"       some of the rows, on several splits

The run is shorter and smaller than the default one (`--size`, `--epochs`), so that all rows and seeds take half an hour, not
half a day; rows of one seed share the split and the order of the pictures. Choose by the validation accuracy: the test split is
shown, and is for nobody to choose by. The difference to the default is taken seed by seed, and so is the one at a quarter of the
run, which is what somebody has who stops it early.
"""

import argparse
import csv
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from common import RESULTS, command_line, stamp

from vehicle_nb.core import write_json
from vehicle_nb.train import train

SCRATCH = {
    "default": {},
    "no average of the weights": {"ema": 0.0},
    "no label smoothing": {"label_smoothing": 0.0},
    "a limit for the gradient": {"clip": 1.0},
    "weight decay": {"weight_decay": 0.05},
    "full size all the time": {"progressive": False},  # says something from --size 96 on: 64 pixels have no smaller size before them
    "full size, for the same time": {"progressive": False, "epochs": 0.77},  # below 1: a share of the default's
    "CutMix for half of the pairs": {"cutmix": 0.5},
    "no CutMix": {"cutmix": 0.0},  # long runs have it by default
    "MixUp for half of the pairs": {"mixup": 0.5},
    "rare classes weigh more": {"balance": True},
    "learning rate halved": {"lr": 0.002},
    "learning rate doubled": {"lr": 0.008},
    "learning rate times eight": {"lr": 0.032},
    "learning rate times eight, with a limit for the gradient": {"lr": 0.032, "clip": 1.0},
    "float32": {"precision": "fp32"},
}
BORROWED = {
    "default": {},
    "head not taught first": {"head_epochs": 0},
    "half of the epochs": {"epochs": 0.5},
    "pictures changed at full strength": {"augmentation": 1.0},
    "a limit for the gradient": {"clip": 1.0},
    "weight decay": {"weight_decay": 0.05},
    "head alone": {"frozen": 4, "first_rate": 1e-6, "epochs": 1},
    "one rate for all layers": {"first_rate": 1.0},
    "no layer frozen": {"frozen": 0},
    "three bands frozen": {"frozen": 3},
    "batch statistics learn": {"norms": "free"},
    "learning rate halved": {"lr": 1.5e-4},
    "learning rate doubled": {"lr": 6e-4},
    "CutMix for half of the pairs": {"cutmix": 0.5},
}


def one_run(processed: str, options: dict, seed: int) -> dict:
    "Train once; accuracies (also on the way) and seconds."
    with tempfile.TemporaryDirectory() as models:
        start = time.perf_counter()
        metrics = train(processed=processed, models=models, run_name="it", seed=seed, quiet=True, **options)
        seconds = time.perf_counter() - start
        with open(Path(models) / "it" / "history.csv") as file:
            way = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    accuracies = {"quarter": way[max(0, len(way) // 4 - 1)], "val": metrics["val_accuracy"], "test": metrics["test_accuracy"]}
    return {"split": Path(processed).name, "seed": seed, **accuracies, "seconds": round(seconds, 1)}


def differences(runs: list[dict], default: list[dict], what: str) -> str:
    "How much better than the default, run by run."
    return mean_sd([run[what] - base[what] for run, base in zip(runs, default, strict=True)])


def mean_sd(values: list[float]) -> str:
    "Mean and standard deviation, in percent."
    return f"{100 * statistics.mean(values):5.1f} ± {100 * (statistics.stdev(values) if len(values) > 1 else 0):.1f}"


def table(rows: dict[str, list[dict]]) -> str:
    "Markdown: accuracy on validation and test, difference to the default seed by seed, seconds."
    lines = ["| changed | validation, % | difference | at a quarter | test, % | seconds |", "|---|---:|---:|---:|---:|---:|"]
    for name, runs in rows.items():
        seconds = statistics.mean(run["seconds"] for run in runs)
        val, test = (mean_sd([run[split] for run in runs]) for split in ("val", "test"))
        end, quarter = (differences(runs, rows["default"], what) for what in ("val", "quarter"))
        lines.append(f"| {name} | {val} | {end} | {quarter} | {test} | {seconds:.0f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processed", nargs="+", help="folder that vehicle_preprocess wrote; several: every seed on each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--size", type=int, help="side of the network's input (default: 64, or 128 with --weights)")
    parser.add_argument("--epochs", type=int, help="default: 40, or 6 with --weights")
    parser.add_argument("--arch", default="vehicle_cnn")
    parser.add_argument("--weights", default="", help="file of pretrained weights")
    parser.add_argument("--threads", type=int, default=0, help="0 takes all cores")
    parser.add_argument("--only", nargs="+", help="names of rows")
    parser.add_argument("--name", help="of the result file")
    args = parser.parse_args()
    borrowed = bool(args.weights)
    base = {"arch": args.arch, "weights": args.weights, "input_size": args.size or (128 if borrowed else 64)}
    base["threads"] = args.threads
    base["epochs"] = args.epochs or (6 if borrowed else 40)
    every = BORROWED if borrowed else SCRATCH
    wanted = {name: change for name, change in every.items() if not args.only or name in ("default", *args.only)}
    rows = {name: [] for name in wanted}
    for seed, processed in itertools.product(args.seeds, args.processed):
        for name, change in wanted.items():
            options = base | change
            options["epochs"] = round(options["epochs"] * (base["epochs"] if options["epochs"] < 1 else 1))
            rows[name].append(one_run(processed, options, seed))
            print(f"{name}: {rows[name][-1]}", flush=True)
    print(table(rows))
    name = args.name or ("ablation-borrowed" if borrowed else "ablation-scratch")
    base["weights"] = args.weights.rsplit("/", 1)[-1]
    write_json(RESULTS / f"{name}.json", stamp(command_line("ablation.py")) | {"base": base, "rows": rows})


if __name__ == "__main__":
    main()
