"Answers to nbs/teach/source/17_own_images: each stands in place of a whole solution cell; tests/test_exercises.py feeds them to the checks"

BORDER = """
results = {share: [border_accuracy(*mixture(share, seed)) for seed in range(3)] for share in shares}
first = next((share for share in shares if np.mean(results[share]) > 0.5), 0.0)
"""
SCORE = """
def score(things, views, seed):
    rows = [(k, 100 * seed + t, v) for k in KINDS for t in range(things) for v in range(views)]
    model = LogisticRegression(C=10, max_iter=500).fit(np.stack([features(*r) for r in rows]), [r[0] for r in rows])
    return model.score(exam_x, exam_y)
"""
THINGS = """
results = {case: [score(*case, seed) for seed in (1, 2, 3)] for case in [(3, 1), (3, 4), (12, 1)]}
better = "things" if np.mean(results[12, 1]) > np.mean(results[3, 4]) else "views"
"""
GATE = """
def problems(manifest, report):
    kept, found = manifest[manifest["reason"] == ""], set()
    if kept["class"].nunique() < 3: found.add("classes")
    if any(set(part["split"]) != {"train", "val", "test"} for _, part in kept.groupby("class")): found.add("split")
    if any(part["split"].nunique() > 1 for _, part in kept.groupby("group")): found.add("leak")
    if report["interval"][1] - report["interval"][0] > 0.2: found.add("interval")
    return found
"""

NAMES = [
    "utils.init_distributed_mode",
    "DistributedSampler",
    "train_sampler.set_epoch",
    "RandomMixup, RandomCutmix",
    "SyncBatchNorm.convert_sync_batchnorm",
    "CrossEntropyLoss(label_smoothing=…)",
    "norm_weight_decay",
    "GradScaler",
    "LinearLR, SequentialLR",
    "lr_scheduler.step",
    "DistributedDataParallel",
    "model_without_ddp",
    "ExponentialMovingAverage",
    "model.eval, inference_mode",
    "clip_grad_norm_",
    "utils.reduce_across_processes",
    "utils.save_on_master",
    "checkpoint['lr_scheduler']",
]
FACTS = ["batch size is per rank", "best epoch is kept", "images may count twice", "resume to the last bit", "test set is apart"]
READ = f"purpose = dict(zip({NAMES!r}, %r))\nfacts = dict(zip({FACTS!r}, %r))"

ANSWERS = {
    "usable": {
        "right": [
            """
def usable(folder):
    rows = pd.read_csv(f"{folder}/manifest.csv", keep_default_na=False)
    return rows[rows.reason == ""].groupby("class").size()
""",
            """
def usable(folder):
    import csv
    counts = {}
    with open(Path(folder, "manifest.csv"), newline="") as file:
        for row in csv.DictReader(file): counts[row["class"]] = counts.get(row["class"], 0) + (not row["reason"])
    return counts
""",
        ],
        "wrong": [
            "def usable(folder): return {'key': 8, 'leaf': 8, 'mug': 8}",
            # all rows
            """
def usable(folder):
    return pd.read_csv(Path(folder) / "manifest.csv", keep_default_na=False)["class"].value_counts().to_dict()
""",
            # those that were set aside
            """
def usable(folder):
    rows = pd.read_csv(Path(folder) / "manifest.csv", keep_default_na=False)
    return rows[rows["reason"] != ""]["class"].value_counts().to_dict()
""",
            # an empty text is a missing value for pandas: nothing is left
            """
def usable(folder):
    rows = pd.read_csv(Path(folder) / "manifest.csv")
    return rows[rows["reason"] == ""]["class"].value_counts().to_dict()
""",
            # always the same set
            """
def usable(folder):
    rows = pd.read_csv(work / "processed/manifest.csv", keep_default_na=False)
    return rows[rows["reason"] == ""]["class"].value_counts().to_dict()
""",
        ],
    },
    "frames": {
        "right": [
            "def one_of_each(paths, apart): return [p for i, p in enumerate(sorted(paths, key=lambda p: Path(p).name)) if i % apart == 0]",
            """
def one_of_each(paths, apart):
    order = sorted(map(str, paths))
    return [order[i] for i in range(0, len(order), apart)]
""",
        ],
        "wrong": [
            "def one_of_each(paths, apart): return list(paths)[::apart]",
            "def one_of_each(paths, apart): return sorted(paths)[apart::apart]",
            "def one_of_each(paths, apart): return sorted(paths)[:apart]",
            "def one_of_each(paths, apart): return sorted(paths)[::8]",
            "def one_of_each(paths, apart): return sorted(paths)[::apart + 1]",
        ],
    },
    "needed": {
        "right": [
            # the normal approximation
            """
def needed(share, width, part):
    test = 10 * math.ceil((2 * 1.96 / width) ** 2 * share * (1 - share) / 10)
    return test, math.ceil(test / part)
""",
            """
def needed(share, width, part):
    images = 0
    while True:
        images += 10
        ends = wilson(int(share * images + 0.5), images)
        if ends[1] - ends[0] <= width: break
    return np.array([images, np.ceil(images / part)], int)
""",
        ],
        "wrong": [
            "def needed(share, width, part): return 390, 2600",
            # the width on each side
            """
def needed(share, width, part):
    test = 10 * math.ceil((1.96 / width) ** 2 * share * (1 - share) / 10)
    return test, math.ceil(test / part)
""",
            # ignores the share
            """
def needed(share, width, part):
    test = 10 * math.ceil((2 * 1.96 / width) ** 2 * 0.25 / 10)
    return test, math.ceil(test / part)
""",
            # times the part
            """
def needed(share, width, part):
    test = next(n for n in range(10, 10**6, 10) if np.ptp(wilson(round(share * n), n)) <= width)
    return test, math.ceil(test * part)
""",
            # always the default split
            """
def needed(share, width, part):
    test = next(n for n in range(10, 10**6, 10) if np.ptp(wilson(round(share * n), n)) <= width)
    return test, math.ceil(test / 0.15)
""",
        ],
    },
    "border": {
        "right": [
            """
def border_accuracy(images, labels):
    right, outer = 0, []
    for image in np.asarray(images, dtype=float):
        outer.append(np.vstack([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]]).mean(axis=0))
    for i in range(len(outer)):
        far = [np.linalg.norm(outer[i] - other) for other in outer]
        far[i] = 1e9
        right += labels[i] == labels[far.index(min(far))]
    return right / len(outer)
""" + BORDER,
            """
def border_accuracy(images, labels):
    from sklearn.neighbors import NearestNeighbors
    a = np.asarray(images, float)
    total = a.sum((1, 2)) - a[:, 1:-1, 1:-1].sum((1, 2))
    mean = total / (a.shape[1] * a.shape[2] - (a.shape[1] - 2) * (a.shape[2] - 2))
    near = NearestNeighbors(n_neighbors=1).fit(mean).kneighbors(return_distance=False)[:, 0]
    return pd.Series(np.asarray(labels) == np.asarray(labels)[near]).mean()
""" + BORDER,
        ],
        "wrong": [
            # its own neighbour
            """
def border_accuracy(images, labels):
    frame = np.ones(images.shape[1:3], bool); frame[1:-1, 1:-1] = False
    mean = images[:, frame].mean(1)
    far = ((mean[:, None] - mean[None]) ** 2).sum(-1)
    return float(np.mean(labels == labels[far.argmin(1)]))
""" + BORDER,
            # the whole image
            """
def border_accuracy(images, labels):
    mean = images.mean((1, 2))
    far = ((mean[:, None] - mean[None]) ** 2).sum(-1)
    np.fill_diagonal(far, np.inf)
    return float(np.mean(labels == labels[far.argmin(1)]))
""" + BORDER,
            # first row and column alone
            """
def border_accuracy(images, labels):
    mean = np.concatenate([images[:, 0], images[:, 1:, 0]], 1).mean(1)
    far = ((mean[:, None] - mean[None]) ** 2).sum(-1)
    np.fill_diagonal(far, np.inf)
    return float(np.mean(labels == labels[far.argmin(1)]))
""" + BORDER,
            # the corners count twice
            """
def border_accuracy(images, labels):
    mean = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1).mean(1)
    far = ((mean[:, None] - mean[None]) ** 2).sum(-1)
    np.fill_diagonal(far, np.inf)
    return float(np.mean(labels == labels[far.argmin(1)]))
""" + BORDER,
            # brightness instead of colour
            """
def border_accuracy(images, labels):
    frame = np.ones(images.shape[1:3], bool); frame[1:-1, 1:-1] = False
    mean = images[:, frame].mean((1, 2))
    far = np.abs(mean[:, None] - mean[None])
    np.fill_diagonal(far, np.inf)
    return float(np.mean(labels == labels[far.argmin(1)]))
""" + BORDER,
            # a guess
            """
def border_accuracy(images, labels): return 0.5
results, first = {share: [share, share, share] for share in shares}, 0.75
""",
        ],
    },
    "things": {
        "right": [
            """
def score(things, views, seed):
    x, y = [], []
    for kind in KINDS:
        for t in range(things):
            for v in range(views):
                x.append(features(kind, 100 * seed + t, v)); y.append(KINDS.index(kind))
    said = LogisticRegression(C=10, max_iter=500).fit(x, y).predict(exam_x)
    return np.mean([KINDS[i] == kind for i, kind in zip(said, exam_y)])
""" + THINGS,
            """
def score(things, views, seed):
    table = pd.DataFrame([(k, *features(k, 100 * seed + t, v)) for v in range(views) for t in range(things) for k in KINDS])
    model = LogisticRegression(C=10, max_iter=500).fit(table.iloc[:, 1:].to_numpy(), table[0])
    return (model.predict(exam_x) == exam_y).mean()
""" + THINGS,
        ],
        "wrong": [
            # ignores the views
            SCORE.replace("for v in range(views)", "for v in range(1)") + THINGS,
            # ignores the seed
            SCORE.replace("100 * seed + t", "100 + t") + THINGS,
            # the same table for all views
            SCORE.replace("[features(*r) for r in rows]", "[features(*r[:2], 0) for r in rows]") + THINGS,
            # the accuracy of training
            SCORE.replace("model.score(exam_x, exam_y)", "model.score([features(*r) for r in rows], [r[0] for r in rows])") + THINGS,
            # the right runs, the wrong conclusion
            SCORE + THINGS.replace('"things" if', '"views" if').replace('else "views"', 'else "things"'),
            # a guess
            """
def score(things, views, seed): return 0.6
results, better = {(3, 1): [0.6] * 3, (3, 4): [0.65] * 3, (12, 1): [0.8] * 3}, "things"
""",
        ],
    },
    "gate": {
        "right": [
            GATE,
            """
def problems(manifest, report):
    rows = [r for r in manifest.to_dict("records") if not r["reason"]]
    names, groups, pairs = set(), {}, set()
    for r in rows:
        names.add(r["class"]); pairs.add((r["class"], r["split"])); groups.setdefault(r["group"], set()).add(r["split"])
    low, high = report["interval"]
    told = {"classes": len(names) < 3, "leak": any(len(s) > 1 for s in groups.values()), "interval": high - low > 0.2}
    told["split"] = any((name, split) not in pairs for name in names for split in ("train", "val", "test"))
    return [word for word, wrong in told.items() if wrong]
""",
        ],
        "wrong": [
            "def problems(manifest, report): return set()",
            # rows that were set aside count as well
            GATE.replace('manifest[manifest["reason"] == ""]', "manifest"),
            # any group of two is a leak
            GATE.replace('part["split"].nunique() > 1', "len(part) > 1"),
            # half the interval
            GATE.replace("> 0.2", "> 0.4"),
            # forgets validation
            GATE.replace('set(part["split"]) != {"train", "val", "test"}', '{"train", "test"} - set(part["split"])'),
            # only splits that exist are looked at
            GATE.replace('set(part["split"]) != {"train", "val", "test"}', 'set(part["split"]) != set(kept["split"])'),
            # two classes are enough
            GATE.replace("nunique() < 3", "nunique() < 2"),
        ],
    },
    "reference": {
        "right": [
            READ % ('CFNRQPKLGIMBAHJEDO', (True, False, True, False, False)),
            READ % ('cfnrqpklgimbahjedo', (1, 0, 1, 0, 0)),
        ],
        "wrong": [
            READ % ("ABCDEFGHIJKLMNOPQR", (True, False, True, False, False)),
            READ % ('FCNRQPKLGIMBAHJEDO', (True, False, True, False, False)),
            READ % ('CFNRQPKLGIMBAHJEDO', (True, True, True, False, False)),
            READ % ('CFNRQPKLGIMBAHJEDO', (True, True, True, True, True)),
            READ % ('CFNRQPKLGIMBAHJEDO', (None,) * 5),
            READ % ("A" * 18, (True, False, True, False, False)),
        ],
    },
}
