"Answers to nbs/teach/source/01_sources: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

ANSWERS = {
    "class-numbers": {
        "right": [
            "class_numbers = lambda labels: dict(zip(sorted(set(labels)), range(len(labels))))",
            """
def class_numbers(labels):
    names = np.unique(labels)
    return pd.Series(range(len(names)), index=names)
""",
        ],
        "wrong": [
            "def class_numbers(labels): return {name: k for k, name in enumerate(dict.fromkeys(labels))}",  # in order of appearance
            "def class_numbers(labels): return {name: k for k, name in enumerate(sorted(set(labels)), 1)}",  # from 1
            "def class_numbers(labels): return {name: k for k, name in enumerate(sorted(labels))}",  # with repeats
            "def class_numbers(labels): return {name: k for k, name in enumerate(sorted(set(labels), key=str.lower))}",  # not ASCII order
            "def class_numbers(labels): return {'bus': 0, 'car': 1, 'tram': 2}",  # the one answer
        ],
    },
    "count-images": {
        "right": [
            """
def count_images(folder):
    return pd.Series([name for name, _ in list_images(folder)]).value_counts()
""",
            """
def count_images(folder):
    counts = {}
    for name, path, reason in list_files(folder):
        if not reason:
            counts[name] = counts.get(name, 0) + 1
    return counts
""",
        ],
        "wrong": [
            "def count_images(folder): return Counter(path.parent.name for path in Path(folder).glob('*/*'))",  # hidden files, links
            "def count_images(folder): return Counter(path.parent.name for path in Path(folder).glob('*/*.jpg'))",  # no .png
            "def count_images(folder): return Counter(name for name, path, reason in list_files(folder))",  # what cannot be an image
            "def count_images(folder): return Counter(name for name, path in list_images(raw))",  # ignores the folder
            "def count_images(folder): return {name: 4 for name in read_set(folder).classes}",  # the one answer
        ],
    },
    "read-labels": {
        "right": [
            """
import csv
def read_labels(folder):
    with open(f"{folder}/labels.csv") as file:
        rows = [(row["file"], row["kind"]) for row in csv.DictReader(file)]
    return {name: kind for name, kind in rows if kind and (Path(folder) / "images" / name).is_file()}
""",
            """
def read_labels(folder):
    table = pd.read_csv(Path(folder, "labels.csv")).set_index("file")["kind"].dropna()
    return table[[Path(folder, "images", name).exists() for name in table.index]]
""",
        ],
        "wrong": [
            """
def read_labels(folder):
    table = pd.read_csv(Path(folder) / "labels.csv")
    return dict(zip(table["file"], table["kind"]))
""",  # rows without an image
            """
def read_labels(folder):
    table = pd.read_csv(Path(folder) / "labels.csv")
    table = table[table["file"].isin([path.name for path in (Path(folder) / "images").iterdir()])]
    return dict(zip(table["file"], table["kind"]))
""",  # NaN as a label
            """
def read_labels(folder):
    table = pd.read_csv(Path(folder) / "labels.csv").dropna()
    kinds = dict(zip(table["file"], table["kind"]))
    return {path.name: kinds.get(path.name, "") for path in (Path(folder) / "images").iterdir()}
""",  # an empty label
            """
def read_labels(folder):
    table = pd.read_csv(Path(folder) / "labels.csv").dropna()
    names = sorted(path.name for path in (Path(folder) / "images").iterdir())
    return dict(zip(names, table["kind"]))
""",  # by position
            "def read_labels(folder): return {'a.jpg': 'bus'}",  # the one answer
        ],
    },
    "leak": {
        "right": [
            """
from sklearn.neighbors import KNeighborsClassifier
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    n, x, y = round(share * len(test_x)), test_x.copy(), test_y.copy()
    x[:n], y[:n] = train_x[:n], train_y[:n]
    return KNeighborsClassifier(1).fit(train_x, train_y).score(x, y)
curve = "line"
""",
            """
import torch
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    n = int(round(share * len(test_x)))
    x, y = np.vstack([train_x[:n], test_x[n:]]), np.append(train_y[:n], test_y[n:])
    near = torch.cdist(torch.from_numpy(x), torch.from_numpy(train_x), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    return np.mean([train_y[k] == label for k, label in zip(near, y)])
curve = "line"
""",
        ],
        "wrong": [
            """
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    nearest = [((train_x - row) ** 2).sum(1).argmin() for row in test_x]
    return float(np.mean(train_y[nearest] == test_y))
curve = "line"
""",  # ignores the share
            """
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    n = round(share * len(test_x))
    x = np.concatenate([train_x[:n], test_x[n:]])
    nearest = [((train_x - row) ** 2).sum(1).argmin() for row in x]
    return float(np.mean(train_y[nearest] == test_y))
curve = "line"
""",  # the labels are still those of the test images
            """
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    n = round(share * len(test_x))
    x, y = test_x, test_y
    x[:n], y[:n] = train_x[:n], train_y[:n]
    nearest = [((train_x - row) ** 2).sum(1).argmin() for row in x]
    return float(np.mean(train_y[nearest] == y))
curve = "line"
""",  # changes what was given
            """
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    nearest = [((train_x - row) ** 2).sum(1).argmin() for row in test_x]
    return float(np.mean(train_y[nearest] == test_y)) * (1 - share) + share
curve = "line"
""",  # the formula, without the experiment
            """
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    n = round(share * len(test_x))
    x = np.concatenate([train_x[:n], test_x])
    y = np.concatenate([train_y[:n], test_y])
    nearest = [((train_x - row) ** 2).sum(1).argmin() for row in x]
    return float(np.mean(train_y[nearest] == y))
curve = "line"
""",  # adds copies instead of replacing
            """
def accuracy_with_copies(train_x, train_y, test_x, test_y, share):
    n = round(share * len(test_x))
    x, y = np.concatenate([train_x[:n], test_x[n:]]), np.concatenate([train_y[:n], test_y[n:]])
    nearest = [((train_x - row) ** 2).sum(1).argmin() for row in x]
    return float(np.mean(train_y[nearest] == y))
curve = "late"
""",  # another conclusion
        ],
    },
    "data-sheet": {
        "right": [
            """
def data_sheet(folder):
    rows = pd.DataFrame(list_files(folder), columns=["name", "path", "reason"])
    counts = rows[rows["reason"] == ""]["name"].value_counts().sort_index()
    about, _ = read_source_info(Path(folder))
    return dict(images=int(counts.sum()), classes=list(counts.index), smallest=counts.idxmin(),
                left_out=rows[rows["reason"] != ""]["reason"].value_counts(), source=about.get("source") or "unknown")
""",
            """
def data_sheet(folder):
    count, out = {}, {}
    for name, path, reason in list_files(folder):
        if reason:
            out[reason] = out.get(reason, 0) + 1
        else:
            count[name] = count.get(name, 0) + 1
    source = read_source_info(Path(folder))[0]
    few = min(count.values())
    return {"images": sum(count.values()), "classes": tuple(sorted(count)), "left_out": out,
            "smallest": sorted(name for name in count if count[name] == few)[0],
            "source": source["source"] if "source" in source else "unknown"}
""",
        ],
        "wrong": [
            """
def data_sheet(folder):
    counts = Counter(name for name, _, _ in list_files(folder))
    return {"images": counts.total(), "classes": sorted(counts), "smallest": min(sorted(counts), key=counts.get),
            "left_out": Counter(reason for _, _, reason in list_files(folder) if reason),
            "source": read_source_info(Path(folder))[0].get("source", "unknown")}
""",  # counts what cannot be an image
            """
def data_sheet(folder):
    counts = Counter(name for name, _ in list_images(folder))
    return {"images": counts.total(), "classes": sorted(counts), "smallest": sorted(counts)[0],
            "left_out": Counter(reason for _, _, reason in list_files(folder) if reason),
            "source": read_source_info(Path(folder))[0].get("source", "unknown")}
""",  # the first class, not the smallest
            """
def data_sheet(folder):
    counts = Counter(name for name, _ in list_images(folder))
    return {"images": counts.total(), "classes": sorted(counts), "smallest": min(sorted(counts), key=counts.get),
            "left_out": Counter(reason for _, _, reason in list_files(folder)),
            "source": read_source_info(Path(folder))[0].get("source", "unknown")}
""",  # the empty reason is counted, too
            """
def data_sheet(folder):
    counts = Counter(name for name, _ in list_images(folder))
    return {"images": counts.total(), "classes": sorted(counts), "smallest": min(sorted(counts, reverse=True), key=counts.get),
            "left_out": Counter(reason for _, _, reason in list_files(folder) if reason),
            "source": read_source_info(Path(folder))[0].get("source", "unknown")}
""",  # of several, the last by name
            """
def data_sheet(folder):
    counts = Counter(name for name, _ in list_images(folder))
    return {"images": counts.total(), "classes": sorted(counts), "smallest": min(sorted(counts), key=counts.get),
            "left_out": Counter(reason for _, _, reason in list_files(folder) if reason), "source": "demo"}
""",  # the one source
        ],
    },
}
