"""What does each default of the recipe bring?

    python benchmarks/ablation.py PROCESSED                                         from scratch, one default changed at a time
    python benchmarks/ablation.py PROCESSED --weights FILE --arch mobilenet_v2      the same for a pretrained network
    python benchmarks/ablation.py SPLIT SPLIT SPLIT --seeds 1 2 --only "weight decay"       some of the rows, on several splits
    python benchmarks/ablation.py DEMO_SET --whole --num_threads 1          what makes the default run on the demo set short

The run is shorter and smaller than the default one (`--size`, `--epochs`), so that all rows and seeds take half an hour and not
half a day; with `--whole` it is the default one, and the minutes of all cores together say what a row costs. Rows of one seed share
the split and the order of the images. Choose by the validation accuracy: the test split is shown, and nobody should choose by it.
The difference to the default is taken run by run, and so is the one at a quarter of the epochs, which is what you have if you stop
early (with smaller images first it says little: the validation images have the full size all the time).
"""

import itertools
from pathlib import Path

from common import parser, percent, save, spread, table, train_once

SCRATCH = {
    "default": "",
    "no average of the weights": "--ema 0",
    "no label smoothing": "--label_smoothing 0",
    "gradient clipping": "--grad_clip 1",
    "weight decay": "--weight_decay 0.05",
    "full size all the time": "--no_progressive",  # changes something from --size 96 on
    "CutMix for half of the pairs": "--cutmix 0.5",
    "no CutMix": "--cutmix 0",  # long runs have it by default, and outliers
    "no outliers": "--outliers 0",
    "MixUp for half of the pairs": "--mixup 0.5",
    "class weights": "--class_weights",
    "learning rate halved": "--lr 0.002",
    "learning rate doubled": "--lr 0.008",
    "learning rate times eight": "--lr 0.032",
    "learning rate times eight, gradient clipping": "--lr 0.032 --grad_clip 1",
    "float32": "--precision fp32",
}
PRETRAINED = {
    "default": "",
    "no linear probe first": "--probe_epochs 0",
    "augmentation at full strength": "--augmentation 1",
    "gradient clipping": "--grad_clip 1",
    "weight decay": "--weight_decay 0.05",
    "linear probe alone": "--freeze_groups 4 --backbone_lr_mult 1e-6 --epochs 1",
    "one learning rate for all layers": "--backbone_lr_mult 1",
    "no layer frozen": "--freeze_groups 0",
    "three layer groups frozen": "--freeze_groups 3",
    "batch norm statistics learn": "--no_freeze_bn",
    "learning rate halved": "--lr 1.5e-4",
    "learning rate doubled": "--lr 6e-4",
    "CutMix for half of the pairs": "--cutmix 0.5",
}


WHOLE = {
    "default": "",
    "27 epochs": "--epochs 27",
    "full size all the time": "--no_progressive",
    "augmentation at full strength": "--augmentation 1",
    "average over 500 steps": "--ema 0.998",
    "batches of 64, learning rate doubled": "--batch_size 64 --lr 0.008",
    "learning rate doubled": "--lr 0.008",
    "no label smoothing": "--label_smoothing 0",
}


def one_run(processed: str, options: str, seed: int) -> dict:
    "Accuracies (also after a quarter of the epochs) and minutes of one run."
    run = train_once(processed, f"{options} --seed {seed}")
    val = [float(row["val_accuracy"]) for row in run["history"]]
    found = {"quarter": val[max(0, len(val) // 4 - 1)], "val": run["metrics"]["val_accuracy"], "test": run["metrics"]["test_accuracy"]}
    return {"split": Path(processed).name, "seed": seed, **found, "minutes": run["minutes"], "cpu_minutes": run["cpu_minutes"]}


def line(name: str, runs: list[dict], default: list[dict]) -> dict:
    "A row of the table: accuracies, and differences to the default run by run."
    differs = {what: [run[what] - base[what] for run, base in zip(runs, default, strict=True)] for what in ("val", "quarter")}
    val, test = (percent([run[what] for run in runs]) for what in ("val", "test"))
    return {"changed": name, "validation, %": val, "difference": percent(differs["val"]), "at a quarter": percent(differs["quarter"]),
            "test, %": test, "CPU minutes": spread([run["cpu_minutes"] for run in runs], 1)}  # fmt: skip


def main():
    parse = parser(__doc__)
    parse.add_argument("processed", nargs="+", help="folder that vehicle_preprocess wrote; several: every seed on each")
    parse.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parse.add_argument("--whole", action="store_true", help="the default run, neither shorter nor smaller")
    parse.add_argument("--size", type=int, help="side of the network's input (default: 64, or 128 with --weights)")
    parse.add_argument("--epochs", type=int, help="default: 40, or 6 with --weights")
    parse.add_argument("--arch", default="vehicle_cnn")
    parse.add_argument("--weights", help="file of pretrained weights")
    parse.add_argument("--num_threads", type=int, help="default: that of vehicle_train")
    parse.add_argument("--only", nargs="+", help="names of rows")
    args = parse.parse_args()
    size, epochs = (128, 6) if args.weights else (None, None) if args.whole else (64, 40)
    chosen = {"arch": args.arch, "input_size": args.size or size, "epochs": args.epochs or epochs, "weights": args.weights,
              "num_threads": args.num_threads}  # fmt: skip
    base = " ".join(f"--{name} {value}" for name, value in chosen.items() if value)
    every = PRETRAINED if args.weights else WHOLE if args.whole else SCRATCH
    rows = {name: [] for name in every if not args.only or name in ("default", *args.only)}
    for seed, processed in itertools.product(args.seeds, args.processed):
        for name, runs in rows.items():
            runs.append(one_run(processed, f"{base} {every[name]}", seed))
            print(name, runs[-1], flush=True)
    table([line(name, runs, rows["default"]) for name, runs in rows.items()])
    save(args.name, rows=rows)


if __name__ == "__main__":
    main()
