"""Does our list of label issues put planted wrong labels as far up as cleanlab's does?

    python benchmarks/label_issues.py --photos FOLDER --weights FILE

FOLDER holds one folder of photos a class; it is only read. Labels are changed in memory: 1, 3 and 10 %, to any other class
(uniform) or to the class that looks most like their own (confusable). Both sides get the same features, folds apart. cleanlab
(`pip install -e '.[peers]'`) is given out-of-fold probabilities of scikit-learn's logistic regression, as its tutorial for
image data does, and ranks by self-confidence: first the labels that its filter finds, then the rest (filter), or all (score).
"""

from pathlib import Path
from statistics import mean

import numpy as np
from common import parser, save, table
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from vehicle_nb.data.audit import audit
from vehicle_nb.data.label_issues import file_features, find_label_issues
from vehicle_nb.features import load_backbone


def most_similar(features: np.ndarray, y: np.ndarray) -> np.ndarray:
    "For each class the one whose mean feature is nearest to its own: truck and bus, say."
    means = np.stack([features[y == k].mean(0) for k in range(y.max() + 1)])
    distances = np.linalg.norm(means[:, None] - means[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.argmin(1)


def plant(y: np.ndarray, features: np.ndarray, kind: str, share: float, rng) -> tuple[np.ndarray, np.ndarray]:
    "Labels of which a share is wrong, and which they are."
    wrong = rng.choice(len(y), round(share * len(y)), replace=False)
    noisy, n_classes = y.copy(), y.max() + 1
    other = (y[wrong] + rng.integers(1, n_classes, len(wrong))) % n_classes
    noisy[wrong] = most_similar(features, y)[y[wrong]] if kind == "confusable" else other
    return noisy, noisy != y


def rank_by_cleanlab(features: np.ndarray, y: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    "The positions of all images, the most suspect first, by cleanlab's two ways."
    from cleanlab.filter import find_label_issues as cleanlab_filter
    from cleanlab.rank import get_label_quality_scores

    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    probs = cross_val_predict(LogisticRegression(max_iter=200), features, y, cv=folds, method="predict_proba")
    order = np.argsort(get_label_quality_scores(y, probs, method="self_confidence"), kind="stable")
    found = cleanlab_filter(y, probs, return_indices_ranked_by="self_confidence")
    return {"cleanlab filter": np.r_[found, order[~np.isin(order, found)]].astype(int), "cleanlab score": order}


def figures(wrong_in_order: np.ndarray) -> dict[str, float]:
    "Of k planted errors: precision of the first k (there it equals recall), recall of the first 2k, average precision."
    k, hits = int(wrong_in_order.sum()), np.cumsum(wrong_in_order)
    precision = hits / np.arange(1, len(hits) + 1)
    return {"first k": hits[k - 1] / k, "recall of 2k": hits[2 * k - 1] / k, "average precision": precision[wrong_in_order].mean()}


def main():
    parse = parser(__doc__)
    parse.add_argument("--photos", type=Path, required=True, help="real photos, one folder a class")
    parse.add_argument("--weights", required=True, help="weights of a torchvision network")
    parse.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parse.parse_args()
    found = audit(args.photos, quiet=True)
    rows = found.usable.reset_index(drop=True)
    features = file_features(found.paths(found.usable.index), load_backbone(args.weights))
    unit = 8 * features / np.linalg.norm(features, axis=1, keepdims=True)  # at their own length the regression needs ten times as long
    names, y = np.unique(rows["class"], return_inverse=True)
    runs = []
    for kind in ("uniform", "confusable"):
        for share in (0.01, 0.03, 0.1):
            for seed in args.seeds:
                noisy, wrong = plant(y, unit, kind, share, np.random.default_rng(seed))
                ours = find_label_issues(rows.assign(**{"class": names[noisy]}), features).index.to_numpy()
                for method, order in {"ours": ours, **rank_by_cleanlab(unit, noisy, seed)}.items():
                    runs.append({"noise": kind, "share": share, "method": method, "seed": seed} | figures(wrong[order]))
    keys = sorted({(run["noise"], run["share"], run["method"]) for run in runs})
    columns = ("first k", "recall of 2k", "average precision")
    same = lambda run, key: (run["noise"], run["share"], run["method"]) == key  # noqa: E731
    table([dict(zip(("noise", "share", "method"), key, strict=True))
           | {name: mean(run[name] for run in runs if same(run, key)) for name in columns} for key in keys])  # fmt: skip
    save(args.name, images=len(rows), runs=runs)


if __name__ == "__main__":
    main()
