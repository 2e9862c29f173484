"""The audit on planted faults, hostile names, kills in its middle, and its page in a real browser."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import forks
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hostile import random_image
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from scipy.fft import dctn

from vehicle_nb import core
from vehicle_nb.data import duplicates
from vehicle_nb.evaluation.metrics import plot_confusion
from vehicle_nb.data.audit import JOURNAL, apply_decisions, audit, read_decisions
from vehicle_nb.data.audit_report import plot_counts, report_html, write_report
from vehicle_nb.core import path_text, VehicleError
from vehicle_nb.data.sources import class_folders
from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle
from vehicle_nb.data.duplicates import THUMB_SIZE, UnionFind, align, close_pairs, hash_windows, near_duplicates, thumbnail, verify_pair
from vehicle_nb.data.explore import explore
from vehicle_nb.data.label_issues import find_label_issues
from vehicle_nb.features import load_backbone


def fill(root: Path, count: int = 8, classes=("bus", "car")) -> Path:
    "Folders of images that have nothing to do with each other."
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for n in range(count):
            random_image(1000 * k + n).save(root / name / f"{n:03d}.jpg")
    return root


def reasons(found) -> dict[str, str]:
    return {path_text(path): reason for path, reason in zip(found.table["path"], found.table["reason"], strict=True)}


def groups_of(found) -> set[frozenset]:
    return {frozenset(members["path"]) for members in found.groups()}


# -- near duplicates


@pytest.fixture(scope="module")
def drawings() -> list[Image.Image]:
    "Demo images: outdoors, so with more of a background than a silhouette."
    return [draw_vehicle(kind, seed, 200) for kind in DEMO_CLASSES[::2] for seed in range(3)]


def rows_of(images) -> np.ndarray:
    return np.stack([thumbnail(img) for img in images])


def saved(img: Image.Image, quality: int) -> Image.Image:
    import io

    out = io.BytesIO()
    img.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def cut_off(img: Image.Image, left=0.0, top=0.0, right=0.0, bottom=0.0) -> Image.Image:
    w, h = img.size
    return img.crop((round(left * w), round(top * h), round(w - right * w), round(h - bottom * h)))


def marked(img: Image.Image) -> Image.Image:
    img = img.copy()
    ImageDraw.Draw(img).text((12, 12), "photos.example", fill="white", font_size=14)
    return img


CHANGES = {
    "saved at quality 35": lambda img: saved(img, 35),
    "half the size": lambda img: img.resize((img.width // 2, img.height // 2)),
    "another shape": lambda img: img.resize((img.width, img.height * 3 // 4)),
    "darker": lambda img: ImageEnhance.Brightness(img).enhance(0.85),
    "brighter": lambda img: ImageEnhance.Brightness(img).enhance(1.15),
    "cut off all around": lambda img: cut_off(img, 0.05, 0.05, 0.05, 0.05),
    "cut off left": lambda img: cut_off(img, left=0.05),
    "cut off at a corner": lambda img: cut_off(img, right=0.04, bottom=0.04),
    "watermark": marked,
    "mirrored": ImageOps.mirror,
    "mirrored and saved": lambda img: saved(ImageOps.mirror(img), 60),
    "grey": lambda img: img.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_nothing_else(drawings, change):
    "At least 29 of 30 copies come to their original, and no two images of different origin come together."
    rows = rows_of([*drawings, *map(CHANGES[change], drawings)])
    group, links = near_duplicates(rows)
    n = len(drawings)
    assert (group[:n] == np.arange(n)).all(), "two different drawings were taken for one"
    assert (group[n:] == np.arange(n)).sum() >= n - 1
    assert set(group[n:]) <= set(range(2 * n))
    assert (links["mirrored"] == change.startswith("mirrored")).all()


def test_bright_backgrounds_and_plain_images_do_not_collapse():
    "Shop photos on white share nothing but the white; plain images have a hash of noise."
    rng, shots = random.Random(0), []
    for n in range(40):
        img = Image.new("RGB", (200, 150), "white")
        draw = ImageDraw.Draw(img)
        for _ in range(3):
            x, y = rng.randint(40, 120), rng.randint(30, 90)
            draw.ellipse((x, y, x + rng.randint(15, 50), y + rng.randint(15, 40)), outline="black", width=rng.randint(2, 6))
        shots.append(img)
        shade = np.random.default_rng(n).integers(-1, 2, (150, 200, 3)) + 255 - n // 4
        shots.append(Image.fromarray(np.clip(shade, 0, 255).astype(np.uint8)))
    group, _ = near_duplicates(rows_of(shots))
    assert len(set(group)) == len(shots)


def test_the_same_image_in_other_paint_is_another_image():
    img = draw_vehicle("bus", 5, 200)
    red, green, blue = img.split()
    rows = rows_of([img, Image.merge("RGB", (blue, red, green))])
    assert len(set(near_duplicates(rows)[0])) == 2


def test_thousands_of_one_placeholder_are_cheap_and_are_one_group():
    rows = np.repeat(rows_of([draw_vehicle("van", 1, 200)]), 3000, axis=0)
    rows[:, :40] = np.random.default_rng(0).integers(100, 140, (3000, 40))  # each a bit different at the edge
    start = time.perf_counter()
    group, links = near_duplicates(rows)
    assert set(group) == {0} and len(links) == 2999
    assert time.perf_counter() - start < 120  # comparing all pairs would take hours


def test_the_answer_does_not_depend_on_the_order(drawings):
    rows = rows_of([*drawings[:10], *(ImageOps.mirror(img) for img in drawings[:10])])
    order = np.random.default_rng(1).permutation(len(rows))
    plain, _ = near_duplicates(rows)
    mixed, _ = near_duplicates(rows[order])
    pairs = {frozenset((i, j)) for i in range(20) for j in range(i) if plain[i] == plain[j]}
    assert pairs == {frozenset((int(order[i]), int(order[j]))) for i in range(20) for j in range(i) if mixed[i] == mixed[j]}


def test_none_and_one():
    assert len(near_duplicates(np.zeros((0, 2816), np.uint8))[0]) == 0
    assert near_duplicates(rows_of([random_image(1)]))[0].tolist() == [0]


def textbook_hash(img: Image.Image) -> int:
    "The perceptual hash as everybody defines it: 32×32 grey, cosine transform, 8×8 lowest frequencies above their median."
    waves = dctn(np.asarray(img.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float))[:8, :8]
    return int("".join(str(int(bit)) for bit in (waves > np.median(waves)).ravel()), 2)


def test_hashes_are_the_textbook_ones_but_for_a_few_bits(drawings):
    "The windows are cropped from 48×48 pixels, the textbook shrinks the image itself."
    mine = hash_windows(rows_of(drawings)[:, : THUMB_SIZE * THUMB_SIZE].reshape(-1, THUMB_SIZE, THUMB_SIZE))
    theirs = [textbook_hash(img) for img in drawings]
    gaps = [(int(a) ^ b).bit_count() for a, b in zip(mine, theirs, strict=True)]
    assert max(gaps) <= 6 and np.mean(gaps) < 2


@pytest.mark.parametrize("radius", [0, 3, 8, 11])
def test_the_search_finds_what_comparing_all_with_all_finds(radius):
    rng = np.random.default_rng(radius)
    index = rng.integers(0, 2**64, 700, dtype=np.uint64)
    flips = [sum(1 << int(bit) for bit in rng.choice(64, rng.integers(0, 14), replace=False)) for _ in range(300)]
    queries = np.concatenate([index[:300] ^ np.array(flips, np.uint64), index[:5], index[:5]])
    found = [(int(a), int(b)) for i, j in close_pairs(queries, index, radius, block=64) for a, b in zip(i, j, strict=True)]
    gaps = np.array([[(int(a) ^ int(b)).bit_count() for b in index] for a in queries])
    assert len(found) == len(set(found))
    assert set(found) == {(int(i), int(j)) for i, j in np.argwhere(gaps <= radius)}


def test_bit_counts_agree_with_and_without_numpy_2(monkeypatch):
    values = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    expected = [int(value).bit_count() for value in values]
    assert duplicates.bit_count(values).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert duplicates.bit_count(values).tolist() == expected


def test_groups_join_to_the_smallest():
    rng, groups, edges = random.Random(0), UnionFind(200), []
    for _ in range(120):
        edges.append((rng.randrange(200), rng.randrange(200)))
        groups.union(*edges[-1])
    label = list(range(200))
    for _ in range(200):  # the plain way: hand the smaller number on until nothing changes
        for i, j in edges:
            label[i] = label[j] = min(label[i], label[j])
    assert [groups.find(i) for i in range(200)] == label


# -- the audit


@pytest.mark.filterwarnings("error")
def test_facts_reasons_and_groups(tmp_path):
    root = fill(tmp_path / "raw")
    (root / "bus/again.jpg").write_bytes((root / "bus/001.jpg").read_bytes())
    random_image(2).resize((300, 200)).save(root / "bus/bigger.webp")
    random_image(1003).save(root / "bus/elsewhere.png")  # a car
    (root / "car/page.jpg").write_text("<html>404</html>")
    (root / "car/.hidden.jpg").write_bytes(b"")
    found = audit(root, workers=1, quiet=True)
    why = {path: reason for path, reason in reasons(found).items() if reason}
    assert why.keys() == {"bus/again.jpg", "bus/elsewhere.png", "car/003.jpg", "car/page.jpg", "car/.hidden.jpg"}
    assert why["bus/again.jpg"] == "exact duplicate: the same bytes as bus/001.jpg"
    assert why["bus/elsewhere.png"] == "same image under two classes: bus, car (see car/003.jpg)"
    assert "HTML" in why["car/page.jpg"]
    assert groups_of(found) == {
        frozenset({"bus/001.jpg", "bus/again.jpg"}), frozenset({"bus/002.jpg", "bus/bigger.webp"}),
        frozenset({"bus/elsewhere.png", "car/003.jpg"}),
    }  # fmt: skip
    bigger = found.table.set_index("path").loc["bus/bigger.webp"]
    assert (bigger["width"], bigger["height"], bigger["format"]) == (300, 200, "WEBP")
    assert bigger["bytes"] == (root / "bus/bigger.webp").stat().st_size
    assert len(bigger["sha256"]) == 64


def test_same_table_whatever_workers_and_order(tmp_path):
    first = fill(tmp_path / "a", 40)
    second = tmp_path / "b"
    for path in sorted(first.rglob("*.jpg"), reverse=True):
        target = second / path.relative_to(first)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    tables = [audit(root, workers, True).table for root, workers in ((first, 1), (first, 4), (second, 2))]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path):
    root, journal = fill(tmp_path / "raw", 60), tmp_path / "work" / "journal.jsonl"
    journal.parent.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from vehicle_nb.data.audit import audit\n"
        "audit(sys.argv[1], 1, True, each=lambda sha, img: time.sleep(0.02), journal=Path(sys.argv[2]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, root, journal])
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 20):
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = journal.read_bytes().count(b"\n") - 1
    with open(journal, "ab") as file:
        file.write(b'["bus/059.jpg", "12')
    seen = []
    resumed = audit(root, 1, True, each=lambda sha, img: seen.append(sha), journal=journal)
    assert len(seen) == 120 - done
    pd.testing.assert_frame_equal(resumed.table, audit(root, 1, True).table)
    seen.clear()
    random_image(7777).save(root / "bus/000.jpg")  # another image under the old name
    (root / "bus/001.jpg").unlink()
    changed = audit(root, 1, True, each=lambda sha, img: seen.append(sha), journal=journal)
    assert len(seen) == 1
    pd.testing.assert_frame_equal(changed.table, audit(root, 1, True).table)


@pytest.mark.parametrize("junk", [b"", b"\0" * 100, b"{}\n[1]\n", b"null\n", b'{"audit": 0}\n["bus/000.jpg", "1", {}, ""]\n'])
def test_a_journal_of_junk_is_no_journal(tmp_path, junk):
    root, journal = fill(tmp_path / "raw", 3), tmp_path / "journal.jsonl"
    journal.write_bytes(junk)
    expected = audit(root, 1, True).table
    pd.testing.assert_frame_equal(audit(root, 1, True, journal=journal).table, expected)
    head, *records = journal.read_bytes().splitlines()
    assert json.loads(head) == JOURNAL and len(records) == 6
    journal.write_bytes(b"\n".join([head, *records[:2], b"broken", *records[2:]]) + b"\n")
    pd.testing.assert_frame_equal(audit(root, 1, True, journal=journal).table, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_of_any_bytes(tmp_path):
    root = fill(tmp_path / "raw", 4)
    names = [b"caf\xe9.jpg", "شاحنة 🚚.jpg".encode(), b"two\nlines.jpg", b"<script>alert(1)</script>.jpg", b'"quoted", $(x).jpg']
    for n, name in enumerate(names):
        random_image(50 + n // 2).save(os.fsencode(root / "bus") + b"/" + name.replace(b"/", b"-"), "JPEG")
    found = audit(root, 1, True)
    page = write_report(found, tmp_path / "audit")
    with open(tmp_path / "audit/files.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"bus/caf\\xe9.jpg", "bus/two\nlines.jpg", "bus/شاحنة 🚚.jpg"} <= {row["path"] for row in rows}
    assert "<script>alert" not in page.read_text(encoding="utf-8")
    decisions = tmp_path / "decisions.csv"
    with open(decisions, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "decision", "class"], *([row["path"], "drop", ""] for row in rows)])
    assert not len(audit(root, 1, True, decisions=decisions).usable)


# -- decisions


def judge(rows: list[tuple], decisions: dict | None = None) -> list[str]:
    "Reasons for rows of (path, class, sha256, group)."
    table = pd.DataFrame(rows, columns=["path", "folder", "sha256", "group"]).assign(problem="")
    return [reason.split(":")[0] for reason in apply_decisions(table, decisions)["reason"]]


COPY, CLASH = "exact duplicate", "same image under two classes"
TWINS = [("a/1", "a", "x", "g"), ("a/2", "a", "x", "g"), ("a/3", "a", "y", "g")]
RIVALS = [("a/1", "a", "x", "g"), ("a/2", "a", "y", "g"), ("b/1", "b", "x", "g"), ("c/1", "c", "z", "h")]


@pytest.mark.parametrize(
    ("rows", "decisions", "expected"),
    [
        (TWINS, {}, ["", COPY, ""]),
        (TWINS, {"a/2": ("keep", "")}, [COPY, "", ""]),  # the one that was looked at stays
        (TWINS, {"a/1": ("drop", "")}, ["dropped by hand", "", ""]),
        (RIVALS, {}, [CLASH, CLASH, CLASH, ""]),
        (RIVALS, {"b/1": ("drop", "")}, ["", "", "dropped by hand", ""]),
        (RIVALS, {"b/1": ("keep", "")}, [CLASH, CLASH, "", ""]),
        (RIVALS, {"a/2": ("keep", "")}, ["", "", CLASH, ""]),
        (RIVALS, {"b/1": ("move", "a")}, [COPY, "", "", ""]),
        (RIVALS, {"a/1": ("keep", ""), "b/1": ("keep", "")}, ["", CLASH, "", ""]),
        (RIVALS, {"gone": ("drop", "")}, [CLASH, CLASH, CLASH, ""]),
    ],
)
def test_decisions(rows, decisions, expected):
    assert judge(rows, decisions) == expected
    order = list(range(len(rows)))[::-1]
    if not decisions:  # which of two copies stays depends on their order, the rest must not
        assert sorted(judge([rows[i] for i in order])) == sorted(expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,decision,class\nbus/1.jpg,delete,\n", "line 2: the decision for bus/1.jpg must be"),
        ("path,decision,class\nbus/1.jpg,keep,\nbus/2.jpg,move,\n", "line 3: bus/2.jpg is to be moved"),
        ("path,decision,class\nbus/2.jpg,move,tram\n", "'tram', which is not a class folder"),
        ("path,decision,class\n,drop,\n", "the column path is empty"),
        ("name,verdict\nbus/1.jpg,drop\n", "columns path,decision,class"),
        ("", "columns path,decision,class"),
        ("path,decision,class\nbus/1.jpg,drop,\nbus/1.jpg,keep,\n", "two different decisions"),
        (b"\xff\xfe\0\0\x80", "cannot be read"),
    ],
)
def test_wrong_decisions_are_refused(tmp_path, text, said):
    path = tmp_path / "decisions.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(VehicleError, match=said):
        read_decisions(path, classes=["bus", "car"])


def test_decisions_as_a_spreadsheet_saves_them(tmp_path):
    path = tmp_path / "decisions.csv"
    path.write_bytes("\ufeffpath,decision,class\r\n\"bus/a, b.jpg\",Keep,\r\nbus/2.jpg,,\r\nbus/3.jpg,MOVE,car\r\n".encode())
    assert read_decisions(path, ["bus", "car"]) == {"bus/a, b.jpg": ("keep", ""), "bus/3.jpg": ("move", "car")}
    for separator in ";", "\t":  # where the comma is the decimal point
        path.write_text(separator.join(["Path", "Decision", "Class"]) + "\nbus/a, b.jpg" + separator + "drop" + separator + "\n")
        assert read_decisions(path, ["bus", "car"]) == {"bus/a, b.jpg": ("drop", "")}
    assert read_decisions(tmp_path / "none.csv") == {}


# -- wrong labels


def cloud(seed: int, wrong: int = 12):
    "Features of four classes in 40 dimensions, some labels changed: a table, features, rows of the wrong ones."
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(4), 100)
    features = rng.normal(0, 1, (4, 40))[truth] + rng.normal(0, 0.9, (400, 40))
    label, bad = truth.copy(), rng.choice(400, wrong, replace=False)
    label[bad] = (truth[bad] + rng.integers(1, 4, wrong)) % 4
    paths = [f"{n:03d}" for n in range(400)]
    table = pd.DataFrame({"path": paths, "class": [f"c{k}" for k in label], "group": paths})
    return table, features, bad, truth


@pytest.mark.parametrize("seed", range(3))
def test_suspects_are_found_and_told_what_they_look_like(seed):
    table, features, bad, truth = cloud(seed)
    suspects = find_label_issues(table, features)
    first = suspects[:24]
    assert len(set(first.index) & set(bad)) >= 11
    right = [suspects.at[n, "predicted_label"] == f"c{truth[n]}" for n in bad]
    assert sum(right) >= 11
    assert suspects["label_quality"].between(0, 1).all() and suspects["label_quality"].is_monotonic_increasing
    pd.testing.assert_frame_equal(suspects, find_label_issues(table, features))


def test_copies_of_a_wrong_label_are_no_evidence_for_it():
    table, features, bad, _ = cloud(0, wrong=1)
    n = int(bad[0])
    copies = pd.concat([table, *[table.loc[[n]]] * 15], ignore_index=True)
    suspects = find_label_issues(copies, np.concatenate([features, *[features[[n]]] * 15]))
    assert set(suspects["path"][:16]) == {table.at[n, "path"]}


def test_a_tiny_class_is_not_judged():
    table, features, _, _ = cloud(1, wrong=2)
    table.loc[:2, "class"] = "rare"
    suspects = find_label_issues(table, features)
    assert (suspects.loc[[0, 1, 2], "label_quality"] == 1).all()


def test_weights_are_read_by_their_name_and_refused_when_they_do_not_fit(tmp_path):
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    torch.manual_seed(0)
    model = models.squeezenet1_1(weights=None).eval()
    path = tmp_path / "squeezenet1_1-mine.safetensors"
    save_file(model.state_dict(), path)
    xb = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        got = load_backbone(path)(xb)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        expected = model.features(((xb + 1) / 2 - mean[:, None, None]) / std[:, None, None]).mean((2, 3))
    assert torch.allclose(got, expected, atol=1e-5)
    body = {name: value for name, value in model.state_dict().items() if name.startswith("features")}
    save_file(body, tmp_path / "squeezenet1_1-body.safetensors")
    assert torch.allclose(load_backbone(tmp_path / "squeezenet1_1-body.safetensors")(xb), expected, atol=1e-4)
    wrong = tmp_path / "mobilenet_v2-wrong.safetensors"
    save_file(body, wrong)
    for weights, said in ((wrong, "does not fit this architecture"), (tmp_path / "resnet18.pth", "There is no weights file")):
        with pytest.raises(VehicleError, match=said):
            load_backbone(weights)


class Bomb:
    def __reduce__(self):
        return os.system, ("echo you should never read this",)


def test_weights_that_want_to_run_code_are_refused(tmp_path):
    import pickle

    path = tmp_path / "resnet18-evil.pth"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(VehicleError, match="is not a weights file"):
        load_backbone(path)


# -- the report and the command


def explore_command(*args) -> subprocess.CompletedProcess:
    return forks.run("vehicle_nb.data.explore", *args)


def test_the_command_writes_the_same_report_twice_and_obeys_decisions(tmp_path):
    root, dest = fill(tmp_path / "raw", 8), tmp_path / "audit"
    random_image(1003).save(root / "bus/elsewhere.png")
    first = explore_command(root, "--output", dest)
    assert first.returncode == 0, first.stderr
    assert "Wrong labels were not searched" in first.stdout and "--weights" in first.stdout
    names = ["classes.csv", "duplicates.csv", "files.csv", "index.html"]
    assert sorted(p.name for p in dest.iterdir() if not p.name.startswith(".")) == names
    before = {name: (dest / name).read_bytes() for name in names}
    assert explore_command(root, "--output", dest, "--workers", 1, "--weights", "none").returncode == 0
    assert {name: (dest / name).read_bytes() for name in names if name != "index.html"} == {
        name: data for name, data in before.items() if name != "index.html"
    }
    (dest / "decisions.csv").write_text("path,decision,class\nbus/elsewhere.png,drop,\n")
    assert explore_command(root, "--output", dest).returncode == 0
    table = pd.read_csv(dest / "files.csv", keep_default_na=False).set_index("path")
    assert table.at["bus/elsewhere.png", "reason"] == "dropped by hand" and table.at["car/003.jpg", "reason"] == ""


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["raw", "--weights", "raw/bus/000.jpg"], "which network it is for"),
        (["raw", "--weights", "mine.pth"], "There is no weights file"),
        (["raw", "--output", "raw"], "must not contain each other"),
        (["raw", "--output", "/dev/null/audit"], "Cannot write"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "raw", 2)
    done = explore_command(*args)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".")) in (["raw"], ["data", "raw"])


def test_a_folder_without_any_image(tmp_path):
    for name in ("bus", "car"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "notes.txt").write_text("nothing")
    page = explore(tmp_path / "raw", tmp_path / "audit", quiet=True)
    assert "There is no image to plot" in page.read_text(encoding="utf-8")


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def test_a_person_decides_in_a_browser(tmp_path):
    "Click through the page; what it saves is what preprocessing reads."
    import shutil

    sync_api = pytest.importorskip("playwright.sync_api")
    browser = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if not browser:
        pytest.skip("no Chromium on this machine")
    root = fill(tmp_path / "raw", 8)
    odd = 'odd, "name".png'
    random_image(1003).save(root / "bus" / odd)
    found = audit(root, 1, True)
    order = found.usable[["path", "class"]].assign(predicted_label="car", label_quality=0.1)
    page = write_report(found, tmp_path / "audit", order, decisions={"bus/gone.jpg": ("drop", "")})
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=FLAGS)
        tab = chromium.new_page()
        problems = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        tab.goto(page.as_uri())
        assert tab.locator(".card img").evaluate_all("images => images.every(i => i.naturalWidth > 20)")
        tab.locator(f".card[data-path='bus/{odd}']").get_by_text("move").click()
        tab.locator(".card[data-path='bus/000.jpg']").get_by_text("drop").click()
        tab.locator(".card[data-path='car/003.jpg']").first.get_by_text("keep").click()
        assert tab.locator("#count").inner_text() == "4 decisions"
        with tab.expect_download() as download:
            tab.locator("#save").click()
        download.value.save_as(tmp_path / "audit" / "decisions.csv")
        chromium.close()
    assert not problems
    assert read_decisions(tmp_path / "audit/decisions.csv", list(class_folders(root))) == {
        "bus/gone.jpg": ("drop", ""), f"bus/{odd}": ("move", "car"), "bus/000.jpg": ("drop", ""), "car/003.jpg": ("keep", ""),
    }  # fmt: skip


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    text = report_html(audit(fill(tmp_path / "raw", 3), 1, True))
    assert "data:image" in text
    for word in ('src="http', 'href="http', "@import", "<link", "src=\"/"):
        assert word not in text


def test_alignment_finds_the_window():
    img = draw_vehicle("truck", 3, 300)
    box = (0.06, 0.02, 0.97, 0.95)
    cropped = img.crop([round(s * side) for s, side in zip(box, img.size * 2, strict=True)])
    rows = rows_of([img, cropped])
    a, b = (row[None, : THUMB_SIZE * THUMB_SIZE].reshape(1, THUMB_SIZE, THUMB_SIZE).astype(np.float32) for row in rows)
    window = align(a, b, duplicates.WINDOWS[:1])
    assert np.abs(window - box).max() < 0.015
    same, like = verify_pair(rows[:1], rows[1:], duplicates.WINDOWS[:1], np.array([False]))
    assert same[0] and like[0] > 0.994


# -- names in every script


def box_font(path: Path, letters: str) -> Path:
    "A font in which each of these letters is a black square."
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((900, 0), (900, 900), (0, 900)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    names = [".notdef", *(f"u{ord(letter):04x}" for letter in letters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(letter): f"u{ord(letter):04x}" for letter in letters})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=0)
    font.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return path


@pytest.mark.parametrize("installed", [True, False])
def test_class_names_of_any_script_are_drawn_or_one_line_says_that_no_font_has_them(installed, tmp_path, monkeypatch, capsys):
    letters = "卡车自行𠀀"  # not in matplotlib's own font; so rare that no other font of this machine is taken for it
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [e for e in font_manager.fontManager.ttflist if "DejaVu" in e.name])
    fonts = [str(box_font(tmp_path / "boxes.ttf", letters))] if installed else []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: fonts)  # installed after matplotlib had made its list
    core._fonts_with.cache_clear()
    core._say_no_font.cache_clear()
    table = pd.DataFrame({"class": ["卡车", "自行车𠀀", "bus"], "reason": ""})
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns once for each letter
        for _ in range(2):
            figure = plot_counts(table).figure
            figure.savefig(tmp_path / "plot.png")
            plot_confusion(np.eye(3, dtype=int), list(table["class"])).figure.savefig(tmp_path / "plot.png")
        assert ("Boxes" in matplotlib.rcParams["font.family"]) == installed
    plt.close("all")
    core._fonts_with.cache_clear()
    said = capsys.readouterr().err
    assert said.count("\n") == (0 if installed else 1) and ("no installed font" in said) != installed
