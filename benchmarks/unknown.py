"""Is its confidence honest, and does it know what it does not know?

    python benchmarks/unknown.py RAW OTHERS --arch mobilenet_v2 --weights FILE

RAW is a raw folder of vehicles, OTHERS a folder of pictures that show none of its classes. For each seed: a leak-free split
of its own, the default training, then on the test split the calibration error (15 bins) before and after the temperature, and
for each score the AUROC against OTHERS and the share of them that is refused where 95 % of the test pictures are answered; and
what the bundle's own threshold, chosen on the validation split, keeps and refuses. At last two classes are left out of the
training (`--leave_out`), and their pictures are the strangers: the hard case. A calibration error has a floor: `floor` is what
a perfectly honest model with the same confidences would show on so few pictures, by chance alone.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from common import RESULTS, command_line, stamp

from vehicle_nb.core import write_json
from vehicle_nb.data.sources import class_folders
from vehicle_nb.evaluation.explain import collect
from vehicle_nb.evaluation.metrics import Answers, calibration_error
from vehicle_nb.data.preprocess import preprocess
from vehicle_nb.evaluation.ood import load_strangers, meet_strangers, stranger_figures
from vehicle_nb.train import train


def chance_floor(answers: Answers, times: int = 200) -> float:
    "Mean calibration error of a model that is right exactly as often as it says."
    rng, found = np.random.default_rng(0), []
    for _ in range(times):
        right = rng.random(len(answers.labels)) < answers.confidence
        labels = np.where(right, answers.predicted, (answers.predicted + 1) % len(answers.classes))
        found.append(calibration_error(Answers(answers.ids, labels, answers.probs, answers.classes)))
    return float(np.mean(found))


def one_bundle(raw: Path, work: Path, seed: int, options: dict) -> tuple[Path, Path]:
    "Preprocess and train, unless it has been done; returns bundle and processed set."
    processed, run = work / f"processed-{seed}", work / "models" / f"seed-{seed}"
    if not processed.is_dir():
        preprocess(str(raw), str(processed), seed=seed, show_progress=False)
    if not (run / "history.csv").is_file() or "metrics" not in (run / "config.json").read_text():
        shutil.rmtree(run, ignore_errors=True)
        train(processed=str(processed), models=str(work / "models"), run_name=run.name, seed=seed, quiet=True, **options)
    return run, processed


def look(run: Path, processed: Path, others: Path) -> dict:
    "All figures of one bundle."
    answers, images, _, config = collect(run, processed)
    bare = answers.probs.astype(np.float64) ** config["temperature"]
    before = Answers(answers.ids, answers.labels, (bare / bare.sum(1, keepdims=True)).astype(np.float32), answers.classes)
    strangers = meet_strangers(run, processed, load_strangers(others, images.shape[1])[1])
    return {
        "accuracy": float(answers.correct.mean()), "ece": calibration_error(answers), "ece_without_temperature": calibration_error(before),
        "floor": chance_floor(answers), "temperature": config["temperature"], **stranger_figures(strangers),
    }


def table(rows: list[dict], hard: dict | None) -> str:
    "Markdown: a row a score, then the bundle's own rule."
    lines = ["| score | AUROC | refused at 95 % kept |", "|---|---:|---:|"]
    for i, score in enumerate(s["score"] for s in rows[0]["scores"]):
        auroc, refused = (np.array([row["scores"][i][name] for row in rows]) for name in ("auroc", "refused"))
        lines.append(f"| {score} | {auroc.mean():.3f} ± {auroc.std(ddof=min(1, len(rows) - 1)):.3f} | {100 * refused.mean():.1f} % |")
    names = ("ece", "ece_without_temperature", "floor", "kept", "refused", "accuracy")
    mean = {name: np.mean([row[name] for row in rows]) for name in names}
    lines.append(f"\nOwn threshold: {mean['kept']:.1%} kept, {mean['refused']:.1%} refused. Accuracy {mean['accuracy']:.1%}. ECE "
                 f"{mean['ece']:.3f} ({mean['ece_without_temperature']:.3f} without temperature; honest by chance: {mean['floor']:.3f}).")
    if hard:
        rule = f"{hard['kept']:.1%} kept, {hard['refused']:.1%} refused"
        lines.append(f"Left out {', '.join(hard['left_out'])}: AUROC {hard['auroc']:.3f}, {rule}.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("others", type=Path)
    parser.add_argument("--arch", default="vehicle_cnn")
    parser.add_argument("--weights", default="")
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--leave_out", nargs="*", default=None, help="classes; default: the third and the last but one; nothing: none")
    parser.add_argument("--work", type=Path, help="folder that keeps sets and bundles, to go on with later")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp())
    options = {"arch": args.arch, "weights": args.weights, "epochs": args.epochs}
    rows = []
    for seed in args.seeds:
        rows.append({"seed": seed, **look(*one_bundle(args.raw, work, seed, options), args.others)})
        print(rows[-1], flush=True)
    folders = sorted(class_folders(args.raw).values())
    left_out = args.leave_out if args.leave_out is not None else [folders[2].name, folders[-2].name]
    hard = None
    if left_out:
        fewer, held = work / "fewer", work / "left_out"
        for folder in folders:
            shutil.copytree(folder, (held if folder.name in left_out else fewer) / folder.name, dirs_exist_ok=True)
        hard = {"left_out": left_out, **look(*one_bundle(fewer, work / "hard", args.seeds[0], options), held)}
    print(table(rows, hard))
    head = stamp(command_line("unknown.py"))
    write_json(RESULTS / f"unknown-{args.arch}.json", head | {"seeds": rows, "left_out": hard})
    if not args.work:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
