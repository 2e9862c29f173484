"Answers to nbs/teach/source/12_calibration: each stands in place of a whole solution cell; tests/test_exercises.py tries them."

CHANGE = """
def change(net, n, seeds):
    logits = net(x_test)
    with_t = [F.cross_entropy(logits / fit_temperature(*(lambda s: (net(s[0]), s[1]))(sample(n, seed))), y_test) for seed in seeds]
    return (torch.stack(with_t) - F.cross_entropy(logits, y_test)).numpy()
"""
HARM = """
harm = {(name, n): np.mean([d > 0 for d in change(nets[name], n, range(100, 120))]) for name in nets for n in (10, 50, 500)}
"""
TEMPERATURE = """
def temperature(epochs, label_smoothing, seeds):
    total = 0.0
    for seed in seeds:
        total += fit_temperature(train(epochs, label_smoothing, seed)(x_val), y_val)
    return total / len(seeds)
"""
FOUND = """
found = {(e, s): temperature(e, s, [1, 2, 3]) for e in (5, 100) for s in (0.0, 0.2)}
"""
MOVES = "moves = {'longer training': 'up', 'label smoothing': 'down'}"

ANSWERS = {
    "ece": {
        "right": [
            """
def ece(confidence, correct, bins=10):
    frame = pd.DataFrame({"p": np.asarray(confidence, float), "r": np.asarray(correct, float)})
    gaps = frame.r - frame.p
    return gaps.groupby(np.clip(np.floor(frame.p * bins), 0, bins - 1)).sum().abs().sum() / len(frame)
""",
            """
def ece(confidence, correct, bins=10):
    p, r = torch.tensor(np.asarray(confidence, float)), torch.tensor(np.asarray(correct, float))
    bin_of = (p * bins).ceil().long().clamp(1, bins) - 1
    return torch.zeros(bins, dtype=p.dtype).index_add(0, bin_of, r - p).abs().sum() / len(p)
""",
        ],
        "wrong": [
            """
def ece(confidence, correct, bins=10):  # one bin
    return abs(np.mean(confidence) - np.mean(correct))
""",
            """
def ece(confidence, correct, bins=10):  # every bin counts the same
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return np.mean([abs((correct - confidence)[bin_of == b].mean()) for b in np.unique(bin_of)])
""",
            """
def ece(confidence, correct, bins=10):  # ignores bins
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    bin_of = np.minimum((confidence * 10).astype(int), 9)
    return sum(abs((correct - confidence)[bin_of == b].sum()) for b in range(10)) / len(confidence)
""",
            """
def ece(confidence, correct, bins=10):  # loses a confidence of 1
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    bin_of = (confidence * bins).astype(int)
    return sum(abs((correct - confidence)[bin_of == b].sum()) for b in range(bins)) / len(confidence)
""",
            """
def ece(confidence, correct, bins=10):  # a bin for each image
    return np.mean(np.abs(np.asarray(correct, float) - np.asarray(confidence)))
""",
            """
def ece(confidence, correct, bins=10):  # 1 gets a bin of its own
    confidence, correct = np.asarray(confidence, float), np.asarray(correct, float)
    bin_of = (confidence * bins).astype(int)
    return sum(abs((correct - confidence)[bin_of == b].sum()) for b in range(bins + 1)) / len(confidence)
""",
        ],
    },
    "few": {
        "right": [
            CHANGE + HARM + "conclusion = 'short'",
            CHANGE.replace(".numpy()", ".tolist()") + HARM + "conclusion = max(nets, key=lambda name: harm[name, 10])",
        ],
        "wrong": [
            CHANGE + HARM + "conclusion = 'long'",
            CHANGE.replace("sample(n, seed)", "sample(50, seed)") + HARM + "conclusion = 'short'",  # ignores n
            CHANGE.replace("y_test) for", "y_test) * 0 + 1 for") + HARM + "conclusion = 'short'",
            CHANGE + "harm = {(name, n): 0.5 for name in nets for n in (10, 50, 500)}\nconclusion = 'short'",  # guessed
            CHANGE + HARM.replace("d > 0", "d < 0") + "conclusion = 'short'",  # helps, not harms
            CHANGE.replace("logits = net(x_test)", "logits = nets['long'](x_test)") + HARM + "conclusion = 'short'",  # ignores net
            """
def change(net, n, seeds):  # the validation images instead of the test images
    found = []
    for seed in seeds:
        x, y = sample(n, seed)
        found.append(float(F.cross_entropy(net(x) / fit_temperature(net(x), y), y) - F.cross_entropy(net(x), y)))
    return found
""" + HARM + "conclusion = 'short'",
        ],
    },
    "longer": {
        "right": [
            TEMPERATURE + FOUND + MOVES,
            TEMPERATURE + FOUND.replace("found = {", "found = pd.Series({").rstrip() + ")\nfound = found.to_dict()\n" + MOVES,
        ],
        "wrong": [
            TEMPERATURE + FOUND + "moves = {'longer training': 'down', 'label smoothing': 'down'}",
            TEMPERATURE + FOUND + "moves = {'longer training': 'up', 'label smoothing': 'up'}",
            TEMPERATURE + FOUND.replace("[1, 2, 3]", "[1]") + MOVES,  # one seed
            TEMPERATURE + FOUND.replace("temperature(e, s", "temperature(e, 0.0") + MOVES,  # no smoothing
            TEMPERATURE.replace("train(epochs, label_smoothing, seed)", "train(epochs, label_smoothing)") + FOUND + MOVES,  # ignores seeds
            TEMPERATURE.replace("(x_val), y_val)", "(sample(120, seed)[0]), sample(120, seed)[1])") + FOUND + MOVES,  # training images
        ],
    },
    "nothing": {
        "right": [
            "def knows_nothing(classes): return -np.log(1 / classes), np.float64(1) / classes",
            """
def knows_nothing(classes):
    equal = torch.zeros(classes, dtype=torch.double).softmax(0)
    return float(-equal.log()[0]), float(equal.max())
""",
        ],
        "wrong": [
            "def knows_nothing(classes): return math.log(4), 1 / 4",
            "def knows_nothing(classes): return math.log2(classes), 1 / classes",  # bits
            "def knows_nothing(classes): return 1 / classes, math.log(classes)",  # the wrong way round
            "def knows_nothing(classes): return 1 - 1 / classes, 1 / classes",  # the error rate
        ],
    },
}
