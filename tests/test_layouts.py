"""Any set that people have: each layout is understood, or refused by its name; nothing is guessed in silence."""

import io
import json
import os
import random
import subprocess
import sys
import time
import uuid
import zipfile
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hostile import encode, random_image
from PIL import Image

from vehicle_nb.core import VehicleError
from vehicle_nb.data.explore import explore
from vehicle_nb.data.label_tables import Ambiguous
from vehicle_nb.data.layouts import describe, recognize
from vehicle_nb.data.listing import read_splits
from vehicle_nb.data.preprocess import preprocess
from vehicle_nb.data.sources import class_folders, get_data, list_images
from vehicle_nb.data.unsupported import Listing
from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle
from vehicle_nb.evaluation.evaluate import evaluate
from vehicle_nb.serving.predictor import Predictor


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
    "numbers in class folders": (listing(some("open/s1") | some("open/s2", first=9) |
                                         some("shut/s1", "dog") | some("shut/s2", "dog", first=9)), {},
                                 {"open": 8, "shut": 8}, {}, "class folders"),
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
    "JSON, label to names": (listing(FLAT, {"l.json": json.dumps({k: [n for n, label in ROWS if label == k] for k in ("cat", "dog")})}),
                             {}, FOUR_EACH, {}, "l.json"),
    "JSON, records": (listing(FLAT, {"l.json": json.dumps([{"image": n, "label": k} for n, k in ROWS])}), {}, FOUR_EACH, {}, "l.json"),
    "JSON, pairs": (listing(FLAT, {"dataset.json": json.dumps({"labels": [[n, k] for n, k in ROWS]})}), {}, FOUR_EACH, {}, "dataset.json"),
    "folders of any images": (listing(some("images_1", "a") | some("images_2", "b"), {"l.csv": table(ROWS)}), {}, FOUR_EACH, {}, "table"),
    "a table that agrees with the folders": (listing(classes(), {"l.csv": table([(p, p.split("/")[0]) for p in classes()])}), {},
                                             FOUR_EACH, {}, "class folders"),
    "a table for the test side": (listing(GTSRB, {"Train.csv": table([(p, p.split("/")[1]) for p in GTSRB if p[:3] == "Tra"],
                                                                     "Path,ClassId"),
                                                  "Test.csv": table([(f"Test/x{i}.jpg", i % 2) for i in range(4)], "Path,ClassId")}), {},
                                  {"0": 6, "1": 6}, {"train": 8, "test": 4}, "4 images have their label from"),
    "file names, said": (listing(some("train", "cat.") | some("train", "dog.")), {"layout": "names"}, FOUR_EACH, {}, "file names"),
    "the column, said": (listing(FLAT, {"l.csv": table([(n, k, i % 2) for i, (n, k) in enumerate(ROWS)], "image,species,class")}),
                         {"label_column": "species"}, FOUR_EACH, {}, "column species"),
    "twice, beside each other": (listing(classes("set/a") | classes("old/a")), {}, FOUR_EACH, {}, "the same files as in old"),
    "New Plant Diseases": (
        listing({f"{top}/{path}": size for top in ("New(Augmented)/New(Augmented)", "new(augmented)/New(Augmented)")
                 for path, size in (classes("train") | classes("valid", first=9)).items()} | some("test/test", "AppleScab")), {},
        EIGHT_EACH, {"train": 8, "val": 8}, "the same files as in New(Augmented)"),
    "groups in splits, the outer": (
        listing({path: size for k, split in enumerate(("train", "test")) for path, size in (
            classes(f"{split}/land", ("bus", "car"), first=9 * k) | classes(f"{split}/water", ("boat", "ship"), first=9 * k)).items()}),
        {"layout": "folders"}, {"land": 16, "water": 16}, {"train": 16, "test": 16}, ""),
    "HAM10000": (listing(some("HAM10000_images_part_1", "ISIC_00") | some("HAM10000_images_part_2", "ISIC_01"),
                         {"HAM10000_metadata.csv": table([(f"l{i}", f"ISIC_0{i // 4}{i % 4}", ("cat", "dog")[i % 2], "xy"[i // 4])
                                                          for i in range(8)], "lesion_id,image_id,dx,dx_type")}),
                 {}, FOUR_EACH, {}, "column dx"),
    "tiny-imagenet": (
        listing({f"train/{c}/images/{c}_{i}.JPEG": i for c in ("n01", "n02") for i in range(4)} |
                {f"val/images/v{i}.JPEG": i for i in range(4)},
                {"val/val_annotations.txt": "".join(f"v{i}.JPEG\tn0{1 + i % 2}\t0\t{i // 2}\t62\t6{i % 2}\n" for i in range(4))}), {},
        {"n01": 6, "n02": 6}, {"train": 8, "val": 4}, "4 images have their label"),
    "Cassava": (listing(some("train_images", "a") | some("train_images", "b") | some("test_images", "x", 1),
                        {"train.csv": table([(n, int(k == "dog")) for n, k in ROWS], "image_id,label"),
                         "label_num_to_disease_map.json": '{"0": "cat", "1": "dog"}'}), {}, FOUR_EACH, {}, "label_num_to_disease_map"),
    "public and private test": (listing(FLAT, {"l.csv": table(
        [(n, k, ("Training", "PublicTest", "PrivateTest", "Training")[i % 4]) for i, (n, k) in enumerate(ROWS)], "image,emotion,Usage")}),
        {}, FOUR_EACH, {"train": 4, "test": 4}, ""),
    "accents of a Mac": (listing({"images/e\u0301te\u0301.jpg": 1, "images/hiver.jpg": 2}, {"l.csv": "n,label\nété.jpg,a\nhiver.jpg,b\n"}),
                         {}, {"a": 1, "b": 1}, {}, ""),
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
    "faces with attributes": (listing(FLAT, {"list_attr.csv": table([(n, 1, 1 - 2 * (i % 2)) for i, (n, _) in enumerate(ROWS)],
                                                                   "image_id,Young,Smiling")}), "multi-label", "one label an image"),
    "X-ray findings": (listing(FLAT, {"Data_Entry.csv": table([(n, "Mass|Edema" if i % 2 else "Mass") for i, (n, _) in enumerate(ROWS)],
                                                              "Image Index,Finding Labels")}), "multi-label", "one label an image"),
    "nothing": (listing({}), "no images", "one folder of images per class"),
    "YOLO": (listing(FLAT, {**YOLO, "data.yaml": "nc: 2"}), "YOLO", "for classification"),
    "YOLO in splits": (listing(some("train/images", "a") | some("valid/images", "b"),
                               {"train/labels/a0.txt": "1 .5 .5 .1 .1", "data.yaml": ""}),
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
    "dogs against cats": (listing(some("train", "cat.") | some("train", "dog.") | {f"test1/{i}.jpg": i for i in range(9)}),
                          "--layout names"),
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


def test_a_random_order_of_the_listing_changes_nothing():
    folder = UNDERSTOOD["train.csv and test.csv"][0]
    turned = Listing(dict(reversed(folder.images.items())), folder.others, folder.folders, dict(reversed(folder.texts.items())))
    one, two = recognize(folder), recognize(turned)
    assert [one.where(path) for path in folder.images] == [two.where(path) for path in folder.images]


def test_large_sets_are_understood_in_seconds():
    images = {f"set/{split}/{c}/{i}.jpg": i for split in ("train", "test") for c in range(50) for i in range(100)}
    rows = table([(path.removeprefix("set/"), path.split("/")[2]) for path in images])
    start = time.process_time()
    layout = recognize(listing(images, {"set/labels.csv": rows}))
    assert time.process_time() - start < 6 and layout.name == "class folders in split folders"  # 10,000 images: 0.5


# -- on the disk


def save(folder: Path, names, first: int = 0) -> Path:
    "Images, all different, under these names."
    for seed, name in enumerate(names, first):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(random_image(50_000 + seed, (64, 48))))
    return folder


def raw_tree(raw: Path) -> set[str]:
    return {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file() and path.name != ".source.json"}


def names(split: str, n: int = 4) -> list[str]:
    return [f"{split}/{label}/{i}.jpg".lstrip("/") for label in ("bus", "car") for i in range(n)]


def test_a_split_set_becomes_class_folders_and_a_table_of_splits(tmp_path, capsys):
    source = save(tmp_path / "set", [*names("Train"), *names("Test"), "papers/fig.png", "Test/bus/x"])
    raw = get_data(from_path=str(source), output=str(tmp_path / "raw"))
    said = capsys.readouterr().out
    assert said.index("Understood") < said.index("files in 2 classes") and "papers (beside the splits)" in said
    assert raw_tree(raw) == {"splits.csv", "bus/x", *(f"{c}/{i}{n}.jpg" for c in ("bus", "car") for i in range(4) for n in ("", " (2)"))}
    assert Counter(read_splits(raw / "splits.csv").values()) == {"train": 8, "test": 9}
    table = dict(read_splits(raw / "splits.csv"))
    assert table["bus/0.jpg"] == "test" and (raw / "bus/0.jpg").read_bytes() == (source / "Test/bus/0.jpg").read_bytes()
    with pytest.raises(VehicleError, match="exclude each other"):
        get_data(from_path=str(source), output=str(raw), add=True, force=True)


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_any_spreadsheet(code, tmp_path):
    source = save(tmp_path / "set", [f"images/{i}.JPG" for i in range(4)])
    rows = "Datei;Klasse\r\n" + "".join(f"images\\{i}.JPG;{('Straßenbahn', 'Müll/wagen')[i % 2]}\r\n" for i in range(4))
    (source / "Liste.csv").write_bytes(rows.encode(code))
    raw = get_data(from_path=str(source), output=str(tmp_path / "raw"), quiet=True)
    assert raw_tree(raw) == {f"{('Straßenbahn', 'Müll_wagen')[i % 2]}/{i}.JPG" for i in range(4)}


def test_a_table_that_lies_elsewhere(tmp_path):
    source = save(tmp_path / "set", [f"{i}.jpg" for i in range(4)])
    (tmp_path / "mine.csv").write_text("f,label\n" + "".join(f"{i}.jpg,{'ab'[i % 2]}\n" for i in range(4)))
    options = {"from_path": str(source), "output": str(tmp_path / "raw"), "quiet": True}
    with pytest.raises(VehicleError, match="no class folders"):
        get_data(**options)
    assert raw_tree(get_data(**options, labels=str(tmp_path / "mine.csv"))) == {f"{'ab'[i % 2]}/{i}.jpg" for i in range(4)}
    with pytest.raises(VehicleError, match=r"no table nothing\.csv"):
        get_data(**options, force=True, labels="nothing.csv")


def test_a_terminal_is_asked(tmp_path, monkeypatch, capsys):
    source = save(tmp_path / "set", [f"train/{label}.{i}.jpg" for label in ("cat", "dog") for i in range(4)])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "1")
    raw = get_data(from_path=str(source), output=str(tmp_path / "raw"))
    assert raw_tree(raw) == {f"{label}/{label}.{i}.jpg" for label in ("cat", "dog") for i in range(4)}
    assert "1  they are the classes (--layout names)" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "")  # no answer
    with pytest.raises(Ambiguous, match="--layout names"):
        get_data(from_path=str(source), output=str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_archives_in_an_archive_and_in_a_folder(tmp_path):
    for part in ("train", "test1"):
        with zipfile.ZipFile(tmp_path / f"{part}.zip", "w") as archive:
            for path in names(part):
                archive.writestr(path, encode(random_image(len(archive.namelist()) + 100 * len(part), (64, 48))))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for part in ("train", "test1"):
            archive.write(tmp_path / f"{part}.zip", f"{part}.zip")
    (tmp_path / "folder").mkdir()
    for part in ("train", "test1"):
        (tmp_path / f"{part}.zip").rename(tmp_path / "folder" / f"{part}.zip")
    one = get_data(from_path=str(tmp_path / "all.zip"), output=str(tmp_path / "one"), quiet=True)
    two = get_data(from_path=str(tmp_path / "folder"), output=str(tmp_path / "two"), quiet=True)
    assert raw_tree(one) == raw_tree(two) and len(raw_tree(one)) == 17
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["test1.zip", "train.zip"], "the source is as it was"


def test_what_is_new_is_added(tmp_path, capsys):
    raw = get_data(from_path=str(save(tmp_path / "one", names(""))), output=str(tmp_path / "raw"), quiet=True)
    more = save(tmp_path / "two", [*names("train"), *names("test")], first=6)  # two of them are those of before, under other names
    (more / "train/bus/0.jpg").write_bytes((raw / "bus/1.jpg").read_bytes())
    (more / "train/car/0.jpg").write_bytes((raw / "bus/2.jpg").read_bytes())
    (more / "test/tram").mkdir()
    (more / "test/tram/9.jpg").write_bytes(encode(random_image(7, (64, 48))))
    before = {path: (raw / path).read_bytes() for path in raw_tree(raw)}
    get_data(from_path=str(more), output=str(raw), add=True)
    said = capsys.readouterr().out
    assert "14 images were new and have been added" in said and "1 were there already" in said
    assert "2 are there under another class and were left out" in said and "is in bus" in said
    assert all((raw / path).read_bytes() == data for path, data in before.items())
    assert sorted(class_folders(raw)) == ["bus", "car", "tram"]
    splits = read_splits(raw / "splits.csv")
    assert len(splits) == 14 and set(splits) <= raw_tree(raw) and not set(splits) & set(before)
    get_data(from_path=str(more), output=str(raw), add=True)
    assert "0 images were new" in capsys.readouterr().out
    with pytest.raises(VehicleError, match="--force"):  # it is no longer the first set
        get_data(from_path=str(tmp_path / "one"), output=str(raw), quiet=True)
    get_data(from_path=str(tmp_path / "one"), output=str(raw), force=True, quiet=True)  # all of it was ours
    assert len(raw_tree(raw)) == 8


def test_adding_is_killed_at_any_moment(tmp_path, monkeypatch):
    raw = get_data(from_path=str(save(tmp_path / "one", names(""))), output=str(tmp_path / "raw"), quiet=True)
    more, real, moved = save(tmp_path / "two", names("", 3), first=20), os.replace, []

    def cut(source, target):
        if Path(target).suffix == ".jpg" and "raw" in Path(target).parts[-3] and len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(target) if Path(target).parent.parent == raw else None
        real(source, target)

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        get_data(from_path=str(more), output=str(raw), add=True, quiet=True)
    monkeypatch.setattr(os, "replace", real)
    assert len(list_images(raw)) == 8 + 2 and not (tmp_path / ".raw.work").exists()
    get_data(from_path=str(more), output=str(raw), add=True, quiet=True)
    assert len(list_images(raw)) == 8 + 6
    assert len({path.read_bytes() for _, path in list_images(raw)}) == 14, "each once, and whole"


# -- a split that is given


def leaky(folder: Path) -> Path:
    "A set with a split: of ten test images, three are copies of training images, one of them by its bytes."
    save(folder, [*names("train", 20), *names("test", 5)])
    (folder / "test/bus/0.jpg").write_bytes((folder / "train/bus/7.jpg").read_bytes())
    for name in ("bus/1", "car/1"):
        with Image.open(folder / f"train/{name}.jpg") as image:
            image.resize((48, 36)).save(folder / f"test/{name}.jpg", quality=80)
    return folder


@pytest.mark.parametrize("by", ["folders", "raw"])
def test_a_given_split_is_kept_and_its_leaks_are_counted(by, tmp_path, capsys):
    source = leaky(tmp_path / "set")
    if by == "raw":
        source = get_data(from_path=str(source), output=str(tmp_path / "raw"), quiet=True)
    kept = preprocess(str(source), str(tmp_path / "kept"), size=32, split="keep", workers=1)
    said = capsys.readouterr().out
    assert "is kept (train 40, test 10), with its leaks" in said and "3 of 10 test images (30.0 %) have a near-copy in train" in said
    given = json.loads((kept / "config.json").read_text())["given_split"]
    assert given["kept"] and given["leaks"]["test_in_train"] == {"images": 3, "of": 10, "share": 0.3}
    rows = pd.read_csv(kept / "manifest.csv", keep_default_na=False)
    assert Counter(rows["split"]) == {"train": 34, "val": 6, "test": 10}
    drawn = rows[rows["split"].isin(["train", "val"])].groupby("group")["split"].nunique()
    assert (drawn == 1).all(), "val is made from train without leaks"
    new = preprocess(str(source), str(tmp_path / "new"), size=32, workers=1)
    said = capsys.readouterr().out
    assert "split again without leaks (--split keep uses it). Its leaks were:" in said and "3 of 10 test images" in said
    rows = pd.read_csv(new / "manifest.csv", keep_default_na=False)
    assert (rows[rows["split"] != ""].groupby("group")["split"].nunique() == 1).all() and (rows["split"] != "").sum() == 49
    assert not json.loads((new / "config.json").read_text())["given_split"]["kept"]


def test_a_split_that_is_whole_is_kept_to_the_file(tmp_path):
    source = save(tmp_path / "set", [*names("train", 5), *names("valid", 3), *names("test", 2)])
    kept = preprocess(str(source), str(tmp_path / "kept"), size=32, split="keep", workers=1, quiet=True)
    rows = pd.read_csv(kept / "manifest.csv", keep_default_na=False)
    assert all(split == path.split("/")[0].replace("valid", "val") for path, split in zip(rows["path"], rows["split"], strict=True))
    plain = save(tmp_path / "plain", names("", 4))
    with pytest.raises(VehicleError, match="came without a split"):
        preprocess(str(plain), str(tmp_path / "no"), size=32, split="keep", quiet=True)


def test_a_folder_of_any_layout_is_preprocessed_as_it_lies(tmp_path):
    source = save(tmp_path / "set", [f"images/{i}.jpg" for i in range(12)])
    (source / "labels.csv").write_text("image,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(11)))
    processed = preprocess(str(source), str(tmp_path / "out"), size=32, workers=1, quiet=True)
    rows = pd.read_csv(processed / "manifest.csv", keep_default_na=False)
    assert Counter(rows["class"]) == {"a": 6, "b": 5, "": 2} and (rows["split"] != "").sum() == 11
    reasons = dict(zip(rows["path"], rows["reason"], strict=True))
    assert reasons["images/11.jpg"] == "no label in the table" == reasons["labels.csv"]


# -- the set that this course is about


def twin(path: Path) -> Path:
    "An archive like the Kaggle vehicle set, drawn: uneven classes, UUID names, three suffixes, clip-art, broken files, look-alikes."
    with zipfile.ZipFile(path, "w") as archive:
        for number, label in enumerate(DEMO_CLASSES):
            rng = random.Random(number)
            for i in range(5 + number % 5):
                file, image = io.BytesIO(), draw_vehicle(label, 100 * number + i, 64)
                if i == 0:  # clip-art: few flat colours
                    image = image.quantize(6).convert("RGB")
                image.save(file, "PNG" if i % 3 == 2 else "JPEG")
                suffix = (".jpg", ".jpeg", ".png")[i % 3]
                archive.writestr(f"vehicle_data/{label}/{uuid.UUID(int=rng.getrandbits(128))}{suffix}", file.getvalue())
                if i == 1 and number % 4 == 0:  # a look-alike: smaller, saved again
                    file = io.BytesIO()
                    image.resize((56, round(56 * image.height / image.width))).save(file, "JPEG", quality=70)
                    archive.writestr(f"vehicle_data/{label}/{uuid.UUID(int=rng.getrandbits(128))}.jpg", file.getvalue())
            if number % 5 == 0:
                broken = b"<!DOCTYPE html><title>404</title>" if number % 2 else encode(random_image(number))[:500]
                archive.writestr(f"vehicle_data/{label}/{uuid.UUID(int=rng.getrandbits(128))}.jpg", broken)
    return path


def test_a_twin_of_the_kaggle_set_goes_from_archive_to_page(tmp_path):
    raw = get_data(from_path=str(twin(tmp_path / "archive.zip")), output=str(tmp_path / "raw"), quiet=True)
    assert list(class_folders(raw)) == DEMO_CLASSES and len(list_images(raw)) == sum(5 + i % 5 for i in range(20)) + 5 + 4
    page = explore(str(raw), str(tmp_path / "audit"), workers=1, quiet=True)
    assert "not an image" in page.read_text(encoding="utf-8")
    processed = preprocess(str(raw), str(tmp_path / "processed"), size=32, workers=1, quiet=True)
    rows = pd.read_csv(processed / "manifest.csv", keep_default_na=False)
    assert sum(reason.startswith(("not an image", "cut off")) for reason in rows["reason"]) == 4
    used = rows[rows["split"] != ""]
    assert sorted(set(used["class"])) == DEMO_CLASSES and (used.groupby("group")["split"].nunique() == 1).all()
    assert len(set(used["group"])) < len(used), "look-alikes are in one group"
    call = [sys.executable, "-m", "vehicle_nb.train", "--data", processed, "--output", tmp_path / "models", "--run_name", "run",
            "--epochs", 1, "--input_size", 32, "--batch_size", 32, "--num_threads", 1, "--quiet"]  # fmt: skip
    done = subprocess.run(list(map(str, call)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = evaluate(tmp_path / "models/run", processed, output=tmp_path / "report", quiet=True)
    assert report["images"] == (used["split"] == "test").sum()
    answer = Predictor(tmp_path / "models/run").predict(draw_vehicle("bus", 999, 64))
    assert sorted(label for label, _ in answer.top) == DEMO_CLASSES and 0 < sum(p for _, p in answer.top) <= 1.001
