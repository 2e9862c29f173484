"""A linear probe, fine-tuning, or both together: what is best with pretrained weights?

    python benchmarks/finetune.py SPLIT SPLIT SPLIT --arch mobilenet_v2 --weights FILE

On each split, a probe (`vehicle_train --probe`) and a fine-tuned network (the default, which itself starts from a short probe);
then the average of their logits, and the average of their weights. Accuracy and negative log-likelihood (NLL) on the test split,
each after its own temperature, fitted on the validation split; CPU seconds of the whole command, by which two runs can be compared
on a busy machine. Runs that lie in --models already are not trained again.
"""

import json
import resource
from pathlib import Path

import torch
import torch.nn.functional as F
from common import parser, percent, save, spread, start_training, table

from vehicle_nb.data.dataset import PackedDataset
from vehicle_nb.evaluation.calibration import fit_temperature
from vehicle_nb.evaluation.ood import run_batches
from vehicle_nb.models.bundle import load_bundle

KINDS = {"probe": "--probe", "fine-tuned": ""}


def trained(split: str, kind: str, args) -> tuple[Path, float]:
    "A run of this kind on this split, and the CPU seconds that it took."
    run = Path(args.models) / f"{Path(split).name}-{kind}"
    cost = run / "cpu_seconds.json"
    if not cost.exists():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        options = f"--data {split} --output {run.parent} --run_name {run.name} --arch {args.arch} --weights {args.weights} --quiet"
        if start_training(f"{options} --num_threads {args.num_threads} {KINDS[kind]}").wait():
            raise SystemExit(f"{run} was not trained")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cost.write_text(json.dumps(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return run, json.loads(cost.read_text())


def scores(model, split: str, size: int) -> dict:
    "Logits and labels of the validation and of the test split."
    sets = {name: PackedDataset(split, name, quiet=True) for name in ("val", "test")}
    return {name: (torch.cat(run_batches(model, each.images, size)), torch.from_numpy(each.labels)) for name, each in sets.items()}


def measure(found: dict, seconds: float) -> dict:
    "Accuracy and calibrated NLL on the test split."
    logits, labels = found["test"]
    nll = F.cross_entropy(logits / fit_temperature(*found["val"]), labels).item()
    return {"test_accuracy": (logits.argmax(1) == labels).float().mean().item(), "nll": nll, "cpu_seconds": round(seconds, 1)}


def on_split(split: str, args) -> dict:
    "All four on one split."
    runs = {kind: trained(split, kind, args) for kind in KINDS}
    models = {kind: load_bundle(run) for kind, (run, _) in runs.items()}
    size = models["probe"].config["input_size"]
    found = {kind: scores(each.model, split, size) for kind, each in models.items()}
    rows = {kind: measure(found[kind], runs[kind][1]) for kind in KINDS}
    both = sum(seconds for _, seconds in runs.values())
    one, other = found.values()
    rows["average of logits"] = measure({name: ((one[name][0] + other[name][0]) / 2, one[name][1]) for name in one}, both)
    mean, second = models["probe"].model, models["fine-tuned"].model.state_dict()
    with torch.no_grad():
        for name, value in mean.state_dict().items():
            value.copy_((value + second[name]) / 2 if value.is_floating_point() else value)
    return rows | {"average of weights": measure(scores(mean, split, size), both)}


def main():
    parse = parser(__doc__)
    parse.add_argument("processed", nargs="+", help="folders that vehicle_preprocess wrote, with different seeds")
    parse.add_argument("--arch", default="mobilenet_v2")
    parse.add_argument("--weights", default="pretrained", help="pretrained, or a file")
    parse.add_argument("--models", default="models", help="folder of the runs")
    parse.add_argument("--num_threads", type=int, default=1)
    args = parse.parse_args()
    splits = {Path(split).name: on_split(split, args) for split in args.processed}
    rows = []
    for kind in next(iter(splits.values())):
        each = [split[kind] for split in splits.values()]
        values = {key: [row[key] for row in each] for key in each[0]}
        rows.append({"": kind, "test, %": percent(values["test_accuracy"]), "NLL": spread(values["nll"], 3),
                     "CPU s": spread(values["cpu_seconds"], 0)})  # fmt: skip
    table(rows)
    save(args.name, splits=splits)


if __name__ == "__main__":
    main()
