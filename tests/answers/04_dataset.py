"Answers to nbs/teach/source/04_dataset, each in place of a solution cell: tests/test_exercises.py feeds them to the checks."

BYTES = "def packed_bytes(n, size): return {}\nfits = {}"

FOLDER = """
class FolderDataset(Dataset):
    def __init__(self, folder):
        folder = Path(folder)
        self.files = {files}
        self.names = {names}
    def __len__(self): return {length}
    def __getitem__(self, i):
        image = torch.tensor(np.asarray(Image.open(self.files[i]))){cast}
        return image, {label}
"""
DATASET = {
    "files": 'sorted(folder.glob("*/*.jpg"))',
    "names": "sorted({p.parent.name for p in self.files})",
    "length": "len(self.files)",
    "cast": "",
    "label": "self.names.index(self.files[i].parent.name)",
}

SHOWN = """
def shown(batch_size, seed):
    order = labels.copy()
    np.random.default_rng({seed}).shuffle(order)
    return np.mean([{count} for start in range(0, len(order) - batch_size + 1, batch_size)])
enough = {enough}
"""
COUNT = "len(set(order[start : start + batch_size].tolist()))"

NOISY = """
def accuracies(augmented, seed):
    change, values = Augment(32, seed={seed}), []
    for epoch in range({epochs}):
        {tell}
        x = change(val_bytes, torch.arange(len(val_bytes))) if {when} else normalize_batch(val_bytes, 32)
        values.append({score})
    return values
runs = np.array([accuracies(True, seed) for seed in range(3)])
spread = {spread}
"""
RUN = {
    "seed": "seed",
    "epochs": "6",
    "tell": "change.set_epoch(epoch)",
    "when": "augmented",
    "score": "classifier.score(rows(x), val_labels)",
    "spread": "100 * np.mean(runs.max(1) - runs.min(1))",
}

ANSWERS = {
    "packed-bytes": {
        "right": [
            BYTES.format("3 * n * size**2 + 128", "False"),  # the file's true size
            BYTES.format("np.prod([n, size, size, 3], dtype=np.int64)", "np.bool_(packed_bytes(1_281_167, 224) < 128e9)"),
            BYTES.format("np.empty((n, size, size, 3), np.uint8).nbytes", "0"),
        ],
        "wrong": [
            BYTES.format("n * 150_528", "False"),  # ignores size
            BYTES.format("n * size * size", "False"),  # grey
            BYTES.format("4 * n * size * size * 3", "False"),  # floats
            BYTES.format("451_584", "False"),
            BYTES.format("n * (size * size * 3 + 128)", "False"),  # a header for each image
            BYTES.format("n * size * size * 3", "True"),
        ],
    },
    "folder": {
        "right": [
            FOLDER.format(**DATASET),
            """
from torchvision.datasets import ImageFolder
class FolderDataset(Dataset):
    def __init__(self, folder):
        self.inner = ImageFolder(folder, transform=lambda image: torch.from_numpy(np.array(image)))
    def __len__(self): return len(self.inner)
    def __getitem__(self, i): return self.inner[i]
""",
            """
import os
class FolderDataset(Dataset):
    def __init__(self, folder):
        self.items = []
        for root, _, files in os.walk(str(folder)):
            self.items += [(os.path.join(root, f), os.path.basename(root)) for f in files if f.endswith(".jpg")]
        names = sorted(set(name for _, name in self.items))
        self.items = [(torch.tensor(np.array(Image.open(p))), torch.tensor(names.index(n))) for p, n in self.items]
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]
""",
        ],
        "wrong": [
            FOLDER.format(**{**DATASET, "length": "len(self.names)"}),
            FOLDER.format(**{**DATASET, "label": "self.files[i].parent.name"}),
            FOLDER.format(**{**DATASET, "cast": ".float() / 127.5 - 1"}),
            FOLDER.format(**{**DATASET, "cast": ".permute(2, 0, 1)"}),
            FOLDER.format(**{**DATASET, "files": 'sorted(folder.glob("*/*"))'}),  # with the notes
            FOLDER.format(**{**DATASET, "names": "sorted({p.parent.name for p in self.files})[::-1]"}),
            FOLDER.format(**DATASET).replace("folder = Path(folder)", "assert isinstance(folder, Path)"),  # no str
            FOLDER.format(**{**DATASET, "label": "i % 3"}),
        ],
    },
    "deal": {
        "right": [
            """
from vehicle_nb.data.dataset import DistributedBatchSampler
def deal(batch, rank, world_size):
    return DistributedBatchSampler(len(batch), len(batch), rank=rank, world_size=world_size).rank_batch(np.array(batch))
""",
            """
def deal(batch, rank, world_size):
    whole = len(batch) // 2 * 2
    pairs = np.array(batch[:whole]).reshape(-1, 2)
    mine = np.array_split(pairs, world_size)[rank].ravel()
    return np.append(mine, batch[whole:]) if rank == world_size - 1 else mine
""",
            """
def deal(batch, rank, world_size):
    return [i for n, i in enumerate(batch) if n // 2 % world_size == rank]
""",
        ],
        "wrong": [
            "def deal(batch, rank, world_size): return batch[rank::world_size]",  # parts the pairs
            "def deal(batch, rank, world_size): return batch if rank == 0 else []",  # uneven
            """
def deal(batch, rank, world_size):
    whole = batch[: len(batch) // 2 * 2]  # an odd image is lost
    return [i for n, i in enumerate(whole) if n // 2 % world_size == rank]
""",
            "def deal(batch, rank, world_size): return np.array_split(batch, world_size)[rank].tolist()",  # parts some pairs
            "def deal(batch, rank, world_size): return [i for n, i in enumerate(batch) if n // 2 % 4 == rank]",  # always four ranks
            "def deal(batch, rank, world_size): return batch",  # each rank takes all
            """
def deal(batch, rank, world_size):
    size = -(-len(batch) // (2 * world_size)) * 2  # the last ranks may get nothing
    return batch[rank * size : (rank + 1) * size]
""",
        ],
    },
    "shown": {
        "right": [
            SHOWN.format(seed="seed", count=COUNT, enough=64),
            """
import random
def shown(batch_size, seed):
    order = labels.tolist()
    random.Random(seed).shuffle(order)
    steps = len(order) // batch_size
    return sum(len(set(order[n::steps][:batch_size])) for n in range(steps)) / steps
enough = 64.0
""",
        ],
        "wrong": [
            "def shown(batch_size, seed): return 20 * (1 - 0.95**batch_size)\nenough = 64",  # the formula
            "def shown(batch_size, seed): return min(batch_size, 20)\nenough = 32",
            SHOWN.format(seed="42", count=COUNT, enough=64),  # always the same order
            SHOWN.format(seed="seed", count="len(set(order[start : start + 16].tolist()))", enough=64),  # ignores batch_size
            SHOWN.format(seed="seed", count=COUNT, enough=32),
            SHOWN.format(seed="seed", count=COUNT, enough=64).replace("order = labels.copy()", "order = labels.copy()[:80]"),
            SHOWN.format(seed="seed", count="len(order[start : start + batch_size])", enough=64),
        ],
    },
    "noisy": {
        "right": [
            NOISY.format(**RUN),
            NOISY.format(**{**RUN, "score": "(classifier.predict(rows(x)) == val_labels).mean()"}),
        ],
        "wrong": [
            NOISY.format(**{**RUN, "tell": "pass"}),  # never tells the epoch
            NOISY.format(**{**RUN, "when": "True"}),  # ignores its argument
            NOISY.format(**{**RUN, "seed": "42"}),
            NOISY.format(**{**RUN, "epochs": "5"}),
            NOISY.format(**{**RUN, "spread": "np.mean(runs.max(1) - runs.min(1))"}),  # a share, not points
            NOISY.format(**{**RUN, "spread": "1"}),
            "def accuracies(augmented, seed): return [0.4, 0.42, 0.38, 0.41, 0.4, 0.39] if augmented else [0.4] * 6\nspread = 4",
        ],
    },
}
