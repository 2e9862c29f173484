"""How long does the demo set take to draw, and how much of it does a linear model solve?

    python benchmarks/demo_set.py [--per-class 200] [--workers 2] [--runs 2] [--seeds 42 7 2026]

Draws the set `--runs` times and reports seconds, and the processor time of all workers, which says what an idle machine would
take even when this one is busy; then, for each seed, trains multinomial logistic regression on 32×32 pixels
(70 % of each class, standardised) and reports its accuracy on the other 30 %, for several strengths of the penalty. The best
strength is chosen on the test pictures themselves, so what is reported is the most that such a model can do.
"""

import argparse
import os
import resource
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from common import RESULTS, command_line, stamp

from vehicle_nb.core import write_json
from vehicle_nb.demo.make import make_demo

PENALTIES = (1e-2, 1e-3, 1e-4)


def read_small(path: Path, share: float = 0.7) -> tuple:
    "The set as 32×32 pixels: x N×3072 in [0, 1], labels, and which pictures are for testing."
    x, y, test = [], [], []
    for label, kind in enumerate(sorted(p for p in path.iterdir() if p.is_dir())):
        files = sorted(kind.iterdir())
        x += [np.asarray(Image.open(file).resize((32, 32), Image.Resampling.BOX), np.float32).ravel() / 255 for file in files]
        y += [label] * len(files)
        test += [i >= share * len(files) for i in range(len(files))]
    return np.array(x), np.array(y), np.array(test)


def linear(path: Path) -> dict[str, float]:
    "Test accuracy for each strength of the penalty."
    x, y, test = read_small(path)
    scale, scores = StandardScaler().fit(x[~test]), {}
    for c in PENALTIES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # weak penalties converge slowly; they overfit all the same
            model = LogisticRegression(C=c, max_iter=150).fit(scale.transform(x[~test]), y[~test])
        scores[str(c)] = round(float(model.score(scale.transform(x[test]), y[test])), 4)
    return scores


def main():
    "Measure, print, and write the result down."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=200)
    parser.add_argument("--workers", type=int, default=None, help="processes; default: the machine's cores")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 7, 2026])
    args, folder = parser.parse_args(), Path(tempfile.mkdtemp())
    result = stamp(command_line("demo_set.py"))
    seconds, processor, scores = [], [], {}
    try:
        for _ in range(args.runs):
            start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            make_demo(folder / "set", args.per_class, workers=args.workers, show_progress=False)
            seconds.append(round(time.perf_counter() - start, 2))
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            processor.append(round(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, 2))
        megabytes = sum(file.stat().st_size for file in (folder / "set").rglob("*.jpg")) / 1e6
        for seed in args.seeds:
            scores[seed] = linear(make_demo(folder / "set", args.per_class, seed, workers=args.workers, show_progress=False))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result |= {"per_class": args.per_class, "workers": args.workers or os.cpu_count(), "seconds": seconds, "megabytes": round(megabytes, 1)}
    result["processor_seconds"] = processor
    result["linear_accuracy"] = scores
    best = [max(by_penalty.values()) for by_penalty in scores.values()]
    print(f"drawing {20 * args.per_class} pictures: {statistics.mean(seconds):.1f} s (runs: {seconds}), {megabytes:.0f} MB")
    print(f"processor time of the workers: {statistics.mean(processor):.1f} s (runs: {processor})")
    print(f"linear model on 32×32 pixels: {statistics.mean(best):.1%} (seeds {args.seeds}: {best}); guessing: 5.0%")
    write_json(RESULTS / "demo_set.json", result)


if __name__ == "__main__":
    main()
