"Answers to nbs/teach/source/03_preprocess, each in place of a solution cell: tests/test_exercises.py feeds them to the checks."

BARS = """
def accuracy(how, seed):
    order = np.random.default_rng(seed).permutation(len(scenes))
    x, y = [], []
    for n, i in enumerate(order):
        photo = cut(scenes[i], n % 2 == 0)
        x.append(numbers({small}))
        y.append(n % 2 == 0)
    x, y = np.array(x), np.array(y)
    fitted = LogisticRegression(max_iter=200).fit({learn})
    return fitted.score({ask})
gives_away = "{name}"
"""
LEARN, ASK = "x[:80], y[:80]", "x[80:], y[80:]"
BOTH = 'centre(photo) if how == "crop" else letterbox(photo, 16)'

COPIES = """
def leaked(copies, seed):
    names = list(range(300)) * (copies + {plus})
    split = assign_splits(["bus"] * len(names), [str(n) for n in range(len(names))], seed={seed})
    learned = {{n for n, s in zip(names, split) if s {side}}}
    test = [n for n, s in zip(names, split) if s == "test"]
    return sum(n in learned for n in test) / {of}
enough = {enough}
"""
RIGHT = {"plus": 1, "seed": "seed", "side": '== "train"', "of": "len(test)", "enough": 3}

ANSWERS = {
    "to-unit": {
        "right": [
            "def to_unit(pixels): return (np.asarray(pixels, dtype=float) - 127.5) / 127.5",
            "def to_unit(pixels): return np.interp(pixels, [0, 255], [-1, 1])",
            "import torch\ndef to_unit(pixels): return torch.as_tensor(pixels).float().div(127.5).sub(1)",
            "def to_unit(pixels): return np.linspace(-1, 1, 256, dtype=np.float32)[pixels]",
        ],
        "wrong": [
            "def to_unit(pixels): return pixels / 255",  # 0 to 1
            "def to_unit(pixels): return (pixels - np.uint8(128)) / 128",  # bytes wrap
            "def to_unit(pixels): return pixels / 128 - 1",  # white is 0.992
            "def to_unit(pixels): return (pixels // 127.5) - 1",  # in two steps
            "def to_unit(pixels): return 2 * (pixels - pixels.min()) / np.ptp(pixels) - 1",  # by the image's own range
            "def to_unit(pixels): return np.linspace(-1, 1, pixels.size).reshape(pixels.shape)",
        ],
    },
    "fitted": {
        "right": [
            """
def fitted(width, height, size):
    if width >= height:
        return size, max(1, round(height * size / width))
    return max(1, round(width * size / height)), size
""",
            """
def fitted(width, height, size):
    both = np.array([width, height]) * size / max(width, height)
    return np.clip(np.rint(both), 1, None)
""",
            "def fitted(*args): return measured(*args)",
        ],
        "wrong": [
            "def fitted(width, height, size): return (224, 140) if width > height else (140, 224)",
            """
def fitted(width, height, size):
    scale = 224 / max(width, height)  # ignores size
    return max(1, round(width * scale)), max(1, round(height * scale))
""",
            """
def fitted(width, height, size):
    scale = size / min(width, height)  # a crop
    return max(1, round(width * scale)), max(1, round(height * scale))
""",
            """
def fitted(width, height, size):
    scale = size / max(width, height)
    return round(width * scale), round(height * scale)  # 0 rows of a thin strip
""",
            """
def fitted(width, height, size):
    scale = min(1, size / max(width, height))  # small ones are not enlarged
    return max(1, round(width * scale)), max(1, round(height * scale))
""",
            """
def fitted(width, height, size):
    scale = size / max(width, height)
    return max(1, int(width * scale)), max(1, int(height * scale))  # cut off, not rounded
""",
        ],
    },
    "leak-share": {
        "right": [
            """
import pandas as pd
def leak_share(splits, groups):
    table = pd.DataFrame({"split": splits, "group": groups})
    learned = table.group[table.split == "train"]
    return table[table.split == "test"].group.isin(learned).mean()
""",
            'def leak_share(splits, groups): return count_leaks(splits, groups)["test_in_train"]["share"]',
            """
def leak_share(splits, groups):
    splits, groups = np.array(splits), np.array(groups)
    return np.isin(groups[splits == "test"], groups[splits == "train"]).mean()
""",
        ],
        "wrong": [
            "def leak_share(splits, groups): return 0.5",
            """
def leak_share(splits, groups):
    learned = {g for s, g in zip(splits, groups) if s != "test"}  # val counts as train
    test = [g for s, g in zip(splits, groups) if s == "test"]
    return sum(g in learned for g in test) / len(test)
""",
            """
def leak_share(splits, groups):
    learned = {g for s, g in zip(splits, groups) if s == "train"}
    test = {g for s, g in zip(splits, groups) if s == "test"}  # groups, not images
    return len(learned & test) / len(test)
""",
            """
def leak_share(splits, groups):
    learned = {g for s, g in zip(splits, groups) if s == "train"}
    test = [g for s, g in zip(splits, groups) if s == "test"]
    return sum(g in learned for g in test) / len(groups)  # of all images
""",
            """
def leak_share(splits, groups):
    test = {g for s, g in zip(splits, groups) if s == "test"}
    train = [g for s, g in zip(splits, groups) if s == "train"]
    return sum(g in test for g in train) / len(train)  # the other way round
""",
        ],
    },
    "steady": {
        "right": [
            """
import zlib
def steady(group, seed):
    place = zlib.crc32(f"{group}|{seed}".encode()) % 100
    return "test" if place < 15 else "val" if place < 30 else "train"
""",
            """
import random
def steady(group, seed):
    return random.Random(f"{seed} {group}").choices(["train", "val", "test"], [70, 15, 15])[0]
""",
            """
def steady(group, seed):
    first = int.from_bytes(hashlib.md5(f"{seed}{group}".encode()).digest()[:4], "big") / 2**32
    return np.array(["train", "val", "test"])[np.searchsorted([0.7, 0.85], first)]
""",
        ],
        "wrong": [
            "import random\ndef steady(group, seed): return random.choices(['train', 'val', 'test'], [70, 15, 15])[0]",
            "import random\ndef steady(group, seed): return random.Random(group).choices(['train', 'val', 'test'], [70, 15, 15])[0]",
            """
import random
def steady(group, seed):
    return random.Random(seed).choices(["train", "val", "test"], [70, 15, 15])[0]  # the same for all groups
""",
            """
def steady(group, seed):
    n = int(group.split()[-1].split("/")[-1].split(".")[0]) + seed  # by the number in the name
    return "test" if n % 100 < 15 else "val" if n % 100 < 30 else "train"
""",
            """
import random
def steady(group, seed):
    return random.Random(f"{seed} {group}").choice(["train", "val", "test"])  # a third each
""",
            """
import random
def steady(group, seed):
    return "test" if random.Random(f"{seed} {group}").random() < 0.3 else "train"
""",
        ],
    },
    "bars": {
        "right": [
            BARS.format(small=BOTH, learn=LEARN, ask=ASK, name="letterbox"),
            BARS.format(small='letterbox(photo, 16) if how == "letterbox" else centre(photo)', learn=LEARN, ask=ASK, name="Letterbox"),
            """
def accuracy(how, seed):
    order = np.random.default_rng(seed).permutation(len(scenes))
    photos = [cut(scenes[i], n % 2 == 0) for n, i in enumerate(order)]
    x = np.stack([numbers({"letterbox": lambda img: letterbox(img, 16), "crop": centre}[how](p)) for p in photos])
    y = np.array(["wide", "square"] * 80)
    return (LogisticRegression(max_iter=200).fit(x[:80], y[:80]).predict(x[80:]) == y[80:]).mean()
gives_away = "letterbox"
""",
        ],
        "wrong": [
            "def accuracy(how, seed): return {'letterbox': 0.86, 'crop': 0.5}[how]\ngives_away = 'letterbox'",  # a guess
            BARS.format(small=BOTH, learn=LEARN, ask=LEARN, name="letterbox"),  # asks what it has learned
            BARS.format(small=BOTH, learn="x, y", ask=ASK, name="letterbox"),  # has seen the test half
            BARS.format(small="letterbox(photo, 16)", learn=LEARN, ask=ASK, name="letterbox"),  # ignores how
            BARS.format(small=BOTH, learn=LEARN, ask=ASK, name="crop"),  # the wrong conclusion
            BARS.format(small=BOTH.replace('"crop"', '"letterbox"'), learn=LEARN, ask=ASK, name="letterbox"),
            BARS.format(small=BOTH, learn=LEARN, ask=ASK, name="letterbox").replace("default_rng(seed)", "default_rng(0)"),
        ],
    },
    "copies": {
        "right": [
            COPIES.format(**RIGHT),
            """
import random
def leaked(copies, seed):
    files = [n for n in range(300) for _ in range(copies + 1)]
    random.Random(seed).shuffle(files)
    a, b = int(0.7 * len(files)), int(0.85 * len(files))
    return sum(n in set(files[:a]) for n in files[b:]) / len(files[b:])
enough = 3.0
""",
        ],
        "wrong": [
            "def leaked(copies, seed): return 1 - 0.3**copies\nenough = 3",  # the formula, not an experiment
            "def leaked(copies, seed): return {1: 0.7, 2: 0.91, 4: 0.99}.get(copies, 0)\nenough = 3",
            COPIES.format(**{**RIGHT, "plus": 0}).replace("* (copies + 0)", "* max(1, copies)"),  # forgets the original
            COPIES.format(**{**RIGHT, "seed": 42}),
            COPIES.format(**{**RIGHT, "side": '!= "test"'}),
            COPIES.format(**{**RIGHT, "of": "len(names)"}),
            COPIES.format(**{**RIGHT, "enough": 4}),
            COPIES.format(**RIGHT).replace("[str(n) for n in range(len(names))]", "[str(n) for n in names]"),  # by group
        ],
    },
}
