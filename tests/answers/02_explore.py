"Answers to nbs/teach/source/02_explore: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

ANSWERS = {
    "balanced": {
        "right": [
            """
from sklearn.metrics import balanced_accuracy_score
import warnings
def balanced_accuracy(truth, prediction):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return balanced_accuracy_score(truth, prediction)
""",
            """
def balanced_accuracy(truth, prediction):
    right = pd.Series(np.asarray(truth) == np.asarray(prediction))
    return right.groupby(np.asarray(truth)).mean().mean()
""",
        ],
        "wrong": [
            "def balanced_accuracy(truth, prediction): return float(np.mean(truth == prediction))",  # plain accuracy
            """
def balanced_accuracy(truth, prediction):
    return float(np.mean([np.mean(truth[prediction == name] == name) for name in np.unique(prediction)]))
""",  # precision
            """
def balanced_accuracy(truth, prediction):
    names = np.unique(np.concatenate([truth, prediction]))
    return sum(np.mean(prediction[truth == name] == name) for name in np.unique(truth)) / len(names)
""",  # divides by classes that do not occur
            """
def balanced_accuracy(truth, prediction):
    return float(np.mean([np.mean((prediction == name) == (truth == name)) for name in np.unique(truth)]))
""",  # the accuracy of "this class or not"
            "def balanced_accuracy(truth, prediction): return 1.0 if (truth == prediction).all() else 0.5",  # the two answers
        ],
    },
    "aside": {
        "right": [
            """
def share_aside(table):
    classed = table[table["class"].ne("")]
    return classed["reason"].ne("").groupby(classed["class"]).mean()
""",
            """
def share_aside(table):
    files, aside = {}, {}
    for name, reason in zip(table["class"], table["reason"]):
        if name:
            files[name] = files.get(name, 0) + 1
            aside[name] = aside.get(name, 0) + bool(reason)
    return {name: aside[name] / files[name] for name in files}
""",
        ],
        "wrong": [
            "def share_aside(table): return (table['reason'] != '').groupby(table['class']).mean().to_dict()",  # files without a class, too
            """
def share_aside(table):
    classed = table[table["class"] != ""]
    aside = classed[classed["reason"] != ""]
    return (aside["class"].value_counts() / len(aside)).to_dict()
""",  # the share that a class has of all that are set aside
            """
def share_aside(table):
    classed = table[(table["class"] != "") & (table["reason"] != "")]
    return (classed["class"].value_counts() / table["class"].value_counts()).dropna().to_dict()
""",  # no row for a class of which nothing is set aside
            """
def share_aside(table):
    classed = table[table["class"] != ""]
    return (classed["reason"] == "").groupby(classed["class"]).mean().to_dict()
""",  # the share that is used
            "def share_aside(table): return {'bus': 0.25, 'car': 0.0}",  # the one answer
        ],
    },
    "hash": {
        "right": [
            """
def average_hash(image):
    small = list(image.convert("L").resize((8, 8), Image.Resampling.BOX).tobytes())
    return [value > sum(small) / 64 for value in small]
""",
            """
def average_hash(image):
    small = np.asarray(image.resize((8, 8)).convert("L"), dtype=int).reshape(64)
    return np.greater(small, small.mean())
""",
        ],
        "wrong": [
            "def average_hash(image): return (np.asarray(image.convert('L').resize((8, 8))) > 128).ravel()",  # a fixed threshold
            """
def average_hash(image):
    small = np.asarray(image.convert("L").resize((8, 8)), dtype=float)
    return small > small.mean()
""",  # two dimensions
            """
def average_hash(image):
    small = np.asarray(image.convert("L").resize((8, 8)), dtype=float)
    return (small < small.mean()).ravel()
""",  # darker than the mean
            """
def average_hash(image):
    small = np.asarray(image.convert("L").resize((8, 8)), dtype=float)
    return (small > small.mean()).T.ravel()
""",  # column after column
            """
def average_hash(image):
    small = np.asarray(image.convert("L"), dtype=float)[:8, :8]
    return (small > small.mean()).ravel()
""",  # a corner, not the whole image
            "def average_hash(image): return np.arange(64) < 32",  # the same for every image
        ],
    },
    "threshold": {
        "right": [
            """
def threshold_accuracy(a, b):
    order = sorted([(float(v), 1) for v in a] + [(float(v), 0) for v in b])
    n, best, below = len(order), max(len(a), len(b)) / len(order), 0
    for k, (value, is_a) in enumerate(order):
        below += is_a
        if k + 1 == n or order[k + 1][0] > value:
            right = below + (len(b) - (k + 1 - below))
            best = max(best, right / n, 1 - right / n)
    return best
factor_above_85 = 1.5
""",
            """
def threshold_accuracy(a, b):
    a, b = pd.Series(a, dtype=float), pd.Series(b, dtype=float)
    cuts = [-1e9, *a, *b]
    up = max(((a > cut).sum() + (b <= cut).sum()) for cut in cuts)
    down = max(((a <= cut).sum() + (b > cut).sum()) for cut in cuts)
    return np.float64(max(up, down)) / (len(a) + len(b))
factor_above_85 = 1.5
""",
        ],
        "wrong": [
            """
def threshold_accuracy(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return max(float(np.mean(np.concatenate([a > cut, b <= cut]))) for cut in [-np.inf, *a, *b])
factor_above_85 = 1.5
""",  # one direction only
            """
def threshold_accuracy(a, b):
    a, b = np.asarray(a), np.asarray(b)
    cut = (a.mean() + b.mean()) / 2
    accuracy = float(np.mean(np.concatenate([a > cut, b <= cut])))
    return max(accuracy, 1 - accuracy)
factor_above_85 = 1.5
""",  # half-way between the means
            """
def threshold_accuracy(a, b):
    a, b = np.asarray(a), np.asarray(b)
    found = [(np.mean(a > cut) + np.mean(b <= cut)) / 2 for cut in [-np.inf, *a, *b]]
    return float(max(max(found), 1 - min(found)))
factor_above_85 = 1.5
""",  # balanced accuracy
            """
def threshold_accuracy(a, b):
    return 1.0 if max(a) < min(b) or max(b) < min(a) else 0.75
factor_above_85 = 1.5
""",  # the two answers
            """
def threshold_accuracy(a, b):
    values, is_a = np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a)
    found = [np.mean((values > cut) == is_a) for cut in [-np.inf, *values]]
    return float(max(max(found), 1 - min(found)))
factor_above_85 = 3
""",  # another conclusion
        ],
    },
    "undersample": {
        "right": [
            """
def undersample(labels, seed):
    labels = pd.Series(labels)
    few = labels.value_counts().min()
    return labels.groupby(labels).sample(few, random_state=seed).index
worst = "nothing"
""",
            """
import random
def undersample(labels, seed):
    rng, where = random.Random(seed), {}
    for k, name in enumerate(labels):
        where.setdefault(str(name), []).append(k)
    few = min(map(len, where.values()))
    return [k for name in sorted(where) for k in rng.sample(where[name], few)]
worst = "nothing"
""",
        ],
        "wrong": [
            """
def undersample(labels, seed):
    labels = np.asarray(labels)
    few = min(np.sum(labels == name) for name in np.unique(labels))
    return np.concatenate([np.flatnonzero(labels == name)[:few] for name in np.unique(labels)])
worst = "nothing"
""",  # always the first
            """
def undersample(labels, seed):
    labels, rng = np.asarray(labels), np.random.default_rng(seed)
    names, counts = np.unique(labels, return_counts=True)
    return np.concatenate([rng.choice(np.flatnonzero(labels == name), counts.min()) for name in names])
worst = "nothing"
""",  # with repeats
            """
def undersample(labels, seed):
    labels, rng = np.asarray(labels), np.random.default_rng(seed)
    names, counts = np.unique(labels, return_counts=True)
    return np.concatenate([rng.choice(np.flatnonzero(labels == name), counts.max()) for name in names])
worst = "nothing"
""",  # oversampling
            """
def undersample(labels, seed):
    labels, rng = np.asarray(labels), np.random.default_rng(0)
    names, counts = np.unique(labels, return_counts=True)
    return np.concatenate([rng.choice(np.flatnonzero(labels == name), counts.min(), replace=False) for name in names])
worst = "nothing"
""",  # ignores the seed
            """
def undersample(labels, seed):
    labels, rng = np.asarray(labels), np.random.default_rng(seed)
    names, counts = np.unique(labels, return_counts=True)
    kept = [rng.choice(np.flatnonzero(labels == name), counts.min(), replace=False) for name in names]
    return np.concatenate(kept)
worst = "weights"
""",  # another conclusion
        ],
    },
}
