"""Is the confidence calibrated, and are out-of-distribution (OOD) images refused?

    python benchmarks/unknown.py RAW OTHERS --arch mobilenet_v2 --weights FILE

RAW is a raw folder of vehicles, OTHERS a folder of images that show none of its classes. For each seed: a leak-free split of its
own, the default training, then on the test split the calibration error (15 bins) before and after temperature scaling; for each
OOD score the AUROC against OTHERS and the share of them that is refused where 95 % of the test images are kept; and what the
bundle's own threshold, chosen on the validation split, keeps and refuses. Last, two classes are left out of the training and are
the OOD images: the hard case. `floor` is the calibration error that a perfectly calibrated model shows on so few images by chance.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from common import parser, save, spread, start_training, table

from vehicle_nb.data.preprocess import preprocess
from vehicle_nb.data.sources import class_folders
from vehicle_nb.evaluation.explain import collect
from vehicle_nb.evaluation.metrics import Predictions, calibration_error
from vehicle_nb.evaluation.ood import load_ood_images, score_ood, ood_metrics


def chance_floor(answers: Predictions, times: int = 200) -> float:
    "Mean calibration error of a model that is right exactly as often as it says."
    rng, found = np.random.default_rng(0), []
    for _ in range(times):
        right = rng.random(len(answers.labels)) < answers.confidence
        labels = np.where(right, answers.predicted, (answers.predicted + 1) % len(answers.classes))
        found.append(calibration_error(Predictions(answers.ids, labels, answers.probs, answers.classes)))
    return float(np.mean(found))


def one_model(raw: Path, work: Path, others: Path, seed: int, options: str) -> dict:
    "Split, train, and measure."
    processed = work / f"processed-{seed}"
    preprocess(raw, processed, seed=seed, quiet=True)
    run = f"--data {processed} --output {work} --run_name run-{seed} --seed {seed} {options} --quiet"
    if start_training(run).wait():
        raise SystemExit("the training failed")
    answers, images, _, config = collect(work / f"run-{seed}", processed)
    bare = answers.probs.astype(np.float64) ** config["temperature"]
    before = Predictions(answers.ids, answers.labels, (bare / bare.sum(1, keepdims=True)).astype(np.float32), answers.classes)
    ood = score_ood(work / f"run-{seed}", processed, load_ood_images(others, images.shape[1])[1])
    return {
        "seed": seed, "accuracy": float(answers.correct.mean()), "ece": calibration_error(answers),
        "ece_without_temperature": calibration_error(before), "floor": chance_floor(answers), **ood_metrics(ood),
    }  # fmt: skip


def show(runs: list[dict], hard: dict):
    "One row for each score, then what the bundle's own threshold does."
    scores = zip(*(run["scores"] for run in runs), strict=True)
    table([{"score": of_one[0]["score"], "AUROC": spread([s["auroc"] for s in of_one], 3),
            "refused where 95 % are kept": spread([s["refused"] for s in of_one], 3)} for of_one in scores])  # fmt: skip
    names = ("accuracy", "kept", "refused", "ece", "ece_without_temperature", "floor")
    table([{"": "OTHERS"} | {name: spread([run[name] for run in runs], 3) for name in names},
           {"": f"left out: {', '.join(hard['left_out'])}"} | {name: f"{hard[name]:.3f}" for name in names}])  # fmt: skip


def main():
    parse = parser(__doc__)
    parse.add_argument("raw", type=Path)
    parse.add_argument("others", type=Path)
    parse.add_argument("--arch", default="vehicle_cnn")
    parse.add_argument("--weights", help="file of pretrained weights")
    parse.add_argument("--epochs", type=int, help="default: that of vehicle_train")
    parse.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parse.parse_args()
    options = {"arch": args.arch, "weights": args.weights, "epochs": args.epochs}
    options = " ".join(f"--{name} {value}" for name, value in options.items() if value)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        runs = [one_model(args.raw, work, args.others, seed, options) for seed in args.seeds]
        folders = sorted(class_folders(args.raw).values())
        left_out = [folders[2], folders[-2]]
        for one in folders:
            shutil.copytree(one, work / ("left_out" if one in left_out else "fewer") / one.name)
        (work / "hard").mkdir()
        hard = one_model(work / "fewer", work / "hard", work / "left_out", args.seeds[0], options)
    hard["left_out"] = [one.name for one in left_out]
    show(runs, hard)
    save(args.name, seeds=runs, left_out=hard)


if __name__ == "__main__":
    main()
