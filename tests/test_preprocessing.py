"""From raw files to the processed set: splits without leaks, hostile files, the same bytes always, killed at any moment."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import forks
import numpy as np
import pandas as pd
import pytest
from hostile import USED, encode, make_hostile, random_image
from PIL import Image

from vehicle_nb.data import preprocess as preprocessing
from vehicle_nb.core import VehicleError
from vehicle_nb.files import file_lock
from vehicle_nb.data.explore import explore
from vehicle_nb.serving.image_input import load_image
from vehicle_nb.data.preprocess import letterbox, preprocess
from vehicle_nb.data.split import assign_splits, split_groups

SPLITS = ("train", "val", "test")


def tree(path: Path) -> dict[str, bytes]:
    "All files under `path` with their bytes."
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def make_raw(path: Path, classes=("bus", "car"), count: int = 10, size=(160, 120)) -> Path:
    "A small raw folder of good images, all different."
    for number, name in enumerate(classes):
        (path / name).mkdir(parents=True)
        for i in range(count):
            (path / name / f"{i}.jpg").write_bytes(encode(random_image(10_000 + 1000 * number + i, size)))
    return path


def manifest(dest: Path) -> pd.DataFrame:
    return pd.read_csv(dest / "manifest.csv", keep_default_na=False)


def command(*args, **kwargs) -> subprocess.CompletedProcess:
    "Run `python -m vehicle_nb.data.preprocess`."
    return forks.run("vehicle_nb.data.preprocess", *args, **kwargs)


def refused(result: subprocess.CompletedProcess, *words: str) -> None:
    "Exit code 2, one sentence with these words, no traceback."
    said = result.stderr.strip().splitlines()
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and said[-1].startswith("vehicle_preprocess: ")
    for word in words:
        assert word in said[-1]


# -- the split


@pytest.mark.parametrize("seed", range(20))
def test_splits_are_stratified_and_groups_stay_whole(seed):
    rng = random.Random(seed)
    classes, groups = [], []
    for name in ("a", "b", "c"):
        for group in range(rng.randint(20, 200)):
            size = rng.choice([1, 1, 1, 1, 2, 3, 8])
            classes += [name] * size
            groups += [f"{name}{group}"] * size
    val, test = rng.choice([(0.15, 0.15), (0.1, 0.2), (0.2, 0.1), (0.05, 0.3)])
    splits = assign_splits(classes, groups, val, test, seed)
    rows = pd.DataFrame({"class": classes, "group": groups, "split": splits})
    assert (rows.groupby("group")["split"].nunique() == 1).all()
    for _, mine in rows.groupby("class"):
        for name, share in (("train", 1 - val - test), ("val", val), ("test", test)):
            assert abs((mine["split"] == name).sum() - share * len(mine)) <= 1.5  # one image, and what rounding takes


def test_the_order_of_rows_does_not_matter_but_the_seed_does():
    classes = ["a"] * 60 + ["b"] * 40
    groups = [f"g{i // 2}" for i in range(100)]
    rows = list(zip(classes, groups, strict=True))
    splits = dict(zip(groups, assign_splits(classes, groups, seed=1), strict=True))
    mixed = random.Random(0).sample(rows, len(rows))
    again = assign_splits([c for c, _ in mixed], [g for _, g in mixed], seed=1)
    assert splits == dict(zip([g for _, g in mixed], again, strict=True))
    assert splits != dict(zip(groups, assign_splits(classes, groups, seed=2), strict=True))


def test_awkward_groups_come_as_close_as_they_can():
    def count(sizes, **kwargs):
        splits = split_groups({f"g{i}": size for i, size in enumerate(sizes)}, 0.15, 0.15, 42, **kwargs)
        got = Counter()
        for group, split in splits.items():
            got[split] += sizes[int(group[1:])]
        return tuple(got[name] for name in SPLITS)

    assert count([]) == (0, 0, 0)
    assert count([9]) == (9, 0, 0)  # learning comes first,
    assert count([1, 9]) == (9, 0, 1)  # then the exam
    assert count([1, 1, 98]) == (98, 1, 1)
    assert count([1, 1, 1, 97])[0] in (97, 98)
    assert count([10] * 3) == (10, 10, 10)
    assert count([5] * 20) == (70, 15, 15)
    assert count([7] * 10 + [15, 15]) == (70, 15, 15)  # only the two odd ones fit, wherever they stand
    assert count([2] * 50)[1] in (14, 16)
    assert count([500] + [1] * 500) == (700, 150, 150)
    assert count([900] + [1] * 100)[0] == 900  # the giant lies in train, and the rest is shared
    assert count([9, 1], in_train=90) == (0, 9, 1)  # those 90 lie in train already
    many = count([1] * 100_000)
    assert many == (70_000, 15_000, 15_000)


def test_a_group_of_two_classes_lies_in_one_split():
    classes = ["a"] * 20 + ["b"] * 20
    groups = [f"a{i}" for i in range(19)] + ["both"] + ["both"] + [f"b{i}" for i in range(19)]
    splits = assign_splits(classes, groups)
    assert splits[19] == splits[20] == "train"
    for start in (0, 20):
        assert Counter(splits[start : start + 20]) == {"train": 14, "val": 3, "test": 3}


# -- images


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (224, 224), (50, 40), (1, 5000), (5000, 1), (1, 1), (2000, 1999)])
def test_the_whole_image_in_the_middle_of_grey(size):
    img = Image.new("RGB", size, (200, 30, 30))
    got = np.asarray(letterbox(img)).astype(int)
    assert got.shape == (224, 224, 3)
    grey = (got == 128).all(-1)
    red = (np.abs(got - (200, 30, 30)) < 3).all(-1)
    assert (grey | red).all()
    height, width = red.any(1).sum(), red.any(0).sum()
    assert max(height, width) == 224 and red.sum() == height * width
    assert abs(min(height, width) - max(1, 224 * min(size) / max(size))) <= 1
    rows = np.flatnonzero(red.any(1))
    assert abs(rows[0] - (223 - rows[-1])) <= 1


# -- the whole stage


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    "A processed set made from hostile files: `(raw, dest, expected, what the command said, most memory in bytes)`."
    folder = tmp_path_factory.mktemp("hostile")
    raw = make_raw(folder / "raw")
    expected = make_hostile(raw / "bus")
    (raw / "stray.jpg").write_bytes(encode(random_image(500)))
    (raw / "car" / "same-1.jpg").write_bytes(encode(random_image(501)))
    (raw / "car" / "same-2.jpg").write_bytes(encode(random_image(501)))
    (raw / "car" / "both.jpg").write_bytes(encode(random_image(502)))
    (raw / "bus" / "both.jpg").write_bytes(encode(random_image(502)))
    expected["both.jpg"] = "same image under two classes"
    options = ["--output", folder / "processed", "--workers", "4"]
    process = subprocess.Popen(  # not forked: it would share its memory with others
        [sys.executable, "-m", "vehicle_nb.data.preprocess", raw, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    peak = [0]
    watch = threading.Thread(target=_watch_memory, args=(process, peak))
    watch.start()
    out, err = process.communicate(timeout=300)
    watch.join()
    assert process.returncode == 0, err
    return raw, folder / "processed", expected, out, peak[0]


def _watch_memory(process, peak: list[int]) -> None:
    "Note the most memory that a process and its children hold together (shared pages are counted in part)."
    while process.poll() is None:
        total = 0
        for pid in [process.pid, *_children(process.pid)]:
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
            except (OSError, StopIteration):
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []


def test_hostile_files_are_used_or_set_aside_with_the_reason(hostile):
    _, dest, expected, _, _ = hostile
    rows = manifest(dest).set_index("path")
    assert rows.index.is_unique
    for name, outcome in expected.items():
        row = rows.loc[f"bus/{name}"]
        if outcome == USED:
            assert row["reason"] == "" and row["split"] in SPLITS, (name, row["reason"])
            with Image.open(dest / row["split"] / "bus" / f"{row['id']}.jpg") as img:
                assert (img.size, img.mode, img.format) == ((224, 224), "RGB", "JPEG")
                img.load()
        else:
            assert row["reason"].startswith(outcome) and row["split"] == "", (name, row["reason"])
    assert rows.loc["stray.jpg", "reason"] == "outside the class folders"
    assert rows.loc["car/same-2.jpg", "reason"].startswith("exact duplicate")
    assert rows.loc["car/same-1.jpg", "reason"] == ""
    assert rows.loc["car/both.jpg", "reason"].startswith("same image under two classes")


def test_hostile_files_take_little_memory(hostile):
    assert 50e6 < hostile[4] < 1.5e9


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_grey_of_few_bits_in_files_of_16_keeps_its_light(bits, tmp_path, capsys):
    originals = {}
    for seed in range(12):
        name = f"{'healthy' if seed % 2 else 'ill'}/{seed}.png"
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        originals[name] = np.asarray(random_image(seed, (160, 160)).convert("L"))
        Image.fromarray(originals[name].astype(np.uint16) << (bits - 8)).save(tmp_path / "raw" / name)
    explore(tmp_path / "raw", tmp_path / "audit")
    assert f"    12  used, but scaled from {bits} bits\n" in capsys.readouterr().out
    dest = preprocess(tmp_path / "raw", tmp_path / "processed", size=160)
    assert f"\n      12  scaled from {bits} bits\n" in capsys.readouterr().out
    for row in manifest(dest).rename(columns={"class": "label"}).itertuples():
        got = np.asarray(Image.open(dest / row.split / row.label / f"{row.id}.jpg"), float)
        assert abs(got.mean() - originals[row.path].mean()) < 2 and abs(got.std() - originals[row.path].std()) < 2
        assert row.note == f"scaled from {bits} bits" and row.reason == ""
    predicted = np.asarray(load_image(tmp_path / "raw/ill/0.png", 160), float)  # as vehicle_predict and the page read it
    assert abs(predicted.mean() - originals["ill/0.png"].mean()) < 2


def test_large_images_are_not_made_of_small_ones(tmp_path):
    rings = np.hypot(*(np.indices((1600, 1600)) - 800.0))
    for seed in range(6):
        folder = tmp_path / "raw" / ("bus" if seed % 2 else "car")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(127 + 100 * np.sin(rings / (0.7 + seed / 50)))).save(folder / f"{seed}.jpg", quality=95)
    dest = preprocess(tmp_path / "raw", tmp_path / "processed", size=1024)
    rows = manifest(dest).rename(columns={"class": "label"})
    for row in rows[rows["split"] != ""].itertuples():
        got = np.asarray(Image.open(dest / row.split / row.label / f"{row.id}.jpg").convert("L"), float)
        whole = np.asarray(letterbox(load_image(tmp_path / "raw" / row.path), 1024).convert("L"), float)
        assert got.std() > 0.95 * whole.std()  # the rings were half lost when it was decoded for 224 pixels


def test_depths_that_differ_are_told(tmp_path, capsys):
    for seed in range(12):
        folder = tmp_path / "raw" / ("healthy" if seed % 2 else "ill")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(random_image(seed).convert("L")).astype(np.uint16) << (4 if seed else 1)).save(folder / f"{seed}.png")
    preprocess(tmp_path / "raw", tmp_path / "processed")
    assert "a dark image may look too bright" in capsys.readouterr().out


def test_the_summary_counts_what_happened(hostile):
    _, dest, _, out, _ = hostile
    rows = manifest(dest)
    used, aside = (rows["split"] != "").sum(), (rows["split"] == "").sum()
    assert f"{used} images of 2 classes are ready in {dest}" in out
    assert f"{aside} files were set aside" in out and "exact duplicate" in out
    assert "accelerate launch -m vehicle_nb.train" in out


def test_folder_manifest_and_config_agree(hostile):
    _, dest, _, _, _ = hostile
    rows, config = manifest(dest), json.loads((dest / "config.json").read_text())
    used = rows[rows["split"] != ""]
    files = {str(path.relative_to(dest)) for path in dest.rglob("*.jpg")}
    assert files == {f"{split}/{name}/{id_}.jpg" for split, name, id_ in zip(used["split"], used["class"], used["id"], strict=True)}
    assert config["classes"] == ["bus", "car"] and config["size"] == 224 and len(config["content_hash"]) == 64
    for split in SPLITS:
        for name in config["classes"]:
            assert config["counts"][split][name] == ((used["split"] == split) & (used["class"] == name)).sum()
    assert (used.groupby("group")["split"].nunique() == 1).all()
    leftovers = [path.name for path in dest.parent.iterdir() if path.name.startswith(".") and path.name.endswith(".work")]
    assert not leftovers


def test_near_duplicates_lie_on_one_side(tmp_path):
    raw = make_raw(tmp_path / "raw", count=40, size=(320, 240))
    for i in range(40):  # each bus has a twin: smaller, re-encoded
        with Image.open(raw / "bus" / f"{i}.jpg") as img:
            img.resize((200, 150), Image.Resampling.LANCZOS).save(raw / "bus" / f"twin-{i}.jpg", quality=60)
    rows = manifest(preprocess(raw, tmp_path / "processed", quiet=True)).set_index("path")
    assert all(rows.loc[f"bus/{i}.jpg", "split"] == rows.loc[f"bus/twin-{i}.jpg", "split"] for i in range(40))
    counts = Counter(rows["split"][rows["class"] == "bus"])
    assert counts == {"train": 56, "val": 12, "test": 12}


def test_the_same_bytes_with_any_workers_order_and_place(tmp_path):
    raw = make_raw(tmp_path / "raw", count=30)
    (raw / "bus" / "copy of 3.jpg").write_bytes((raw / "bus" / "3.jpg").read_bytes())
    other = tmp_path / "elsewhere" / "wrapped"
    for file in sorted(raw.rglob("*.jpg"), reverse=True):
        (other / file.relative_to(raw)).parent.mkdir(parents=True, exist_ok=True)
        (other / file.relative_to(raw)).write_bytes(file.read_bytes())
    one = preprocess(raw, tmp_path / "one", workers=1, augment=1, quiet=True)
    eight = preprocess(other.parent, tmp_path / "eight", workers=8, augment=1, quiet=True)
    assert tree(one) == tree(eight)
    seven = preprocess(raw, tmp_path / "seven", workers=2, seed=7, quiet=True)
    assert set(tree(seven)) != set(tree(one))


def test_the_listing_order_does_not_matter(tmp_path, monkeypatch):
    raw = make_raw(tmp_path / "raw", count=12)
    first = preprocess(raw, tmp_path / "first", workers=1, quiet=True)
    real = os.scandir

    class Backwards:
        def __init__(self, path):
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __iter__(self):
            return iter(self.entries)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def close(self):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    second = preprocess(raw, tmp_path / "second", workers=1, quiet=True)
    monkeypatch.undo()
    assert tree(first) == tree(second)


def test_augmented_copies_lie_only_in_train(tmp_path):
    raw = make_raw(tmp_path / "raw", count=20)
    plain = preprocess(raw, tmp_path / "plain", quiet=True)
    dest = preprocess(raw, tmp_path / "augmented", augment=2, quiet=True)
    extra = set(tree(dest)) - set(tree(plain))
    assert len(extra) == 2 * 28 and all(name.startswith("train/") and "_aug" in name for name in extra)
    rows, config = manifest(dest), json.loads((dest / "config.json").read_text())
    copies = rows[rows["source"] != ""]
    assert len(copies) == 56 and set(copies["split"]) == {"train"}
    assert set(copies["source"]) == set(rows["id"][(rows["split"] == "train") & (rows["source"] == "")])
    assert config["counts"]["train"] == {"bus": 42, "car": 42} and config["counts"]["test"] == {"bus": 3, "car": 3}
    for row in copies.head(4).itertuples():
        folder = dest / "train" / rows.at[row.Index, "class"]
        a, b = (np.asarray(Image.open(folder / f"{name}.jpg"), dtype=int) for name in (row.id, row.source))
        assert a.shape == b.shape == (224, 224, 3) and np.abs(a - b).mean() > 1
    hashes = {json.loads((path / "config.json").read_text())["content_hash"] for path in (plain, dest)}
    assert len(hashes) == 2


def test_decisions_are_obeyed(tmp_path):
    raw = make_raw(tmp_path / "raw")
    (tmp_path / "decisions.csv").write_text("path,decision,class\nbus/1.jpg,drop,\nbus/2.jpg,move,car\n")
    dest = preprocess(raw, tmp_path / "processed", decisions=tmp_path / "decisions.csv", quiet=True)
    rows = manifest(dest).set_index("path")
    assert rows.loc["bus/1.jpg", "split"] == "" and "hand" in rows.loc["bus/1.jpg", "reason"]
    assert rows.loc["bus/2.jpg", "class"] == "car"
    moved = rows.loc["bus/2.jpg"]
    assert (dest / moved["split"] / "car" / f"{moved['id']}.jpg").exists()


def test_decisions_that_do_nothing_are_told(tmp_path):
    raw, decisions = make_raw(tmp_path / "raw"), tmp_path / "decisions.csv"
    decisions.write_text("path,decision,class\nraw/bus/1.jpg,drop,\n")  # a word too many
    done = command(raw, "--output", tmp_path / "processed", "--decisions", decisions)
    assert done.returncode == 0 and "1 decisions are ignored" in done.stdout and "raw/bus/1.jpg" in done.stdout
    refused(command(raw, "--output", tmp_path / "processed", "--decisions", tmp_path / "typo.csv"), "typo.csv")


# -- mistakes


def test_mistakes_are_sentences(tmp_path):
    raw, dest = make_raw(tmp_path / "raw"), tmp_path / "out" / "processed"
    refused(command(tmp_path / "nothing", "--output", dest), "nothing", "vehicle_data --demo")
    refused(command(make_raw(tmp_path / "one", ("bus",)), "--output", dest), "only one class")
    refused(command(raw, "--output", dest, "--val", 0.6, "--test", 0.5), "--val and --test")
    refused(command(raw, "--output", dest, "--val", "nan"), "--val")
    refused(command(raw, "--output", dest, "--size", 5000), "--size")
    refused(command(raw, "--output", dest, "--augment", -1), "--augment")
    refused(command(raw, "--output", raw / "processed"), "must not contain each other")
    (raw / "boat").mkdir()
    refused(command(raw, "--output", dest), "boat", "empty")
    (raw / "boat" / "1.jpg").write_bytes(b"<html>")
    refused(command(raw, "--output", dest), "boat", "HTML page")
    assert not dest.exists()


def test_what_is_not_ours_is_not_replaced(tmp_path):
    raw, mine = make_raw(tmp_path / "raw"), tmp_path / "holiday"
    mine.mkdir()
    (mine / "beach.jpg").write_bytes(b"precious")
    refused(command(raw, "--output", mine), "that this command did not make", "beach.jpg")
    (tmp_path / "file").write_text("precious")
    refused(command(raw, "--output", tmp_path / "file"), "is a file")
    refused(command(raw, "--output", tmp_path / "file" / "processed"), "Cannot write")
    assert tree(mine) == {"beach.jpg": b"precious"} and (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_to_write(tmp_path):
    raw = make_raw(tmp_path / "raw")
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(command(raw, "--output", tmp_path / "locked" / "processed"), "Cannot write")


def test_few_images_are_said_to_be_few(tmp_path):
    raw = make_raw(tmp_path / "raw")
    (raw / "boat").mkdir()
    for i in range(2):
        (raw / "boat" / f"{i}.jpg").write_bytes(encode(random_image(600 + i)))
    done = command(raw, "--output", tmp_path / "processed")
    assert done.returncode == 0 and "boat has too few different images: it is missing in val" in done.stdout


def test_too_few_images_for_three_splits_end_here_and_not_in_training(tmp_path):
    raw = tmp_path / "raw"
    for k, name in enumerate(("bus", "car")):
        (raw / name).mkdir(parents=True)
        for i in range(2):
            (raw / name / f"{i}.jpg").write_bytes(encode(random_image(700 + 10 * k + i)))
    refused(command(raw, "--output", tmp_path / "processed"), "too few")
    assert not (tmp_path / "processed").exists()


# -- interrupted


def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    raw = make_raw(tmp_path / "raw", count=80, size=(640, 480))
    args = (raw, "--workers", 2, "--augment", 1, "--quiet")
    start = time.time()
    assert command(*args, "--output", tmp_path / "calm").returncode == 0
    whole = time.time() - start
    calm, dest, work = tree(tmp_path / "calm"), tmp_path / "processed", tmp_path / ".processed.work"
    rng, kills, finished = random.Random(0), 0, set()
    for _ in range(6):
        process = forks.Forked("vehicle_nb.data.preprocess", *args, "--output", dest)
        try:
            process.wait(rng.uniform(0.2, 0.9) * whole)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        assert not dest.exists() or tree(dest) == calm  # whole or not at all
        done = {(path.name, path.stat().st_ino) for path in work.glob("images/*.jpg")}
        # Killed between the rename and the removal of what is left, it has moved the images to where they belong.
        assert len(done) >= len(finished) or dest.exists() or not work.exists()
        finished = done
        time.sleep(0.3)
    assert kills
    done = command(*args, "--output", dest)
    assert done.returncode == 0, done.stderr
    assert tree(dest) == calm and not work.exists()


def test_finished_work_is_not_done_twice(tmp_path, monkeypatch):
    raw = make_raw(tmp_path / "raw", count=40)
    calm = tree(preprocess(raw, tmp_path / "calm", workers=1, quiet=True))

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preprocessing, "_place", stop)  # all images are made, nothing is in its place yet
        with pytest.raises(KeyboardInterrupt):
            preprocess(raw, tmp_path / "processed", workers=1, quiet=True)
    assert not (tmp_path / "processed").exists()
    with monkeypatch.context() as patch:
        patch.setattr(preprocessing, "letterbox", stop)  # so that work done twice would be noticed
        preprocess(raw, tmp_path / "processed", workers=1, quiet=True)
    assert tree(tmp_path / "processed") == calm


def test_other_settings_do_not_take_over_old_work(tmp_path, monkeypatch):
    raw = make_raw(tmp_path / "raw")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preprocessing, "_place", stop)
        with pytest.raises(KeyboardInterrupt):
            preprocess(raw, tmp_path / "processed", quiet=True)
    dest = preprocess(raw, tmp_path / "processed", size=64, quiet=True)
    assert {Image.open(path).size for path in dest.rglob("*.jpg")} == {(64, 64)}


def test_killed_between_the_two_renames(tmp_path, monkeypatch):
    raw = make_raw(tmp_path / "raw")
    dest = preprocess(raw, tmp_path / "processed", quiet=True)
    before, real = tree(dest), os.replace

    def killed(source, target):
        if Path(source).name == "new":
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(preprocessing.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            preprocess(raw, dest, seed=1, quiet=True)
    if not dest.exists():  # as after kill -9: the next run finds the old set, even if it fails itself
        (raw / "boat").mkdir()
        with pytest.raises(VehicleError, match="boat"):
            preprocess(raw, dest, quiet=True)
    assert tree(dest) == before


def test_disk_full_leaves_the_old_set(tmp_path, monkeypatch):
    raw = make_raw(tmp_path / "raw")
    dest = preprocess(raw, tmp_path / "processed", quiet=True)
    before = tree(dest)
    (raw / "bus" / "new.jpg").write_bytes(encode(random_image(700)))

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(preprocessing, "save_image", full)
        with pytest.raises(VehicleError, match="disk is full"):
            preprocess(raw, dest, quiet=True)
    assert tree(dest) == before
    preprocess(raw, dest, quiet=True)
    assert tree(dest) != before


def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        made = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("needs the right to mount a small file system")
    try:
        raw = make_raw(tmp_path / "raw", count=8)
        dest = preprocess(raw, disk / "processed", quiet=True)
        before = tree(dest)
        more = make_raw(tmp_path / "more", count=60, size=(400, 300))
        for workers in (1, 2):
            refused(command(more, "--output", dest, "--workers", workers, "--quiet"), "disk is full")
            assert tree(dest) == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_runs_at_once(tmp_path):
    raw = make_raw(tmp_path / "raw")
    with file_lock(tmp_path / "processed"):
        refused(command(raw, "--output", tmp_path / "processed"), "Another process", "processed")
    assert command(raw, "--output", tmp_path / "processed").returncode == 0
