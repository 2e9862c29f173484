"""Any set that people have: each layout is understood, or refused by its name; nothing is guessed in silence."""

import json
from collections import Counter

import pytest

from vehicle_nb.core import VehicleError
from vehicle_nb.data.label_tables import Ambiguous
from vehicle_nb.data.layouts import describe, recognize
from vehicle_nb.data.unsupported import Listing


def some(folder: str, kind: str = "cat", count: int = 4, first: int = 0, suffix: str = ".jpg") -> dict[str, int]:
    "Images of one folder; the sizes differ."
    return {f"{folder}/{kind}{i}{suffix}".lstrip("/"): 1000 + i + 7 * len(kind) for i in range(first, first + count)}


def classes(folder: str = "", names=("cat", "dog"), count: int = 4, first: int = 0) -> dict[str, int]:
    "Images in class folders."
    return {path: size for name in names for path, size in some(f"{folder}/{name}".lstrip("/"), name, count, first).items()}


def listing(images: dict[str, int], texts: dict[str, str] | None = None, others=(), empty=()) -> Listing:
    "A folder with these images, text files, other files and empty folders."
    texts = texts or {}
    paths = [*images, *texts, *others, *(f"{name}/x" for name in empty)]
    folders = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 1)}
    return Listing(images, dict.fromkeys([*texts, *others], 9), folders, texts)


def table(rows, head="image,label") -> str:
    return "\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n"


FLAT = some("images", "a", 4) | some("images", "b", 4)
ROWS = [(path.rpartition("/")[2], "cat" if "/a" in path else "dog") for path in FLAT]
SPLIT = classes("train") | classes("val", first=100) | classes("test", first=200)
SIX, FOUR_EACH = {"train": 8, "val": 8, "test": 8}, {"cat": 4, "dog": 4}
EIGHT_EACH, TWELVE_EACH = {"cat": 8, "dog": 8}, {"cat": 12, "dog": 12}


def renamed(images: dict[str, int], **folders) -> dict[str, int]:
    "The same with other names for the outermost folders."
    return {path.replace(path.split("/")[0], folders[path.split("/")[0]], 1): size for path, size in images.items()}


def coco(boxes: int = 0, kinds: int = 1) -> str:
    "COCO's JSON for FLAT: so many boxes an image, of so many kinds."
    images = [{"id": i, "file_name": name} for i, (name, _) in enumerate(ROWS)]
    notes = [{"image_id": i, "category_id": (label == "dog") + 1 + k % kinds, **({"bbox": [0, 0, 9, 9]} if boxes else {})}
             for i, (_, label) in enumerate(ROWS) for k in range(max(boxes, kinds))]  # fmt: skip
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cow"}]
    return json.dumps({"images": images, "annotations": notes, "categories": names})


HOT = table([(name, int(label == "cat"), int(label == "dog")) for name, label in ROWS], "filename, cat, dog")
ROBOFLOW = {f"{split}/{name}.jpg": 10 * k + i for k, split in enumerate(("train", "valid", "test")) for i, name in enumerate("abcd")}
ROBOFLOW_CSV = {f"{split}/_classes.csv": "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 0, 1\nc.jpg, 1, 0\nd.jpg, 0, 1\n"
                for split in ("train", "valid", "test")}  # fmt: skip
GTSRB = classes("Train", ("0", "1")) | some("Test", "x", 4) | some("Meta", "m", 2)

# name: (folder, options, classes, splits, a word of the description)
UNDERSTOOD = {
    "class folders": (listing(classes()), {}, FOUR_EACH, {}, "class folders"),
    "three folders around": (listing(classes("a/b/vehicle_data"), others=["a/README.txt"]), {}, FOUR_EACH, {}, "class folders"),
    "an image beside the class folders": (listing(classes() | {"sample.png": 1}), {}, FOUR_EACH, {}, "Ignored: 1 images in the top"),
    "upper-case suffixes": (listing({path.replace(".jpg", ".JPG"): 1 for path in classes()}), {}, FOUR_EACH, {}, "class folders"),
    "train, val, test": (listing(SPLIT), {}, TWELVE_EACH, SIX, "It comes with a split: train 8, val 8, test 8"),
    "other names": (listing(renamed(SPLIT, train="Training", val="dev", test="test_set")), {}, TWELVE_EACH, SIX, "split"),
    "upper case": (listing(renamed(SPLIT, train="TRAIN", val="Validation", test="Testing")), {}, TWELVE_EACH, SIX, "split"),
    "eval beside test": (listing(renamed(SPLIT, train="trainset", val="eval", test="test")), {}, TWELVE_EACH, SIX, "split"),
    "Roboflow, folders": (listing(renamed(SPLIT, train="train", val="valid", test="test"), {"README.roboflow.txt": "x"}), {},
                          TWELVE_EACH, SIX, "split"),
    "Intel scenes": (listing(classes("seg_train/seg_train") | classes("seg_test/seg_test", first=50) | some("seg_pred/seg_pred", "x")), {},
                     EIGHT_EACH, {"train": 8, "test": 8}, "Ignored: 4 images in seg_pred"),
    "a prefix": (listing(classes("cars_train/cars_train") | classes("cars_test", first=50)), {}, EIGHT_EACH, {"train": 8, "test": 8}, ""),
    "Fruits": (listing(classes("f/Training") | classes("f/Test", first=9) | some("f/test-multiple_fruits", "x"), empty=["f/papers"]), {},
               EIGHT_EACH, {"train": 8, "test": 8}, "test-multiple_fruits (beside the splits)"),
    "training_set and single_prediction": (
        listing(classes("d/training_set") | classes("d/test_set", first=9) | some("d/single_prediction", "x", 2)), {},
        EIGHT_EACH, {"train": 8, "test": 8}, "single_prediction"),
    "the same set twice": (listing(SPLIT | {f"chest/{path}": size for path, size in SPLIT.items()}), {}, TWELVE_EACH, SIX, "same files"),
    "twice, class folders": (listing(classes("v") | classes("v/v")), {}, FOUR_EACH, {}, "Ignored: 8 images in v/v (the same files as in v"),
    "a flat test folder": (listing(classes("train") | some("test", "x")), {}, FOUR_EACH, {}, "Ignored: 4 images in test (no labels"),
    "only train": (listing(classes("data/train")), {}, FOUR_EACH, {}, "class folders"),
    "splits in class folders": (listing(some("cat/train") | some("cat/test", first=9) | some("dog/train", "dog") |
                                        some("dog/test", "dog", first=9)), {}, EIGHT_EACH, {"train": 8, "test": 8}, "in class folders"),
    "a set beside samples": (listing(classes("set/train") | classes("set/test", first=9) | some("samples", "s")), {},
                             EIGHT_EACH, {"train": 8, "test": 8}, "samples (beside the set"),
    "a class that is called train": (listing(classes("", ("bus", "car", "train"))), {}, {"bus": 4, "car": 4, "train": 4}, {},
                                     "The folder train is taken as a class"),
    "train beside one class, said": (listing(classes("", ("bus", "train"))), {"layout": "folders"}, {"bus": 4, "train": 4}, {}, ""),
    "test beside classes": (listing(classes() | some("test", "x")), {}, FOUR_EACH, {}, "Ignored: 4 images in test (no labels"),
    "train_station": (listing(classes("", ("airport", "train_station", "test track"))), {},
                      {"airport": 4, "train_station": 4, "test track": 4}, {}, "class folders"),
    "numbers in class folders": (listing(some("open/s1") | some("open/s2", first=9) | some("shut/s1", "dog") | some("shut/s2", "dog", first=9)),
                                 {}, {"open": 8, "shut": 8}, {}, "class folders"),
    "groups, the outer": (listing(classes("land", ("bus", "car")) | classes("water", ("boat", "ship"))), {"layout": "folders"},
                          {"land": 8, "water": 8}, {}, ""),
    "groups, the inner": (listing(classes("land", ("bus", "car")) | classes("water", ("boat", "ship"))), {"layout": "innermost"},
                          {"boat": 4, "bus": 4, "car": 4, "ship": 4}, {}, "innermost"),
    "masks beside images": (listing(classes() | {path.replace(".jpg", "_mask.png"): 1 for path in classes()}), {}, FOUR_EACH, {},
                            "a mask of the image beside it"),
    "CSV": (listing(FLAT, {"labels.csv": table(ROWS)}), {}, FOUR_EACH, {}, "labels.csv (images in column image, labels in column label)"),
    "TSV without suffixes": (listing(FLAT, {"l.tsv": "id\tbreed\n" + "".join(f"{n[:-4]}\t{k}\n" for n, k in ROWS)}), {}, FOUR_EACH, {}, ""),
    "semicolons and paths": (listing(FLAT, {"l.csv": "".join(f"x\\images\\{n};{k}\n" for n, k in ROWS)}), {}, FOUR_EACH, {}, ""),
    "no header": (listing(FLAT, {"l.csv": table(ROWS[1:], ",".join(ROWS[0]))}), {}, FOUR_EACH, {}, "column 1"),
    "spaces, as Caffe has it": (listing(FLAT, {"all.txt": "".join(f"images/{n} {int(k == 'dog')}\n" for n, k in ROWS)}), {},
                                {"0": 4, "1": 4}, {}, "The labels are numbers"),
    "an index and classes.txt": (listing(FLAT, {"l.csv": table([(n, int(k == "dog")) for n, k in ROWS]), "classes.txt": "cat\ndog\n"}), {},
                                 FOUR_EACH, {}, "classes.txt"),
    "an index from 1 and classes.csv": (listing(FLAT, {"l.csv": table([(n, 1 + (k == "dog")) for n, k in ROWS]),
                                                       "classes.csv": "id,name\n1,cat\n2,dog\n"}), {}, FOUR_EACH, {}, "classes.csv"),
    "an index and cat_to_name.json": (listing(FLAT, {"l.csv": table([(n, int(k == "dog")) for n, k in ROWS]),
                                                     "cat_to_name.json": '{"0": "cat", "1": "dog"}'}), {}, FOUR_EACH, {}, "cat_to_name"),
    "index and name": (listing(FLAT, {"l.csv": table([(n, int(k == "dog"), k) for n, k in ROWS], "file,label,class")}), {}, FOUR_EACH, {},
                       "column class"),
    "measures beside the label": (listing(FLAT, {"l.csv": table([(n, 640 + i, i % 3, k) for i, (n, k) in enumerate(ROWS)],
                                                                "file,width,camera,label")}), {}, FOUR_EACH, {}, "column label"),
    "a box an image": (listing(FLAT, {"l.csv": table([(n, 1, 2, 30, 40, k) for n, k in ROWS], "f,xmin,ymin,xmax,ymax,c")}), {},
                       FOUR_EACH, {}, "column c"),
    "a column of splits": (listing(FLAT, {"l.csv": table([(n, k, "train" if i % 2 else "test") for i, (n, k) in enumerate(ROWS)],
                                                         "image,label,subset")}), {}, FOUR_EACH, {"train": 4, "test": 4}, ""),
    "train.csv and test.csv": (listing(some("train", "a", 4) | some("train", "b", 4) | some("test", "x"),
                                       {"train.csv": table(ROWS), "test.csv": "image\nx0.jpg\nx1.jpg\n",
                                        "sample_submission.csv": table([("x0.jpg", "cat"), ("x1.jpg", "cat")])}),
                               {}, FOUR_EACH, {}, "Ignored: 4 images in test"),
    "named by the table": (listing(FLAT, {"train.csv": table(ROWS[:4] + ROWS[4:6]), "val.csv": table(ROWS[6:])}), {}, FOUR_EACH,
                           {"train": 6, "val": 2}, ""),
    "one column a class": (listing(FLAT, {"_classes.csv": HOT}), {}, FOUR_EACH, {}, "one column a class"),
    "Roboflow, multiclass CSV": (listing(ROBOFLOW, ROBOFLOW_CSV), {}, {"cat": 6, "dog": 6}, {"train": 4, "val": 4, "test": 4}, ""),
    "Hugging Face metadata.csv": (listing(some("train", "a") | some("train", "b"), {"train/metadata.csv": table(ROWS, "file_name,label")}),
                                  {}, FOUR_EACH, {}, "metadata.csv"),
    "Hugging Face metadata.jsonl": (listing(FLAT, {"images/metadata.jsonl": "".join(
        json.dumps({"file_name": n, "label": k}) + "\n" for n, k in ROWS)}), {}, FOUR_EACH, {}, "metadata.jsonl"),
    "COCO, image labels": (listing(FLAT, {"annotations.json": coco()}), {}, FOUR_EACH, {}, "annotations.json"),
    "JSON, name to label": (listing(FLAT, {"l.json": json.dumps(dict(ROWS))}), {}, FOUR_EACH, {}, "l.json"),
    "JSON, label to names": (listing(FLAT, {"l.json": json.dumps({k: [n for n, l in ROWS if l == k] for k in ("cat", "dog")})}), {},
                             FOUR_EACH, {}, "l.json"),
    "JSON, records": (listing(FLAT, {"l.json": json.dumps([{"image": n, "label": k} for n, k in ROWS])}), {}, FOUR_EACH, {}, "l.json"),
    "JSON, pairs": (listing(FLAT, {"dataset.json": json.dumps({"labels": [[n, k] for n, k in ROWS]})}), {}, FOUR_EACH, {}, "dataset.json"),
    "folders of any images": (listing(some("images_1", "a") | some("images_2", "b"), {"l.csv": table(ROWS)}), {}, FOUR_EACH, {}, "table"),
    "a table that agrees with the folders": (listing(classes(), {"l.csv": table([(p, p.split("/")[0]) for p in classes()])}), {},
                                             FOUR_EACH, {}, "class folders"),
    "a table for the test side": (listing(GTSRB, {"Train.csv": table([(p, p.split("/")[1]) for p in GTSRB if p[:3] == "Tra"], "Path,ClassId"),
                                                  "Test.csv": table([(f"Test/x{i}.jpg", i % 2) for i in range(4)], "Path,ClassId")}), {},
                                  {"0": 6, "1": 6}, {"train": 8, "test": 4}, "4 images have their label from"),
    "file names, said": (listing(some("train", "cat.") | some("train", "dog.")), {"layout": "names"}, FOUR_EACH, {}, "file names"),
    "the column, said": (listing(FLAT, {"l.csv": table([(n, k, i % 2) for i, (n, k) in enumerate(ROWS)], "image,species,class")}),
                         {"label_column": "species"}, FOUR_EACH, {}, "column species"),
    "accents of a Mac": (listing({"images/e\u0301te\u0301.jpg": 1, "images/hiver.jpg": 2}, {"l.csv": "n,label\nété.jpg,a\nhiver.jpg,b\n"}), {},
                         {"a": 1, "b": 1}, {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_layout_is_understood(name):
    folder, options, wanted, splits, word = UNDERSTOOD[name]
    layout = recognize(folder, **options)
    where = [layout.where(path) for path in folder.images]
    assert Counter(label for label, _, _ in where if label) == wanted
    assert Counter(split for label, split, _ in where if label and split) == splits
    assert all(reason for label, _, reason in where if not label), "what is ignored has a reason"
    assert word in "\n".join(describe(layout, folder))


YOLO = {path.replace("images", "labels").replace(".jpg", ".txt"): "0 0.5 0.5 0.2 0.3\n" for path in FLAT}
DETECTION = table([(n, 1, 2, 30, 40, k) for n, _ in ROWS for k in ("cat", "dog")], "filename,xmin,ymin,xmax,ymax,class")
REFUSED = {
    "Parquet": (listing({}, others=["data/train-00000-of-00001.parquet"]), "Parquet", "CLASS/NAME"),
    "TFRecord": (listing({}, others=["cars-train.tfrecord-00000-of-00016"]), "TFRecord", "CLASS/NAME"),
    "LMDB": (listing({}, others=["train/data.mdb", "train/lock.mdb"]), "LMDB", "CLASS/NAME"),
    "HDF5": (listing({}, others=["x.h5"]), "HDF5", "CLASS/NAME"),
    "NPZ": (listing({}, others=["pathmnist.npz"]), "NPZ", "CLASS/NAME"),
    "CIFAR": (listing({}, others=[f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)]), "pickle", "CLASS/NAME"),
    "MNIST": (listing({}, others=["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]), "IDX", "CLASS/NAME"),
    "pixels in a CSV": (listing({}, {"train.csv": "label,pixel0,pixel1\n1,0,0\n"}), "train.csv holds pixels", "CLASS/NAME"),
    "only archives": (listing({}, others=["a.7z"]), "only archives (a.7z)", "vehicle_data --from"),
    "nothing": (listing({}), "no images", "one folder of images per class"),
    "YOLO": (listing(FLAT, {**YOLO, "data.yaml": "nc: 2"}), "YOLO", "for classification"),
    "YOLO in splits": (listing(some("train/images", "a") | some("valid/images", "b"), {"train/labels/a0.txt": "1 .5 .5 .1 .1", "data.yaml": ""}),
                       "YOLO", "for classification"),
    "Pascal VOC": (listing(FLAT, others=[f"Annotations/{n[:-4]}.xml" for n, _ in ROWS]), "Pascal VOC", "for classification"),
    "LabelMe": (listing(FLAT, {f"images/{n[:-4]}.json": '{"shapes": []}' for n, _ in ROWS}), "LabelMe", "for classification"),
    "COCO detection": (listing(FLAT, {"instances.json": coco(boxes=2)}), "COCO detection", "for classification"),
    "boxes in a CSV": (listing(FLAT, {"_annotations.csv": DETECTION}), "detection labels", "for classification"),
    "masks": (listing(FLAT | {path.replace("images", "masks"): 1 for path in FLAT}), "segmentation masks", "for classification"),
    "several kinds in COCO": (listing(FLAT, {"l.json": coco(kinds=2)}), "multi-label", "one label an image"),
    "several ones in a row": (listing(FLAT, {"_classes.csv": HOT.replace(",1,0", ",1,1")}), "multi-label", "one label an image"),
    "labels joined by bars": (listing(FLAT, {"l.csv": table([(n, f"{k}|wet") for n, k in ROWS])}), "multi-label", "one label an image"),
    "labels joined by spaces": (listing(FLAT, {"l.csv": table([(n, k if i % 4 else "cat dog") for i, (n, k) in enumerate(ROWS)])}),
                                "multi-label", "one label an image"),
    "two rows, two labels": (listing(FLAT, {"l.csv": table(ROWS + [(n, "wet") for n, _ in ROWS])}), "multi-label", "one label an image"),
    "one class in the table": (listing(FLAT, {"l.csv": table(ROWS[:1])}), "only one class (cat)", "at least two"),
    "no labels at all": (listing(some("images", "IMG_")), "no class folders", "a table"),
    "captions": (listing(some("images", "IMG_", 8), {"l.csv": table([(f"IMG_{i}.jpg", f"text {i}") for i in range(8)], "image,caption")}),
                 "no class folders", "no labels"),
    "several sets": (listing(classes("a/train") | classes("a/test", first=9) | classes("b/train", first=20) | classes("b/test", first=30)),
                     "several sets", "Name the folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_by_its_name(name):
    folder, *words = REFUSED[name]
    with pytest.raises(VehicleError) as error:
        recognize(folder)
    assert not isinstance(error.value, Ambiguous) and all(word in str(error.value) for word in words), str(error.value)


# name: (folder, two options that decide, or one)
UNCLEAR = {
    "train beside one class": (listing(classes("", ("bus", "train"))), "--layout folders", "--layout splits"),
    "train with classes in it beside folders": (listing(classes("train", ("steam", "diesel")) | classes("", ("bus", "car"))),
                                                "--layout folders", "--layout splits"),
    "train and test beside folders": (listing(classes("", ("bus", "car", "train", "test"))), "--layout folders", "--layout splits"),
    "groups": (listing(classes("land", ("bus", "car")) | classes("water", ("boat", "ship"))), "--layout folders", "--layout innermost"),
    "depths": (listing(classes("", ("bus",)) | classes("two_wheels", ("bike", "moto"))), "--layout folders", "--layout innermost"),
    "file names": (listing(some("train", "cat.") | some("train", "dog.")), "--layout names"),
    "file names, no folder": (listing(some("", "cat_", 8) | some("", "dog_", 8)), "--layout names"),
    "two label columns": (listing(FLAT, {"l.csv": table([(n, k, i % 2) for i, (n, k) in enumerate(ROWS)], "image,species,class")}),
                          "--label_column species", "--label_column class"),
    "two columns without usual names": (listing(FLAT, {"l.csv": table([(n, k, "ab"[i % 2]) for i, (n, k) in enumerate(ROWS)], "f,p,q")}),
                                        "--label_column p", "--label_column q"),
    "two tables": (listing(FLAT, {"a.csv": table(ROWS), "b.csv": table([(n, "xy"[i % 2]) for i, (n, _) in enumerate(ROWS)])}),
                   "--labels a.csv", "--labels b.csv"),
    "folders and a table": (listing(classes(), {"l.csv": table([(p, "xy"[i % 2]) for i, p in enumerate(classes())])}),
                            "--layout folders", "--layout table"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_unclear_names_the_options_that_decide(name):
    folder, *options = UNCLEAR[name]
    with pytest.raises(Ambiguous) as error:
        recognize(folder)
    assert all(option in str(error.value) for option in options), str(error.value)
    for option, value, _ in error.value.choices:  # and each of them does, or says why not
        try:
            assert recognize(folder, **{option: value}).name
        except VehicleError as again:
            assert value == "splits" and "no class folders" in str(again)  # flat: the file names are left
