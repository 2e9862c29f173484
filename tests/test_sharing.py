"""Giving a model away: a card that claims only what was measured, one file that is whole, and strangers' files kept harmless."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import CLASSES, coloured, tiny_bundle

from vehicle_nb.models import cnn
from vehicle_nb.serving import hub as sharing
from vehicle_nb.core import VehicleError, write_json
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.serving.hub import export_bundle, model_card, push_bundle, read_report, unpack_bundle

REPORT = {
    "run": "tiny", "arch": "vehicle_cnn", "split": "test", "pictures": 40, "accuracy": 0.925, "interval": [0.81, 0.97], "macro_f1": 0.92,
    "ece": 0.031, "threshold": 0.5, "answered": 0.9, "accuracy_when_answered": 0.97, "notes": ["A *note* | with signs."],
    "speed": {"one_ms": 3.21, "device": "cpu, 2 threads"},
    "per_class": [{"class": "bus", "pictures": 10, "precision": None, "recall": 0.8, "f1": 0.7, "mostly_taken_for": "boat"},
                  {"class": "boat", "pictures": 10, "precision": 0.9, "recall": 1.0, "f1": 0.9, "mostly_taken_for": ""}],
    "robustness": [{"kind": "blur", "clean": 0.9, "gentle": 0.8, "middling": 0.7, "rough": 0.6, "strengths": "1 · 2 · 3"}],
}  # fmt: skip
METRICS = {"val_accuracy": 0.99, "test_accuracy": 0.875, "test_pictures": 40}


@pytest.fixture
def bundle(tmp_path) -> Path:
    return tiny_bundle(tmp_path / "models" / "tiny", metrics=METRICS, data={"processed": "../../secret", "counts": {"train": {"bus": 7}}})


def with_report(bundle: Path, report) -> Path:
    (bundle / "report").mkdir(exist_ok=True)
    (bundle / "report" / "report.json").write_text(report if isinstance(report, str) else json.dumps(report))
    return bundle


def head(card: str) -> dict:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


# --- the card ----------------------------------------------------------------------------------------------------------


def test_a_cards_figures_are_those_of_the_report(bundle):
    card = model_card(with_report(bundle, REPORT), license="apache-2.0")
    for words in ("92.5 % (95 % interval 81.0 % to 97.0 %)", "90.0 % of the pictures; 97.0 % of these", "| 0.920 |", "3.2 ms (cpu",
                  "| bus | 10 | 80 % | – | boat |", "| blur | 90 % | 80 % | 70 % | 60 % |", "A \\*note\\* \\| with signs."):  # fmt: skip
        assert words in card, words
    assert "87.5" not in card and "99" not in card.split("## How it was trained")[0]  # neither the older figure nor validation's
    data = head(card)
    assert data["license"] == "apache-2.0" and data["pipeline_tag"] == "image-classification"
    assert data["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.925
    assert "7 train" in card and "secret" not in card and str(bundle.parent) not in card
    assert all(name in card for name in CLASSES)


def test_without_a_report_the_trainings_own_test_figure_counts_and_without_that_none(bundle):
    card = model_card(bundle)
    assert "| right answers | 87.5 % |" in card and "40 test pictures" in card and "license" not in head(card)
    for split in ("val", "train"):  # figures on other pictures are no test figures
        assert "87.5 %" in model_card(with_report(bundle, REPORT | {"split": split}))
    bare = tiny_bundle(bundle.parent / "bare", metrics={"val_accuracy": 0.99})
    card = model_card(bare)
    assert "Nobody has measured" in card and "99" not in card and "model-index" not in head(card)


BROKEN_REPORTS = ["", "{", "[]", "null", '"x"', "[" * 100_000, "{}", '{"accuracy": "high", "split": "test"}',
                  '{"accuracy": NaN, "split": "test"}']  # fmt: skip


@pytest.mark.parametrize("text", BROKEN_REPORTS)
def test_a_report_that_cannot_be_read_is_none(bundle, text):
    card = model_card(with_report(bundle, text))
    assert "87.5 %" in card and "nan" not in card.lower().replace("finance", "")


@pytest.mark.parametrize("name", REPORT)
@pytest.mark.parametrize("value", ["gone", None, "x", 3, [], [1], [{}], {}, {"a": 1}, True])
def test_parts_of_a_report_may_be_missing_or_odd(bundle, name, value):
    report = {k: v for k, v in REPORT.items() if k != name} if value == "gone" else REPORT | {name: value}
    card = model_card(with_report(bundle, report))
    assert "## How good it is" in card and "None" not in card and head(card)["library_name"] == "vehicle_nb"


def test_names_are_text_and_nothing_else(tmp_path):
    classes = ["a|b", "<script>alert(1)</script>", "[x](javascript:y)", "{measured} `code` {0}"]
    bundle = tiny_bundle(tmp_path / "odd", classes=classes, versions={"torch": "<b>"}, created="<i>now", seed={"a": "|"})
    card = model_card(bundle, name="--- evil: [")
    assert "<script>" not in card and "[x](" not in card and "<b>" not in card and "{measured} " in card
    assert head(card)["library_name"] == "vehicle_nb"


# --- one file ------------------------------------------------------------------------------------------------------------


def test_the_zip_unpacks_to_a_bundle_that_gives_the_same_answers(bundle, tmp_path):
    (bundle / "checkpoints").mkdir()
    (bundle / "checkpoints" / "epoch.pt").write_bytes(b"private")
    file = export_bundle(with_report(bundle, REPORT), tmp_path / "out" / "tiny.zip")
    with zipfile.ZipFile(file) as packed:
        assert sorted(packed.namelist()) == ["tiny/README.md", "tiny/config.json", "tiny/model.safetensors"]
        assert packed.testzip() is None and "92.5 %" in packed.read("tiny/README.md").decode()
        packed.extractall(tmp_path / "plain")  # as anybody's unzip does
    image = coloured("bus", 3)
    wanted = Predictor(bundle).predict(image)
    for place in (tmp_path / "plain" / "tiny", unpack_bundle(file, tmp_path / "ours")):
        np.testing.assert_array_equal(Predictor(place).predict(image).probs, wanted.probs)
    data = file.read_bytes()
    os.utime(bundle / "config.json", (1, 1))
    assert export_bundle(bundle, file).read_bytes() == data
    assert os.listdir(file.parent) == ["tiny.zip"]


def test_an_export_that_fails_leaves_what_was_there(bundle, tmp_path, monkeypatch):
    file = tmp_path / "tiny.zip"
    file.write_bytes(b"older, made by vehicle_export")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sharing.shutil, "copyfileobj", full)
    with pytest.raises(VehicleError, match="disk is full"):
        export_bundle(bundle, file)
    assert file.read_bytes() == b"older, made by vehicle_export" and sorted(os.listdir(tmp_path)) == ["models", "tiny.zip"]


def test_what_cannot_be_used_is_not_exported(bundle, tmp_path):
    (bundle / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(VehicleError, match=r"model\.safetensors"):
        export_bundle(bundle, tmp_path / "x.zip")
    with pytest.raises(VehicleError, match=r"ends in \.zip"):
        export_bundle(bundle, tmp_path)
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.skipif(not (find_spec("onnxruntime") and find_spec("onnxscript")), reason="pip install -e '.[onnx]'")
def test_the_onnx_file_travels_along_and_is_made_anew_only_when_it_must(bundle, tmp_path):
    file = export_bundle(bundle, tmp_path / "tiny.zip", onnx=True)
    there = unpack_bundle(file, tmp_path / "there")
    image = coloured("boat", 3)
    np.testing.assert_allclose(Predictor(there, backend="onnx").predict(image).probs, Predictor(bundle).predict(image).probs, atol=1e-4)
    before = (bundle / "model.onnx").stat().st_mtime_ns
    export_bundle(bundle, file, onnx=True)
    assert (bundle / "model.onnx").stat().st_mtime_ns == before
    with zipfile.ZipFile(export_bundle(bundle, tmp_path / "without.zip")) as packed:
        assert len(packed.namelist()) == 3


def test_hostile_zips_leave_nothing_behind(bundle, tmp_path):
    good = export_bundle(bundle, tmp_path / "good.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "good.zip") as packed:
        parts = {Path(name).name: packed.read(name) for name in packed.namelist()}

    def made(name: str, entries: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            for inner, data in entries.items():
                packed.writestr(inner, data)
        return tmp_path / name

    (tmp_path / "cut.zip").write_bytes(good[:-200])
    bad = [
        tmp_path / "cut.zip", tmp_path / "missing.zip", made("empty.zip", {}), made("half.zip", {"a/config.json": parts["config.json"]}),
        made("wrong.zip", {"a/config.json": b"{}", "a/model.safetensors": parts["model.safetensors"]}),
    ]  # fmt: skip
    for file in bad:
        with pytest.raises(VehicleError) as error:
            unpack_bundle(file, tmp_path / "place")
        assert file.name in str(error.value) and not (tmp_path / "place").exists()
    inside = {f"a/{name}": data for name, data in parts.items()}
    with pytest.raises(VehicleError, match="outside its folder"):
        unpack_bundle(made("slip.zip", {"../../escaped.txt": b"x", **inside}), tmp_path / "place")
    place = unpack_bundle(made("more.zip", {**inside, "a/extra.py": b"evil", "b/c.txt": b"x"}), tmp_path / "in" / "place")
    assert sorted(os.listdir(place)) == ["README.md", "config.json", "model.safetensors"]
    assert not list(tmp_path.rglob("escaped.txt")) and not (tmp_path.parent / "escaped.txt").exists()
    with pytest.raises(VehicleError, match="exists already"):
        unpack_bundle(tmp_path / "good.zip", place)


def test_an_archive_that_grows_without_end_is_stopped(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "MAX_UNPACKED", 10_000)
    with pytest.raises(VehicleError, match="Stopped"):
        unpack_bundle(export_bundle(bundle, tmp_path / "big.zip"), tmp_path / "place")
    assert not (tmp_path / "place").exists()


# --- the Hub -------------------------------------------------------------------------------------------------------------


class Hub:
    "Stands in for the Hub, and may refuse."

    def __init__(self, error=None):
        self.error, self.made, self.files = error, None, {}

    def create_repo(self, **about):
        self.made = about
        if self.error:
            raise self.error

    def upload_folder(self, *, folder_path, **about):
        self.files = {p.name: p.read_bytes() for p in Path(folder_path).iterdir()}
        self.about = about


def test_the_hub_gets_the_bundle_and_its_card_and_keeps_them_private(bundle):
    hub = Hub()
    assert push_bundle(bundle, "ada/tiny", api=hub) == "https://huggingface.co/ada/tiny"
    assert hub.made == {"repo_id": "ada/tiny", "repo_type": "model", "private": True, "exist_ok": True}
    assert sorted(hub.files) == ["README.md", "config.json", "model.safetensors"]
    assert hub.files["model.safetensors"] == (bundle / "model.safetensors").read_bytes()
    assert hub.files["README.md"].startswith(b"---\n")
    push_bundle(bundle, "ada/tiny", public=True, api=hub)
    assert hub.made["private"] is False


class Answered(Exception):
    def __init__(self, status):
        self.response = type("Response", (), {"status_code": status})


@pytest.mark.parametrize(("error", "words"), [(Answered(401), "hf auth login"), (Answered(403), "does not let you write"),
                                              (Answered(500), "answered 500"), (ConnectionError(), "network"),
                                              (OSError("no route\nto host"), "no route")])  # fmt: skip
def test_what_the_hub_refuses_ends_in_one_sentence(bundle, error, words):
    with pytest.raises(VehicleError) as raised:
        push_bundle(bundle, "ada/tiny", api=Hub(error))
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("repo", ["tiny", "a/b/c", "ada/ti ny", "../x", "https://huggingface.co/ada/tiny", ""])
def test_a_name_that_is_none_is_refused_before_anything_is_sent(bundle, repo):
    hub = Hub()
    with pytest.raises(VehicleError, match="owner/name"):
        push_bundle(bundle, repo, api=hub)
    assert hub.made is None


def test_without_a_token_a_sentence_says_how_to_get_one(bundle, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(VehicleError, match="hf auth login"):
        push_bundle(bundle, "ada/tiny")
    monkeypatch.setattr(sharing, "find_spec", lambda name: None)
    with pytest.raises(VehicleError, match="pip install huggingface_hub"):
        push_bundle(bundle, "ada/tiny")


# --- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote_and_repeats_no_traceback(bundle, tmp_path):
    run = [sys.executable, "-m", "vehicle_nb.serving.hub"]
    done = subprocess.run([*run, "--bundle", "models"], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny.zip (") and "README.md" in done.stdout and (tmp_path / "tiny.zip").is_file()
    shutil.rmtree(bundle)
    write_json(bundle / "config.json", {})
    done = subprocess.run([*run, "--bundle", "models"], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "vehicle_export:" in done.stderr


def test_zip_and_hub_get_the_files_of_one_gathering(bundle, tmp_path, monkeypatch, capsys):
    hub, loaded = Hub(), []
    monkeypatch.setattr(sharing, "_hub", lambda: hub)
    monkeypatch.setattr(sharing, "load_bundle", lambda folder, load=cnn.load_bundle: loaded.append(folder) or load(folder))
    sharing.vehicle_export(str(bundle), dest=str(tmp_path / "tiny.zip"), push="ada/tiny", license="apache-2.0")
    with zipfile.ZipFile(tmp_path / "tiny.zip") as packed:
        assert {Path(name).name: packed.read(name) for name in packed.namelist()} == hub.files
    assert len(loaded) == 1 and b"license: apache-2.0" in hub.files["README.md"]
    assert capsys.readouterr().out.endswith("https://huggingface.co/ada/tiny\n")


def test_what_the_hub_will_not_take_is_told_before_anything_is_written(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    for push, words in (("no name", "owner/name"), ("ada/tiny", "hf auth login")):
        with pytest.raises(VehicleError, match=words):
            sharing.vehicle_export(str(bundle), dest=str(tmp_path / "tiny.zip"), push=push)
    assert not (tmp_path / "tiny.zip").exists()


def test_a_report_is_a_dictionary_or_empty(tmp_path):
    assert read_report(tmp_path) == {}
