"Answers to nbs/teach/source/14_predictor: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

ANSWERS = {
    "softmax": {
        "right": [
            """
def probabilities(logits, temperature=1.0):
    return torch.softmax(torch.as_tensor(np.asarray(logits), dtype=torch.float64) / temperature, dim=-1)
""",
            """
def probabilities(logits, temperature):
    z = np.array(logits, dtype=np.float64) / temperature
    top = np.max(z, -1)[..., None]
    return np.exp(z - top - np.log(np.exp(z - top).sum(-1)[..., None])).tolist()
""",
        ],
        "wrong": [
            # overflows
            """
def probabilities(logits, temperature=1.0):
    powers = np.exp(np.asarray(logits) / temperature)
    return powers / powers.sum(-1, keepdims=True)
""",
            # ignores the temperature
            """
def probabilities(logits, temperature=1.0):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
""",
            # multiplies by it
            """
def probabilities(logits, temperature=1.0):
    z = np.asarray(logits) * temperature
    powers = np.exp(z - z.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
""",
            # over all numbers, not over each row
            """
def probabilities(logits, temperature=1.0):
    z = np.asarray(logits) / temperature
    powers = np.exp(z - z.max())
    return powers / powers.sum()
""",
            # the largest number of all rows: small rows become 0 / 0
            """
def probabilities(logits, temperature=1.0):
    z = np.asarray(logits) / temperature
    powers = np.exp(z - z.max())
    return powers / powers.sum(-1, keepdims=True)
""",
        ],
    },
    "mirror": {
        "right": [
            """
def predict_both(predictor, image):
    pixels = predictor.prepare(image)
    flipped = predictor.predict(pixels[:, ::-1].copy())
    return (predictor.predict(pixels).probs + flipped.probs) / 2
""",
            """
def predict_both(predictor, image):
    pair = [predictor.predict(way).probs for way in (ImageOps.mirror(image), image)]
    return [float(a + b) / 2 for a, b in zip(*pair)]
""",
        ],
        "wrong": [
            "def predict_both(predictor, image): return predictor.predict(image).probs",
            "def predict_both(predictor, image): return predictor.predict(ImageOps.mirror(image)).probs",
            """
def predict_both(predictor, image):  # upside down
    return (predictor.predict(image).probs + predictor.predict(ImageOps.flip(image)).probs) / 2
""",
            """
def predict_both(predictor, image):
    return np.maximum(predictor.predict(image).probs, predictor.predict(ImageOps.mirror(image)).probs)
""",
            """
def predict_both(model, image):  # always the same predictor
    return (predictor.predict(image).probs + predictor.predict(ImageOps.mirror(image)).probs) / 2
""",
            "def predict_both(predictor, image): return np.ones(3) / 3",
        ],
    },
    "piles": {
        "right": [
            """
def sort_images(predictor, folder):
    piles = {"unreadable": [], "unknown": []} | {label: [] for label in predictor.classes}
    for p in predictor.predict_many(str(folder)):
        name = os.path.basename(p.name)
        if p.error is not None: piles["unreadable"].append(name)
        elif not p.known: piles["unknown"].append(name)
        else: piles[p.label].append(name)
    return piles
""",
            """
def sort_images(predictor, folder):
    from collections import defaultdict
    piles = defaultdict(set)
    for path in (p for p in Path(folder).rglob("*") if p.is_file()):
        try: piles[predictor.predict(path).label or "unknown"].add(path.name)
        except Exception: piles["unreadable"].add(path.name)
    return piles
""",
        ],
        "wrong": [
            "def sort_images(predictor, folder): return {}",
            # forgets the unreadable ones
            """
def sort_images(predictor, folder):
    piles = {}
    for p in predictor.predict_many(folder):
        if not p.error: piles.setdefault(p.label or "unknown", []).append(Path(p.name).name)
    return piles
""",
            # the unreadable under unknown
            """
def sort_images(predictor, folder):
    piles = {}
    for p in predictor.predict_many(folder): piles.setdefault(p.label or "unknown", []).append(Path(p.name).name)
    return piles
""",
            # best guess where the model refuses
            """
def sort_images(predictor, folder):
    piles = {}
    for p in predictor.predict_many(folder):
        piles.setdefault("unreadable" if p.error else p.top[0][0], []).append(Path(p.name).name)
    return piles
""",
            # only the top of the folder
            """
def sort_images(predictor, folder):
    piles = {}
    for p in predictor.predict_many(sorted(Path(folder).glob("*.*"))):
        piles.setdefault("unreadable" if p.error else p.label or "unknown", []).append(Path(p.name).name)
    return piles
""",
            # the whole path, not the name
            """
def sort_images(predictor, folder):
    piles = {}
    for p in predictor.predict_many(folder):
        piles.setdefault("unreadable" if p.error else p.label or "unknown", []).append(p.name)
    return piles
""",
        ],
    },
    "skew": {
        "right": [
            """
def accuracy(way, seeds):
    right = total = 0
    for seed in seeds:
        for number, kind in enumerate(predictor.classes):
            right += int(predictor.logits(np.asarray(way(draw(kind, seed)))[None]).argmax()) == number
            total += 1
    return np.float64(right / total)
results = {name: np.array([accuracy(way, seeds) for seeds in groups]) for name, way in ways.items()}
worst = min(results, key=lambda name: results[name].mean())
""",
            """
def accuracy(way, seeds):
    pixels = np.stack([way(draw(kind, seed)) for seed in seeds for kind in predictor.classes])
    best = predictor.logits(pixels).argmax(1).reshape(-1, len(predictor.classes))
    return (best == torch.arange(len(predictor.classes))).double().mean()
results = {name: [accuracy(ways[name], group) for group in groups] for name in sorted(ways)}
worst = sorted(results, key=lambda name: sum(results[name]))[0]
""",
        ],
        "wrong": [
            # guesses
            """
def accuracy(way, seeds): return 0.5
results, worst = {name: [0.5, 0.5, 0.5] for name in ways}, "squeezed"
""",
            # ignores the way
            """
def accuracy(way, seeds):
    return float(np.mean([predictor.predict(draw(k, s)).top[0][0] == k for k in predictor.classes for s in seeds]))
results = {name: [accuracy(way, seeds) for seeds in groups] for name, way in ways.items()}
worst = "squeezed"
""",
            # ignores the seeds
            """
def accuracy(way, seeds):
    pixels = np.stack([way(draw(kind, seed)) for seed in range(10) for kind in predictor.classes])
    best = predictor.logits(pixels).argmax(1).reshape(-1, len(predictor.classes))
    return float((best == torch.arange(len(predictor.classes))).double().mean())
results = {name: [accuracy(ways[name], group) for group in groups] for name in ways}
worst = min(results, key=lambda name: sum(results[name]))
""",
            # one class only
            """
def accuracy(way, seeds):
    return float(np.mean([predictor.logits(way(draw("bus", s))[None]).argmax() == 1 for s in seeds]))
results = {name: [accuracy(way, seeds) for seeds in groups] for name, way in ways.items()}
worst = min(results, key=lambda name: sum(results[name]))
""",
            # the right runs, the wrong conclusion
            """
def accuracy(way, seeds):
    pixels = np.stack([way(draw(kind, seed)) for seed in seeds for kind in predictor.classes])
    best = predictor.logits(pixels).argmax(1).reshape(-1, len(predictor.classes))
    return float((best == torch.arange(len(predictor.classes))).double().mean())
results = {name: [accuracy(ways[name], group) for group in groups] for name in ways}
worst = max(results, key=lambda name: sum(results[name]))
""",
        ],
    },
    "caution": {
        "right": [
            """
def selective(predictions, truths, threshold):
    answered = np.array([p.ood_score for p in predictions]) >= threshold
    right = np.array([p.top[0][0] for p in predictions]) == np.array(truths)
    return answered.mean(), right[answered].mean() if answered.any() else None
curve = [selective(predictions, truths, t) for t in thresholds]
highest = {1: "higher", 0: "equal", -1: "lower"}[int(np.sign(curve[3][1] - curve[0][1]))]
""",
            """
def selective(predictions, truths, threshold):
    n = right = 0
    for p, truth in zip(predictions, truths):
        if not p.ood_score < threshold:
            n += 1
            right += max(p.top, key=lambda pair: pair[1])[0] == truth
    return [n / len(truths), right / n if n else None]
curve = tuple(selective(predictions, truths, float(t)) for t in thresholds)
highest = "higher" if curve[-1][1] > curve[0][1] else "lower" if curve[-1][1] < curve[0][1] else "equal"
""",
        ],
        "wrong": [
            # the probability instead of the score
            """
def selective(predictions, truths, threshold):
    kept = [p.top[0][0] == t for p, t in zip(predictions, truths) if p.probability >= threshold]
    return len(kept) / len(predictions), sum(kept) / len(kept) if kept else None
curve = [selective(predictions, truths, t) for t in thresholds]
highest = "higher"
""",
            # more than the threshold, not at least
            """
def selective(predictions, truths, threshold):
    kept = [p.top[0][0] == t for p, t in zip(predictions, truths) if p.ood_score > threshold]
    return len(kept) / len(predictions), sum(kept) / len(kept) if kept else None
curve = [selective(predictions, truths, t) for t in thresholds]
highest = "higher" if curve[-1][1] > curve[0][1] else "lower" if curve[-1][1] < curve[0][1] else "equal"
""",
            # accuracy of all images
            """
def selective(predictions, truths, threshold):
    kept = [p.top[0][0] == t for p, t in zip(predictions, truths) if p.ood_score >= threshold]
    return len(kept) / len(predictions), sum(kept) / len(predictions) if kept else None
curve = [selective(predictions, truths, t) for t in thresholds]
highest = "higher" if curve[-1][1] > curve[0][1] else "lower" if curve[-1][1] < curve[0][1] else "equal"
""",
            # divides by nothing where nobody is answered
            """
def selective(predictions, truths, threshold):
    kept = [p.top[0][0] == t for p, t in zip(predictions, truths) if p.ood_score >= threshold]
    return len(kept) / len(predictions), sum(kept) / len(kept)
curve = [selective(predictions, truths, t) for t in thresholds]
highest = "higher" if curve[-1][1] > curve[0][1] else "lower" if curve[-1][1] < curve[0][1] else "equal"
""",
            # a guess
            """
def selective(predictions, truths, threshold): return 1 - threshold, 0.9
curve, highest = [(1.0, 0.6), (0.75, 0.7), (0.5, 0.8), (0.25, 0.9)], "higher"
""",
        ],
    },
}
