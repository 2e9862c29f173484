"""Sharing a model: a card that claims only what was measured, one file that is whole, and files of strangers that do no harm."""

import json
import os
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import forks
import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from tiny import CLASSES, coloured, tiny_bundle

from vehicle_nb.commands import run_command
from vehicle_nb.core import VehicleError
from vehicle_nb.files import write_json
from vehicle_nb.serving import hub
from vehicle_nb.serving.hub import export_bundle, is_edited, model_card, push_bundle, unpack_bundle
from vehicle_nb.serving.predictor import Predictor

REPORT = {
    "run": "tiny", "arch": "vehicle_cnn", "split": "test", "created": "2026-11-28T03:00:00+0000", "images": 40, "accuracy": 0.925,
    "interval": [0.81, 0.97], "macro_f1": 0.92, "ece": 0.031, "threshold": 0.5, "coverage": 0.9, "selective_accuracy": 0.97,
    "notes": ["A *note* | with signs."], "speed": {"one_ms": 3.21, "device": "cpu, 2 threads", "parameters": 1000},
    "per_class": [{"class": "bus", "images": 10, "precision": None, "recall": 0.8, "f1": 0.7, "most_confused_with": "boat"},
                  {"class": "boat", "images": 10, "precision": 0.9, "recall": 1.0, "f1": 0.9, "most_confused_with": ""}],
    "robustness": [{"corruption": "blur", "clean": 0.9, "severity_1": 0.8, "severity_2": 0.7, "severity_3": 0.6, "values": "1 · 2 · 3"}],
    "confusion": {"classes": ["bus", "boat"], "counts": [[8, 2], [0, 10]]},
}  # fmt: skip
METRICS = {"val_accuracy": 0.99, "test_accuracy": 0.875, "test_images": 40}


@pytest.fixture
def bundle(tmp_path) -> Path:
    return tiny_bundle(tmp_path / "models" / "tiny", metrics=METRICS, data={"path": "../../secret", "counts": {"train": {"bus": 7}}})


def with_report(bundle: Path, report) -> Path:
    (bundle / "report").mkdir(exist_ok=True)
    (bundle / "report" / "report.json").write_text(report if isinstance(report, str) else json.dumps(report))
    return bundle


def head(card: str) -> dict:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


# --- the card ----------------------------------------------------------------------------------------------------------


def test_the_metrics_of_a_card_are_those_of_the_report(bundle):
    card = model_card(with_report(bundle, REPORT), license="apache-2.0")
    for words in ("92.5 % (95 % interval 81.0 % to 97.0 %)", "get a class | 90.0 % |", "among these | 97.0 % |", "| 0.920 |", "3.2 ms (cpu",
                  "| bus | 10 | 80 % | – | boat |", "| boat | 10 | 100 % | 90 % |", "| corruption | clean | severity 1 |",
                  "| blur | 90 % | 80 % | 70 % | 60 % |",
                  "A \\*note\\* \\| with signs."):  # fmt: skip
        assert words in card, words
    text = card.split("## Training")[0].split("---\n", 2)[2]
    assert "87.5" not in card and "99" not in text  # neither the training's own nor the validation accuracy
    data = head(card)
    assert data["license"] == "apache-2.0" and data["pipeline_tag"] == "image-classification"
    assert "images: 7 train\n" in card and "secret" not in card and str(bundle.parent) not in card
    assert "\n" + ", ".join(CLASSES) + "\n" in card


@pytest.mark.parametrize("classes, own, words", [
    (["boat", "bus", "x", "y"], {}, "tells 4 kinds of vehicle apart"),
    (["key", "mug", "a", "b"], {}, "tells 4 classes apart"),
    (["key", "mug", "a", "b"], {"page": {"en": {"classes": "things on *my* desk"}}}, "tells 4 things on \\*my\\* desk apart"),
])  # fmt: skip
def test_a_card_speaks_of_the_bundles_own_classes(tmp_path, classes, own, words):
    rows = [dict(REPORT["per_class"][1], **{"class": name}) for name in classes]
    bundle = with_report(tiny_bundle(tmp_path / "things", classes=classes, **own), REPORT | {"per_class": rows})
    data, text = head(card := model_card(bundle)), card.split("---\n", 2)[2]
    assert words in text and "Things of none of these classes" in text
    about_vehicles = [s for s in (str(data["tags"]), str(data["model-index"]), text) if re.search(r"vehicles?\b(?!-nb)|tolls", s)]
    assert len(about_vehicles) == (3 if "bus" in classes else 0), about_vehicles


def test_the_hub_reads_the_head_of_the_card_as_we_mean_it(bundle):
    data = ModelCard(model_card(with_report(bundle, REPORT), name="tiny")).data
    (result,) = data.eval_results
    assert (data.model_name, result.metric_type, result.metric_value) == ("tiny", "accuracy", 0.925)
    assert (result.task_type, result.dataset_type) == ("image-classification", "imagefolder") and "40 test images" in result.metric_name


def test_tables_of_a_card_are_tables(bundle):
    "Each table stands in one block of lines with the same number of columns, or Markdown shows bars."
    card = model_card(with_report(bundle, REPORT))
    blocks = [block.splitlines() for block in card.split("\n\n") if block.startswith("|")]
    assert [len(lines) for lines in blocks] == [8, 4, 3]
    for lines in blocks:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1 and set(lines[1]) <= set("|-:")
    assert "\n\n\n" not in card.split("---\n", 2)[2]


def test_without_a_report_the_trainings_own_test_accuracy_counts_and_without_that_none(bundle):
    card = model_card(bundle)
    assert "| accuracy | 87.5 % |" in card and "40 test images" in card and "license" not in head(card)
    assert head(card)["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.875
    for split in ("val", "train"):  # metrics on other images are not test metrics
        assert "87.5 %" in model_card(with_report(bundle, REPORT | {"split": split}))
    for text in ("", "{", json.dumps(REPORT | {"ece": "low"})):  # and half a report is none
        assert "87.5 %" in model_card(with_report(bundle, text))
    bare = tiny_bundle(bundle.parent / "bare", metrics={"val_accuracy": 0.99})
    card = model_card(bare)
    assert "has not been evaluated" in card and "99" not in card.split("---\n", 2)[2] and "model-index" not in head(card)


def test_names_are_text_and_nothing_else(tmp_path):
    classes = ["a|b", "<script>alert(1)</script>", "[x](javascript:y)", "{{ measured }} `code` {0}"]
    bundle = tiny_bundle(tmp_path / "odd", classes=classes, versions={"torch": "<b>"}, created="<i>now", seed={"a": "|"})
    rows = [dict(REPORT["per_class"][0], **{"class": name, "most_confused_with": name}) for name in classes]
    with_report(bundle, REPORT | {"per_class": rows})
    card = model_card(bundle, name="--- evil: [")
    assert "<script>" not in card and "[x](" not in card and "<b>" not in card and "{{ measured }} " in card
    assert head(card)["library_name"] == "vehicle_nb" and "| a\\|b | 10 |" in card


def test_a_card_that_somebody_edited_is_recognized(bundle):
    card = model_card(bundle, license="mit")
    assert not is_edited(card) and not is_edited(card.replace("\n", "\r\n") + "\n")  # as a browser may save it
    assert is_edited(card + "By Ada.\n") and is_edited(card.replace("license: mit", "license: apache-2.0"))
    assert is_edited(card.replace("tiny", "Tiny")) and is_edited("# My model\n") and is_edited("")


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

    monkeypatch.setattr(hub.shutil, "copyfileobj", full)
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
    with pytest.raises(VehicleError, match="already exists"):
        unpack_bundle(tmp_path / "good.zip", place)


def test_an_archive_that_grows_without_end_is_stopped(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "MAX_UNPACKED", 10_000)
    with pytest.raises(VehicleError, match="Stopped"):
        unpack_bundle(export_bundle(bundle, tmp_path / "big.zip"), tmp_path / "place")
    assert not (tmp_path / "place").exists()


# --- the Hub -------------------------------------------------------------------------------------------------------------


class Hub:
    "Stands in for the Hub, and may refuse."

    def __init__(self, error=None, card=None):
        self.error, self.made, self.files = error, None, {} if card is None else {"README.md": card}

    def create_repo(self, **about):
        self.made = about
        if self.error:
            raise self.error

    def file_exists(self, *, repo_id, filename, repo_type):
        return filename in self.files

    def hf_hub_download(self, *, repo_id, filename, repo_type, local_dir):
        Path(local_dir, filename).write_bytes(self.files[filename])
        return str(Path(local_dir, filename))

    def upload_folder(self, *, folder_path, **about):
        self.sent = {p.name: p.read_bytes() for p in Path(folder_path).iterdir()}
        self.files |= self.sent
        self.about = about


def test_the_hub_gets_the_bundle_and_its_card_and_keeps_them_private(bundle):
    api = Hub()
    assert push_bundle(bundle, "ada/tiny", api=api) == "https://huggingface.co/ada/tiny"
    assert api.made == {"repo_id": "ada/tiny", "repo_type": "model", "private": True, "exist_ok": True}
    assert sorted(api.files) == ["README.md", "config.json", "model.safetensors"]
    assert api.files["model.safetensors"] == (bundle / "model.safetensors").read_bytes()
    assert api.files["README.md"].startswith(b"---\n")
    push_bundle(bundle, "ada/tiny", public=True, api=api)
    assert api.made["private"] is False


def test_a_card_that_was_edited_on_the_hub_is_kept_and_the_command_says_so(bundle, capsys):
    api = Hub()
    push_bundle(bundle, "ada/tiny", api=api)
    push_bundle(with_report(bundle, REPORT), "ada/tiny", api=api)
    assert b"92.5 %" in api.sent["README.md"] and capsys.readouterr().out == "", "our own card is replaced"
    edited = api.files["README.md"] + b"\nThanks to Grace for the photos.\n"
    for card in (edited, b"# Written by hand\n", b"\xff\xfe"):
        api = Hub(card=card)
        push_bundle(bundle, "ada/tiny", api=api)
        assert sorted(api.sent) == ["config.json", "model.safetensors"] and api.files["README.md"] == card
        assert "edited on the Hub" in capsys.readouterr().out


def test_the_fake_hub_has_the_signatures_of_the_real_one():
    from inspect import signature

    from huggingface_hub import HfApi

    for name in ("create_repo", "file_exists", "hf_hub_download", "upload_folder"):
        real, fake = signature(getattr(HfApi, name)).parameters, signature(getattr(Hub, name)).parameters
        assert {p.name for p in fake.values() if p.kind != p.VAR_KEYWORD} <= set(real)


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
def test_a_name_that_is_not_a_repository_is_refused_before_anything_is_sent(bundle, repo):
    api = Hub()
    with pytest.raises(VehicleError, match="owner/name"):
        push_bundle(bundle, repo, api=api)
    assert api.made is None


def test_without_a_token_a_sentence_says_how_to_get_one(bundle, monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    with pytest.raises(VehicleError, match="hf auth login"):
        push_bundle(bundle, "ada/tiny")


# --- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote(bundle, tmp_path):
    done = forks.run("vehicle_nb.serving.hub", "--bundle", "models", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tiny.zip (") and "README.md" in done.stdout and (tmp_path / "tiny.zip").is_file()


def test_a_broken_bundle_is_one_sentence(tmp_path, capsys):
    write_json(tmp_path / "config.json", {})
    with pytest.raises(SystemExit) as end:
        run_command(hub.vehicle_export, ["--bundle", str(tmp_path)], prog="vehicle_export")
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1 and error.startswith("vehicle_export: ")


def test_zip_and_hub_get_the_same_files(bundle, tmp_path, monkeypatch, capsys):
    api, loaded, load = Hub(), [], hub.load_bundle
    monkeypatch.setattr(hub, "_hub", lambda: api)
    monkeypatch.setattr(hub, "load_bundle", lambda folder: loaded.append(folder) or load(folder))
    hub.vehicle_export(str(bundle), output=str(tmp_path / "tiny.zip"), push="ada/tiny", license="apache-2.0")
    with zipfile.ZipFile(tmp_path / "tiny.zip") as packed:
        assert {Path(name).name: packed.read(name) for name in packed.namelist()} == api.files
    assert len(loaded) == 1 and b"license: apache-2.0" in api.files["README.md"]
    assert capsys.readouterr().out.endswith("https://huggingface.co/ada/tiny\n")


def test_what_the_hub_will_not_take_is_said_before_anything_is_written(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "get_token", lambda: None)
    for push, words in (("no name", "owner/name"), ("ada/tiny", "hf auth login")):
        with pytest.raises(VehicleError, match=words):
            hub.vehicle_export(str(bundle), output=str(tmp_path / "tiny.zip"), push=push)
    assert not (tmp_path / "tiny.zip").exists()
