"Answers to nbs/teach/source/11_evaluate: each stands in place of a whole solution cell; tests/test_exercises.py tries them."

CHOOSE = """
def choose(confidence, correct, target):
    good = [c for c in confidence if correct[confidence >= c].mean() >= target]
    return min(good) if good else float("inf")

def new(n):
    return [kept_promise(choose, n, seed) for seed in range(40)]
"""
POWER = """
def power(n, b, c, repeats=400, seed=0):
    random, found = np.random.default_rng(seed), 0
    for _ in range(repeats):
        drawn = random.random(n)
        found += p_value(int((drawn < b).sum()), int(((drawn >= b) & (drawn < b + c)).sum())) < 0.05
    return found / repeats
"""
BALANCED = """
def balanced_accuracy(labels, predicted):
    frame = pd.DataFrame({"label": np.asarray(labels), "right": np.asarray(labels) == np.asarray(predicted)})
    return frame.groupby("label")["right"].mean().mean()

def means(weighted):
    runs = [run(weighted, seed) for seed in range(5)]
    return np.mean([(a == b).mean() for a, b in runs]), np.mean([balanced_accuracy(a, b) for a, b in runs])
"""
TABLE = "\ntable = {'plain': means(False), 'weighted': means(True)}\nconclusion = 'balanced'\n"

ANSWERS = {
    "precision": {
        "right": [
            """
def precision_recall(labels, predicted, name):
    pairs = list(zip(labels, predicted))
    found = sum(a == b == name for a, b in pairs)
    called, there = sum(b == name for _, b in pairs), sum(a == name for a, _ in pairs)
    return (found / called if called else float("nan")), found / there
""",
            """
def precision_recall(labels, predicted, name):
    labels, predicted = pd.Series(list(labels)), pd.Series(list(predicted))
    return (labels[predicted == name] == name).mean(), (predicted[labels == name] == name).mean()
""",
        ],
        "wrong": [
            "def precision_recall(labels, predicted, name): return 1 / 2, 1 / 3",  # the visible case
            """
def precision_recall(labels, predicted, name):  # the wrong way round
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    found = ((labels == name) & (predicted == name)).sum()
    return found / (labels == name).sum(), found / max((predicted == name).sum(), 1)
""",
            """
def precision_recall(labels, predicted, name):  # never predicted: 0
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    found = ((labels == name) & (predicted == name)).sum()
    return found / max((predicted == name).sum(), 1), found / (labels == name).sum()
""",
            """
def precision_recall(labels, predicted, name):  # ignores the name
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    found = ((labels == "bus") & (predicted == "bus")).sum()
    called = (predicted == "bus").sum()
    return found / called if called else math.nan, found / max((labels == "bus").sum(), 1)
""",
            """
def precision_recall(labels, predicted, name):  # accuracy, twice
    right = (np.asarray(labels) == np.asarray(predicted)).mean()
    return right, right
""",
        ],
    },
    "mcnemar": {
        "right": [
            """
def mcnemar(first_right, second_right):
    split = [int(a) - int(b) for a, b in zip(first_right, second_right) if a != b]
    n, k = len(split), min(split.count(1), split.count(-1))
    return 1.0 if not n else min(1.0, sum(math.comb(n, i) for i in range(k + 1)) / 2 ** (n - 1))
""",
            """
def mcnemar(first_right, second_right):
    first, second = pd.Series(list(first_right)).astype(int), pd.Series(list(second_right)).astype(int)
    b, c = int((first > second).sum()), int((second > first).sum())
    weights = np.array([math.comb(b + c, k) / 2.0 ** (b + c) for k in range(b + c + 1)])
    return np.clip(weights[weights <= weights[b] * (1 + 1e-9)].sum(), 0, 1)
""",
        ],
        "wrong": [
            "def mcnemar(first_right, second_right): return 2 / 64 if any(first_right != second_right) else 1",
            """
def mcnemar(first_right, second_right):  # one-sided
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    return sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
""",
            """
def mcnemar(first_right, second_right):  # may exceed 1
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    return 1.0 if b + c == 0 else 2 * sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
""",
            """
def mcnemar(first_right, second_right):  # depends on the order
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    return min(1.0, 2 * sum(math.comb(b + c, k) for k in range(c + 1)) / 2 ** (b + c))
""",
            """
def mcnemar(first_right, second_right):  # a z-test on the totals
    n, a, b = len(first_right), sum(first_right), sum(second_right)
    pooled = (a + b) / (2 * n)
    z = abs(a - b) / math.sqrt(max(2 * n * pooled * (1 - pooled), 1e-9))
    return math.erfc(z / math.sqrt(2))
""",
            """
def mcnemar(first_right, second_right):  # the normal approximation, not exact
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    return 1.0 if b + c == 0 else math.erfc(abs(b - c) / math.sqrt(2 * (b + c)))
""",
        ],
    },
    "threshold": {
        "right": [
            CHOOSE + "worst = pd.Series({n: np.quantile(new(n), 0.1) for n in (20, 100, 1000)})\nconclusion = np.int64(1000)",
            CHOOSE + "worst = {n: sorted(new(n))[3] * 0.1 + sorted(new(n))[4] * 0.9 for n in (20, 100, 1000)}\nconclusion = 1000",
        ],
        "wrong": [
            CHOOSE + "worst = {n: np.quantile(new(n), 0.1) for n in (20, 100, 1000)}\nconclusion = 20",
            CHOOSE + "worst = {n: np.mean(new(n)) for n in (20, 100, 1000)}\nconclusion = 1000",  # the mean
            CHOOSE + "worst = {20: 0.88, 100: 0.92, 1000: 0.95}\nconclusion = 1000",  # guessed
            CHOOSE + "worst = {n: np.quantile(new(20), 0.1) for n in (20, 100, 1000)}\nconclusion = 1000",  # ignores n
            CHOOSE.replace("min(good)", "max(good)") + "worst = {n: np.quantile(new(n), 0.1) for n in (20, 100, 1000)}\nconclusion = 1000",
            CHOOSE.replace(">= target", ">= 0.95") + "worst = {n: np.quantile(new(n), 0.1) for n in (20, 100, 1000)}\nconclusion = 1000",
            """
def choose(confidence, correct, target):  # the confidence itself is not the accuracy above it
    return min(confidence[confidence >= target], default=math.inf)
worst = {n: np.quantile([kept_promise(choose, n, seed) for seed in range(40)], 0.1) for n in (20, 100, 1000)}
conclusion = 1000
""",
        ],
    },
    "images": {
        "right": [
            POWER + "needed = {'A': 400, 'B': 1300}\nconclusion = 'B'",
            """
def power(n, b, c, repeats=1000, seed=3):
    counts = np.random.default_rng(seed).multinomial(n, [b, c, 1 - b - c], repeats)[:, :2]
    return float(np.mean([p_value(*pair) < 0.05 for pair in counts.tolist()]))

needed = {"A": next(n for n in range(100, 1600, 100) if power(n, 0.043, 0.010) >= 0.8)}
needed["B"] = next(n for n in range(100, 1600, 100) if power(n, 0.103, 0.070) >= 0.8)
conclusion = max(needed, key=needed.get)
""",
        ],
        "wrong": [
            POWER + "needed = {'A': 400, 'B': 1300}\nconclusion = 'A'",
            POWER + "needed = {'A': 900, 'B': 900}\nconclusion = 'B'",  # the same difference, so the same number
            POWER + "needed = {'A': 440, 'B': 440}\nconclusion = 'B'",
            POWER.replace("random.random(n)", "random.random(440)") + "needed = {'A': 400, 'B': 1300}\nconclusion = 'B'",  # ignores n
            """
def power(n, b, c, repeats=400, seed=0):  # two separate test sets
    random = np.random.default_rng(seed)
    one, two = random.binomial(n, 0.95, repeats), random.binomial(n, 0.95 - (b - c), repeats)
    pooled = (one + two) / (2 * n)
    return np.mean(np.abs(one - two) > 1.96 * np.sqrt(2 * n * pooled * (1 - pooled)))
needed = {"A": 400, "B": 1300}
conclusion = "B"
""",
            """
def power(n, b, c, repeats=400, seed=0):  # no chance in it
    return float(p_value(round(n * b), round(n * c)) < 0.05)
needed = {"A": 400, "B": 1300}
conclusion = "B"
""",
        ],
    },
    "balanced": {
        "right": [
            BALANCED + TABLE,
            """
def balanced_accuracy(labels, predicted):
    pairs, recalls = list(zip(labels, predicted)), []
    for c in {a for a, _ in pairs}:
        of_class = [a == b for a, b in pairs if a == c]
        recalls.append(sum(of_class) / len(of_class))
    return sum(recalls) / len(recalls)

table = {}
for name in ("plain", "weighted"):
    both = [[(a == b).mean(), balanced_accuracy(a.tolist(), b.tolist())] for a, b in (run(name != "plain", seed) for seed in range(5))]
    table[name] = list(np.mean(both, axis=0))
conclusion = "balanced"
""",
        ],
        "wrong": [
            BALANCED + TABLE.replace("'balanced'", "'accuracy'"),
            BALANCED + TABLE.replace("means(True)", "means(False)"),
            BALANCED.replace("range(5)", "range(1)") + TABLE,  # one seed
            BALANCED + "table = {'plain': (0.95, 0.67), 'weighted': (0.95, 0.95)}\nconclusion = 'balanced'",
            """
def balanced_accuracy(labels, predicted):  # the accuracy
    return np.mean(np.asarray(labels) == np.asarray(predicted))
table, conclusion = {"plain": (0.923, 0.829), "weighted": (0.907, 0.856)}, "balanced"
""",
            """
def balanced_accuracy(labels, predicted):  # precision, not recall
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    return np.mean([(labels[predicted == c] == c).mean() if (predicted == c).any() else 0 for c in np.unique(labels)])
table, conclusion = {"plain": (0.923, 0.829), "weighted": (0.907, 0.856)}, "balanced"
""",
            """
def balanced_accuracy(labels, predicted):  # also classes that are predicted but never there
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    seen = np.union1d(labels, predicted)
    return sum((predicted[labels == c] == c).mean() for c in seen if (labels == c).any()) / len(seen)
table, conclusion = {"plain": (0.923, 0.829), "weighted": (0.907, 0.856)}, "balanced"
""",
        ],
    },
}
