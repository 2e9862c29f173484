"""What a bundle shows of itself: a few test images of each class, what it learned from, and what looks most like an image."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CLASSES, coloured, tiny_bundle, tiny_fitted

from vehicle_nb.core import VehicleError
from vehicle_nb.data.augment import normalize_batch
from vehicle_nb.data.dataset import PackedDataset, read_config
from vehicle_nb.data.preprocess import letterbox, preprocess
from vehicle_nb.demo.make import make_demo
from vehicle_nb.models.bundle import choose_examples, load_bundle, make_provenance, read_bundle_config, read_examples, write_examples
from vehicle_nb.serving.examples import image_features, nearest_examples, provenance_text
from vehicle_nb.serving.hub import export_bundle, push_bundle, unpack_bundle
from vehicle_nb.serving.i18n import languages
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.train import save_examples


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[Path, Path]:
    "A bundle with examples as the training command leaves it, and its processed set."
    bundle, processed = tiny_fitted(tmp_path_factory.mktemp("fitted"))
    save(bundle, PackedDataset(processed, "test", quiet=True))
    return bundle, processed


def save(bundle: Path, test: PackedDataset, correct=None):
    "Call the step of the training command that writes the examples."
    model, config, bank = load_bundle(bundle)
    trainer = SimpleNamespace(
        loaders={"test": SimpleNamespace(dataset=test)}, ema=SimpleNamespace(module=model), classes=config["classes"], path=bundle
    )
    save_examples(trainer, config, bank, np.ones(len(test), bool) if correct is None else correct)


def test_examples_are_four_small_plain_test_images_of_each_class_that_the_model_knows(fitted):
    bundle, processed = fitted
    predictor, examples = Predictor(bundle), read_examples(bundle)
    assert list(examples) == CLASSES and all(2 <= len(files) <= 4 for files in examples.values())
    test = [np.asarray(Image.open(path), float) for path in (processed / "test").rglob("*.jpg")]
    for name, files in examples.items():
        for file in files:
            image = Image.open(file)
            assert image.format == "JPEG" and max(image.size) <= 224 and not image.getexif()
            assert min(np.abs(np.asarray(image, float) - other).mean() for other in test) < 4, "an image of the test split"
            assert predictor.predict(file).label == name
    before = {file: file.read_bytes() for files in examples.values() for file in files}
    save(bundle, PackedDataset(processed, "test", quiet=True))
    assert {file: file.read_bytes() for file in before} == before, "the same examples each time"


def test_a_test_image_that_is_predicted_wrongly_is_no_example(fitted, tmp_path):
    bundle, test = tiny_bundle(tmp_path / "bundle"), PackedDataset(fitted[1], "test", quiet=True)
    save(bundle, test, test.labels == 1)
    assert list(read_examples(bundle)) == ["bus"]
    save(bundle, test, np.zeros(len(test), bool))  # nothing was right: what is there stays as it is
    assert list(read_examples(bundle)) == ["bus"]


def test_examples_differ_and_lose_their_grey_bars(tmp_path):
    dark, light = Image.new("RGB", (80, 40), (20, 20, 20)), Image.new("RGB", (80, 40), (230, 230, 230))
    images = np.stack([np.asarray(letterbox(image, 64)) for image in [light] * 5 + [dark] * 2])
    rows = choose_examples(images, np.zeros(7, np.int64))
    assert len(rows) == 2 and {rows[0] < 5, rows[1] < 5} == {True, False}, "one of each, and no copy"
    write_examples(tmp_path, images[rows], np.zeros(2, np.int64), ["bus", "car"])
    assert [Image.open(tmp_path / "examples/bus" / f"{n}.jpg").size for n in (1, 2)] == [(64, 32)] * 2
    large = np.asarray(coloured("bus", 0, (300, 300)))[None]
    write_examples(tmp_path, large, np.ones(1, np.int64), ["bus", "car"])
    assert Image.open(tmp_path / "examples/car/1.jpg").size == (224, 224)
    assert not (tmp_path / "examples/bus").exists(), "examples from before are replaced"


def test_examples_of_a_stranger_lead_nowhere(tmp_path):
    bundle = tiny_bundle(tmp_path / "bundle", classes=["../../secret", "bus", "linked", "large"])
    secret = tmp_path / "secret"
    for folder in (secret, bundle / "examples/bus", bundle / "examples/large", bundle / "examples/not_a_class"):
        folder.mkdir(parents=True)
        coloured("bus").save(folder / "1.jpg")
    (bundle / "examples/linked").symlink_to(secret)
    (bundle / "examples/bus/2.jpg").symlink_to(secret / "1.jpg")
    (bundle / "examples/large/1.jpg").write_bytes(bytes(2**20))
    assert read_examples(bundle) == {"bus": [bundle / "examples/bus/1.jpg"]}
    assert read_examples(tiny_bundle(tmp_path / "old")) == {}


def test_the_nearest_examples_are_of_the_same_colour(fitted):
    predictor = Predictor(fitted[0])
    for name in CLASSES:
        found = nearest_examples(predictor, coloured(name, 77), 3)
        assert {kind for kind, _, _ in found[:2]} == {name} and found[0][1].parent.name == name
        assert [s for *_, s in found] == sorted((s for *_, s in found), reverse=True) and 0.5 < found[0][2] <= 1
    features = image_features(predictor, predictor.prepare(coloured("bus", 77))[None])[0]
    assert nearest_examples(predictor, features) == nearest_examples(predictor, coloured("bus", 77))
    example = read_examples(fitted[0])["bus"][0]
    assert example not in [path for _, path, _ in nearest_examples(predictor, example, 4)]
    bank = load_bundle(fitted[0]).feature_bank.float()  # the truth: what the OOD score of the same image is computed from
    pixels = torch.from_numpy(predictor.prepare(coloured("bus", 77))[None])
    with torch.inference_mode():
        knn = predictor.network(normalize_batch(pixels, predictor.input_size))[1]
    assert torch.topk(bank @ features, 10).values.mean().item() == pytest.approx(knn.item(), abs=1e-4)


def test_a_bundle_without_examples_has_no_nearest(tmp_path):
    assert nearest_examples(Predictor(tiny_bundle(tmp_path / "old")), coloured("bus")) == []


def test_a_set_says_where_it_comes_from_and_a_bundle_passes_it_on(tmp_path):
    make_demo(tmp_path / "raw", per_class=8, size=48, classes=["bus", "car"], workers=1, quiet=True)
    preprocess(tmp_path / "raw", tmp_path / "drawn", size=32, duplicates="off", workers=1, quiet=True)
    (tmp_path / "raw/.source.json").unlink()
    preprocess(tmp_path / "raw", tmp_path / "own", size=32, duplicates="off", workers=1, quiet=True)
    drawn, own = (make_provenance(read_config(tmp_path / name)) for name in ("drawn", "own"))
    assert drawn | {"date": ""} == {"images": 12, "drawn": True, "source": "the demo set", "date": ""}
    assert own | {"date": ""} == {"images": 12, "drawn": False, "source": "own images", "date": ""}
    config = read_bundle_config(tiny_bundle(tmp_path / "bundle", provenance=drawn | {"images": 2800, "date": "2026-11-30"}))
    assert provenance_text(config) == "Learned from 2,800 drawings on 2026-11-30"
    assert "2\u202f800 dessins" in provenance_text(config, languages()["fr"])
    assert provenance_text({"classes": []}) == ""


@pytest.mark.parametrize("about", [[], {}, {"images": "3"}, {"date": "yesterday"}, {"source": "x" * 300}, {"images": -1}, {"drawn": 1}])
def test_a_provenance_that_cannot_be_shown_is_refused(tmp_path, about):
    good = {"images": 3, "drawn": True, "source": "the demo set", "date": "2026-11-30"}
    read_bundle_config(tiny_bundle(tmp_path / "good", provenance=good))
    with pytest.raises(VehicleError, match="'provenance' in its config"):
        read_bundle_config(tiny_bundle(tmp_path / "bad", provenance=good | about if about else about))


def test_examples_are_shared_only_when_asked_for(fitted, tmp_path):
    def packed(**options) -> list[str]:
        with zipfile.ZipFile(export_bundle(fitted[0], tmp_path / "bundle.zip", **options)) as file:
            return sorted(name.partition("/")[2] for name in file.namelist())

    files = ["README.md", "config.json", "model.safetensors"]
    assert packed() == files
    shown = [path.relative_to(fitted[0]).as_posix() for paths in read_examples(fitted[0]).values() for path in paths]
    assert packed(with_examples=True) == sorted([*files, *shown])
    unpacked = unpack_bundle(tmp_path / "bundle.zip", tmp_path / "models/again")
    assert {name: len(paths) for name, paths in read_examples(unpacked).items()} == dict.fromkeys(CLASSES, 4)
    sent = SimpleNamespace(create_repo=lambda **_: None, file_exists=lambda **_: False)
    sent.upload_folder = lambda folder_path, **_: sent.__dict__.update(names=[p.name for p in Path(folder_path).iterdir()])
    push_bundle(fitted[0], "ada/tiny", api=sent)
    assert "examples" not in sent.names
    push_bundle(fitted[0], "ada/tiny", with_examples=True, api=sent)
    assert "examples" in sent.names
