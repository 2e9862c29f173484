"Answers to nbs/teach/source/13_ood: each stands in place of a whole solution cell; tests/test_exercises.py tries them."

KNN = """
def knn_score(x, bank, k):
    distances = ((x[:, None] - bank[None]) ** 2).sum(2).sqrt().numpy()
    return pd.Series(-np.sort(distances, axis=1)[:, :k].mean(1))
"""
NEIGHBOURS = """
found = {(name, k): np.mean([separation(knn_score, k, name == 'spoilt', seed) for seed in range(5)])
         for name in ('clean', 'spoilt') for k in (1, 10, 100)}
"""
BEST = "best, loss = 10, found['clean', 1] - found['spoilt', 1]"
UNLUCKY = """
def unlucky(n, seeds):
    kept = []
    for seed in seeds:
        kept.append(float((new >= choose_threshold(draw(n, seed))).sum()) / len(new))
    return float(pd.Series(kept).quantile(0.1))
"""
NEEDED = """
needed = [n for n in (19, 99, 199, 399, 999) if unlucky(n, range(200)) >= 0.93][0]
"""
SOFTMAX = """
def max_softmax(x):
    logits = layer(x)
    return 1 / (logits - logits.max(1, keepdim=True).values).exp().sum(1)
"""
TABLE = """
table = {(name, d): order(score(test), score(ood(d))) for d in (0, 0.5, 1) for name, score in (("knn", knn), ("softmax", max_softmax))}
"""
BETTER = "better = {'near': 'softmax', 'far': 'knn'}"

ANSWERS = {
    "auroc": {
        "right": [
            """
def auroc(known_scores, ood_scores):  # by ranks (Mann and Whitney)
    ranks = pd.Series([*known_scores, *ood_scores]).rank().to_numpy()
    n, m = len(known_scores), len(ood_scores)
    return (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
""",
            """
def auroc(known_scores, ood_scores):
    points = 0
    for a in known_scores:
        for b in ood_scores:
            points += 2 if a > b else 1 if a == b else 0
    return points / (2 * len(known_scores) * len(ood_scores))
""",
        ],
        "wrong": [
            "def auroc(known_scores, ood_scores): return np.mean(np.asarray(known_scores)[:, None] > np.asarray(ood_scores))",  # ties: 0
            "def auroc(known_scores, ood_scores): return np.mean(np.asarray(known_scores)[:, None] >= np.asarray(ood_scores))",  # ties: 1
            "def auroc(known_scores, ood_scores): return float(np.mean(known_scores) > np.mean(ood_scores))",
            """
def auroc(known_scores, ood_scores):  # never below 0.5
    a, b = np.asarray(known_scores)[:, None], np.asarray(ood_scores)
    value = np.mean((a > b) + 0.5 * (a == b))
    return max(value, 1 - value)
""",
            """
def auroc(known_scores, ood_scores):  # the wrong way round
    a, b = np.asarray(known_scores)[:, None], np.asarray(ood_scores)
    return np.mean((a < b) + 0.5 * (a == b))
""",
            """
def auroc(known_scores, ood_scores):  # the visible cases
    return {3: 1, 2: 0.5 if ood_scores == [2.0] else 0, 1: 0.5}.get(len(known_scores), 0.5)
""",
        ],
    },
    "neighbours": {
        "right": [
            KNN + NEIGHBOURS + BEST,
            KNN.replace("pd.Series(", "(") + NEIGHBOURS + "best = max((1, 10, 100), key=lambda k: found['spoilt', k])\n"
            "loss = np.float64(found['clean', 1] - found['spoilt', 1])",
        ],
        "wrong": [
            KNN + NEIGHBOURS + "best, loss = 1, found['clean', 1] - found['spoilt', 1]",
            KNN + NEIGHBOURS + "best, loss = 100, found['clean', 1] - found['spoilt', 1]",
            KNN + NEIGHBOURS + "best, loss = 10, found['clean', 10] - found['spoilt', 10]",
            KNN + NEIGHBOURS.replace("range(5)", "range(1)") + BEST,
            KNN.replace("[:, :k].mean(1)", "[:, k - 1]") + NEIGHBOURS + BEST,  # the k-th, not the mean
            KNN.replace("[:, :k]", "") + NEIGHBOURS + BEST,  # over all neighbours
            KNN.replace("[:, :k]", "[:, :10]") + NEIGHBOURS + BEST,  # ignores k
            KNN.replace(".sqrt()", "") + NEIGHBOURS + BEST,  # squared distances
            KNN.replace("pd.Series(-", "pd.Series(") + NEIGHBOURS + BEST,  # without the minus sign
        ],
    },
    "unlucky": {
        "right": [
            UNLUCKY + NEEDED,
            UNLUCKY.replace("float(pd.Series(kept).quantile(0.1))", "torch.tensor(kept).quantile(0.1)") + NEEDED,
        ],
        "wrong": [
            UNLUCKY + "needed = 19",
            UNLUCKY + "needed = 999",
            UNLUCKY.replace(".quantile(0.1)", ".mean()") + NEEDED,  # the promise itself
            UNLUCKY.replace(".quantile(0.1)", ".min()") + NEEDED,
            UNLUCKY.replace("draw(n, seed)", "draw(100, seed)") + NEEDED + "\nneeded = 99",  # ignores n
            UNLUCKY.replace("draw(n, seed)", "draw(n, 0)") + "needed = 99",  # ignores the seeds
            UNLUCKY.replace("new >= ", "draw(n, seed) >= ").replace("len(new)", "n") + "needed = 99",  # the same images
        ],
    },
    "slider": {
        "right": [
            SOFTMAX + TABLE + BETTER,
            """
def max_softmax(x):
    return np.array([max(row) for row in F.softmax(layer(x), dim=1).tolist()])
"""
            + TABLE
            + "better = {where: max(('knn', 'softmax'), key=lambda name: table[name, d]) for where, d in (('near', 0), ('far', 1))}",
        ],
        "wrong": [
            SOFTMAX + TABLE + "better = {'near': 'knn', 'far': 'knn'}",
            SOFTMAX + TABLE + "better = {'near': 'knn', 'far': 'softmax'}",
            "def max_softmax(x): return layer(x).amax(1)\n" + TABLE + BETTER,  # the logit
            "def max_softmax(x): return layer(x).softmax(0).amax(1)\n" + TABLE + BETTER,  # over the images
            "def max_softmax(x): return layer(x).softmax(1)[:, 0]\n" + TABLE + BETTER,  # of the first class
            "def max_softmax(x): return torch.ones(len(x))\n" + TABLE + BETTER,
            SOFTMAX + TABLE.replace("score(test), score(ood(d))", "score(ood(d)), score(test)") + BETTER,  # the wrong way round
            SOFTMAX + TABLE.replace("ood(d)", "ood(0)") + BETTER,  # ignores the distance
        ],
    },
}
