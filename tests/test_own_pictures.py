"""Any set at all: three classes of things that are no vehicles go the whole way by its commands, and then a fourth."""

import contextlib
import importlib
import io
import json
import re
import sys
import zipfile
from pathlib import Path

import forks
import numpy as np
import pandas as pd
import pytest
from conftest import read_settings
from PIL import Image, ImageDraw

from vehicle_nb.demo.make import DEMO_CLASSES
from vehicle_nb.evaluation.evaluate import evaluate
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.data.preprocess import preprocess
from vehicle_nb.serving.i18n import languages

KINDS = ["key", "leaf", "mug"]
TINY = ["--run_name", "run", "--epochs", 20, "--input_size", 32, "--batch_size", 8, "--num_threads", 1]
PAINT = {"key": (200, 160, 60), "leaf": (50, 120, 50), "mug": (190, 60, 60), "spoon": (70, 90, 200)}


def thing(kind: str, seed: int) -> Image.Image:
    "A thing in the colour of its class, on a grey ground with noise: no two images are equal or nearly so."
    rng = np.random.default_rng([seed, *kind.encode()])
    coarse = Image.fromarray(rng.integers(90, 170, (4, 5)).astype(np.uint8)).resize((120, 96), Image.Resampling.BICUBIC)
    image = coarse.convert("RGB")
    draw, (x, y) = ImageDraw.Draw(image), rng.integers(10, 30, 2)
    if kind == "key":
        draw.rectangle([x + 20, y + 15, x + 80, y + 25], fill=PAINT[kind])
    if kind == "mug":
        draw.rectangle([x, y, x + 50, y + 55], fill=PAINT[kind])
    draw.ellipse([x, y, x + (70 if kind == "leaf" else 36), y + 40], fill=PAINT[kind])
    return image


def shoot(folder: Path, kind: str, count: int, first: int = 0):
    "Photos of a class, as a phone would name them."
    (folder / kind).mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        thing(kind, i).save(folder / kind / f"IMG_{i:04}.jpg", quality=92)


def command(name: str, *options, cwd: Path) -> str:
    "What a command prints, which must end well; it runs in this process, as seven starts of Python take longer than the work."
    module, _, function = dict(line.split("=") for line in read_settings()["console_scripts"].split())[name].partition(":")
    main = getattr(importlib.import_module(module), function)
    with contextlib.chdir(cwd), contextlib.redirect_stdout(io.StringIO()) as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, options)])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code, f"{name}: {out.getvalue()}"
    return out.getvalue()


def train(*options, cwd: Path) -> str:
    "What vehicle_train prints; a process of its own, because it leaves an Accelerator behind."
    done = forks.run("vehicle_nb.train", *options, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    "A folder in which the seven commands were given, one after the other."
    home = tmp_path_factory.mktemp("home")
    for kind in KINDS:
        shoot(home / "photos", kind, 24)
        shoot(home / "new", kind, 5, first=900)
    (home / "photos" / "leaf" / "notes.txt").write_text("oak and beech, from the park")
    (home / "photos" / "mug" / "cut.jpg").write_bytes((home / "photos/mug/IMG_0003.jpg").read_bytes()[:700])
    (home / "photos" / "key" / "again.jpg").write_bytes((home / "photos/key/IMG_0005.jpg").read_bytes())
    said = {
        "data": command("vehicle_data", "--from", "photos", cwd=home),
        "explore": command("vehicle_explore", cwd=home),
        "preprocess": command("vehicle_preprocess", "--size", 64, cwd=home),
        "train": train(*TINY, cwd=home),
        "evaluate": command("vehicle_evaluate", cwd=home),
        "predict": command("vehicle_predict", "new", "--json", cwd=home),
        "export": command("vehicle_export", cwd=home),
    }
    (home / "said.json").write_text(json.dumps(said))
    return home


def test_every_stage_knows_the_three_names_and_no_other(home):
    said = json.loads((home / "said.json").read_text())
    assert "3 classes" in said["data"] and "3 classes" in said["explore"] and "3 classes" in said["evaluate"]
    for split in ("train", "val", "test"):
        assert sorted(p.name for p in (home / "data/processed" / split).iterdir()) == KINDS
    for file in ("data/processed/config.json", "models/run/config.json"):
        assert json.loads((home / file).read_text())["classes"] == KINDS
    report = json.loads((home / "models/run/report/report.json").read_text())
    assert sorted(row["class"] for row in report["per_class"]) == KINDS == report["confusion"]["classes"]
    answers = json.loads(said["predict"])
    assert {guess["label"] for answer in answers for guess in answer["top"]} == set(KINDS)
    pages = [home / "data/audit/index.html", home / "models/run/report/index.html"]
    with zipfile.ZipFile(home / "run.zip") as archive:
        card = archive.read("run/README.md").decode()
    texts = [card, said["evaluate"], said["predict"], *(page.read_text(encoding="utf-8") for page in pages)]
    for text in texts:
        words = set(re.findall(r"\w+", re.sub(r"base64,[\w+/=]+", "", text)))
        assert words >= set(KINDS) and not words & set(DEMO_CLASSES), f"{words & set(DEMO_CLASSES)} in {text[:100]}"
    assert [languages()["fr"].class_name(name) for name in KINDS] == ["Key", "Leaf", "Mug"], "no translation: as it is"


def test_what_was_no_picture_or_twice_is_set_aside(home):
    rows = pd.read_csv(home / "data/processed/manifest.csv", keep_default_na=False).set_index("path")
    assert len(rows) == 3 * 24 + 3 and (rows["reason"] != "").sum() == 3
    assert rows.loc["leaf/notes.txt", "reason"] and rows.loc["mug/cut.jpg", "reason"]
    assert rows.loc[["key/again.jpg", "key/IMG_0005.jpg"], "split"].tolist().count("") == 1


def test_it_has_learned_them(home):
    answers = json.loads(json.loads((home / "said.json").read_text())["predict"])
    right = sum(answer["top"][0]["label"] == Path(path).parent.name
                for answer, path in zip(answers, sorted((home / "new").rglob("*.jpg")), strict=True))  # fmt: skip
    assert right >= 12, f"{right} of 15 new images"  # guessing: 5


def test_a_class_more_leaves_the_old_split_and_the_old_bundle_alone(home, tmp_path):
    for kind in KINDS:
        shoot(tmp_path / "raw", kind, 24)
    shoot(tmp_path / "raw", "spoon", 24)
    preprocess(tmp_path / "raw", tmp_path / "processed", size=64, workers=1, quiet=True)
    old, new = (pd.read_csv(path / "manifest.csv", keep_default_na=False).set_index("sha256")["split"]
                for path in (home / "data/processed", tmp_path / "processed"))  # fmt: skip
    kept = old[old != ""]
    assert (new[kept.index] == kept).all(), "images of the old classes changed sides"
    assert json.loads((tmp_path / "processed/config.json").read_text())["classes"] == [*KINDS, "spoon"]
    report = evaluate(home / "models/run", tmp_path / "processed", output=tmp_path / "report", quiet=True)
    assert any("spoon" in note for note in report["notes"]) and report["images"] == (kept == "test").sum()
    assert Predictor(home / "models/run").classes == KINDS
