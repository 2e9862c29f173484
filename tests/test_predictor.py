"""Predictions from a bundle: the pixels of training, every way to hand over a picture, hostile files, the command."""

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import forks
import numpy as np
import pytest
import torch
from hostile import USED, byte_files, encode, make_hostile, oriented, random_image
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import CLASSES, coloured, tiny_bundle, tiny_processed, tiny_fitted

from vehicle_nb.serving import onnx_export
from vehicle_nb.commands import run_command
from vehicle_nb.core import percent, VehicleError
from vehicle_nb.files import write_json
from vehicle_nb.data.images import BadImage, read_image
from vehicle_nb.serving.image_input import load_image
from vehicle_nb.serving.onnx_export import export_onnx
from vehicle_nb.serving.predictor import (
    Prediction,
    Predictor,
    UNKNOWN_TEXT,
    find_images,
    predict_images,
    text_bars,
    text_line,
    to_csv,
)
from vehicle_nb.data.augment import normalize_batch
from vehicle_nb.data.dataset import PackedDataset
from vehicle_nb.models.bundle import load_bundle, save_bundle, ShapesOnly
from vehicle_nb.models.registry import create_model

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor(bundle, device="cpu")  # what a GPU answers, tests/test_gpu.py asks


def command(*argv) -> tuple[int, str, str]:
    "Run `vehicle_predict` in this process; returns exit code, standard output and standard error."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        run_command(predict_images, [str(a) for a in argv], prog="vehicle_predict")
    return end.value.code, out.getvalue(), err.getvalue()


# --- the answer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_the_label_is_what_the_picture_shows(predictor, kind):
    answer = predictor.predict(coloured(kind, 77, (200, 90)))
    assert answer.label == kind and answer.known and answer.error is None
    assert answer.top[0][0] == kind and len(answer.top) == len(CLASSES)
    assert answer.probability == answer.top[0][1] == pytest.approx(answer.probs.max())
    assert answer.probs.sum() == pytest.approx(1, abs=1e-5)
    assert [p for _, p in answer.top] == sorted(answer.probs.tolist(), reverse=True)


def test_temperature_changes_probability_and_nothing_else(tmp_path):
    answers = []
    for temperature in (0.5, 1, 4):
        bundle = tiny_bundle(tmp_path / f"t{temperature}", temperature=temperature)
        answers.append(Predictor(bundle).predict(coloured("bus", 5)))
    assert [[c for c, _ in a.top] for a in answers[1:]] == [[c for c, _ in answers[0].top]] * 2
    assert answers[0].probability > answers[1].probability > answers[2].probability


def test_a_weak_best_guess_is_unknown_but_its_guesses_stay(tmp_path):
    weak = Predictor(tiny_bundle(tmp_path / "weak", temperature=50.0, ood_threshold=0.9)).predict(coloured("bus", 5))
    assert not weak.known and weak.label is None and weak.ood_score < 0.9
    assert weak.top[0][0] == "bus" and 0.25 < weak.probability < 0.9
    assert f"{UNKNOWN_TEXT} (nearest: bus" in text_bars(weak) and f"{UNKNOWN_TEXT} (nearest: bus" in text_line(weak)
    assert (weak.to_dict()["label"], weak.to_dict()["known"]) == (None, False)
    file = io.StringIO()
    to_csv([weak], file)
    row = next(csv.DictReader(io.StringIO(file.getvalue())))
    assert (row["label"], row["known"], row["label_1"], row["error"]) == ("", "false", "bus", "")


def test_what_looks_like_nothing_learned_is_unknown_however_sure_the_softmax_is(tmp_path):
    "With a feature bank in the bundle, an image of something else is unknown whatever the softmax says."
    path, _ = tiny_fitted(tmp_path)
    (model, config, _), ready = load_bundle(path), Predictor(path)
    known = list(ready.predict_many([coloured(kind, 900 + i, (64, 64)) for kind in CLASSES for i in range(10)]))
    assert np.mean([not a.known for a in known]) < 0.25 and all(a.label in CLASSES for a in known if a.known)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::8] = stripes[1::8] = stripes[:, ::8] = 255
    stranger = ready.predict(stripes)
    assert not stranger.known and stranger.label is None and stranger.ood_score < config["ood_threshold"]
    assert ready.predict(stripes).probability == Predictor(path).predict(stripes).probability
    with pytest.raises(VehicleError, match=r"feature_bank.*missing"):
        save_bundle(path, model, config)
        load_bundle(path)


# --- the pixels of training --------------------------------------------------------------------------------------------


def test_the_network_gets_the_very_tensor_that_training_evaluates_on(predictor, tmp_path, monkeypatch):
    processed = tiny_processed(tmp_path / "p")
    packed = PackedDataset(processed, "test", quiet=True)
    seen, network = [], predictor.network
    monkeypatch.setattr(predictor, "network", lambda xb: (seen.append(xb.clone()), network(xb))[1])
    for file in packed.files:
        predictor.predict(file)
    expected = normalize_batch(torch.from_numpy(np.array(packed.images)), predictor.input_size)
    assert torch.equal(torch.cat(seen), expected)
    assert expected.min() >= -1 and expected.max() <= 1


def test_every_way_to_hand_over_a_picture_gives_one_answer(predictor, tmp_path):
    image = coloured("tractor", 3, (120, 80))
    file = tmp_path / "a picture.png"
    image.save(file)
    data = file.read_bytes()
    array = np.asarray(image)
    ways = [image, array, array / 255, array.astype(np.int64), torch.from_numpy(array.copy()), data, bytearray(data),
            memoryview(data), file, str(file), io.BytesIO(data), Image.open(file)]  # fmt: skip
    first, *others = [predictor.predict(way).probs for way in ways]
    for probs in others:
        np.testing.assert_allclose(probs, first, atol=1e-6)
    with open(file, "rb") as handle:
        np.testing.assert_allclose(predictor.predict(handle).probs, first, atol=1e-6)


def test_the_callers_picture_is_left_as_it_was(predictor):
    image = coloured("bus", 1).convert("RGBA")
    before = image.tobytes()
    predictor.predict(image)
    assert image.mode == "RGBA" and image.tobytes() == before


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_however_the_camera_was_held(predictor, orientation):
    image = random_image(7, (160, 100))
    straight, turned = predictor.prepare(encode(image, quality=95)), predictor.prepare(oriented(image, orientation))
    assert np.abs(straight.astype(int) - turned.astype(int)).mean() < 3
    opened = Image.open(io.BytesIO(oriented(image, orientation)))  # PIL has not turned it yet
    assert np.abs(predictor.prepare(opened).astype(int) - turned.astype(int)).mean() < 1


BAD = {
    "a list": [1, 2],
    "nothing": None,
    "channels first": np.zeros((3, 8, 8), np.uint8),
    "no pixels": np.zeros((0, 5, 3), np.uint8),
    "floats up to 255": np.full((8, 8, 3), 200.0),
    "not a number": np.full((8, 8, 3), np.nan),
    "negative": np.full((8, 8, 3), -1),
    "words": np.array([["a", "b"]]),
    "no bytes": b"",
    "web address": "http://127.0.0.1:9/bus.jpg",
    "missing": "no/such/file.jpg",
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_picture_is_refused_with_a_reason(predictor, what):
    with pytest.raises(BadImage) as error:
        predictor.predict(BAD[what])
    assert len(str(error.value)) > 15


def test_a_folder_is_no_picture(predictor, tmp_path):
    with pytest.raises(BadImage, match="folder"):
        predictor.predict(tmp_path)


# --- the same network, faster ------------------------------------------------------------------------------------------


needs_onnx = pytest.mark.skipif(not (find_spec("onnxruntime") and find_spec("onnxscript")), reason="pip install -e '.[onnx]'")


@pytest.fixture(scope="module")
def with_onnx(tmp_path_factory) -> Path:
    bundle = tiny_bundle(tmp_path_factory.mktemp("onnx") / "tiny")
    export_onnx(bundle)
    return bundle


@needs_onnx
def test_onnx_gives_the_same_answers_alone_in_lists_and_from_the_command(with_onnx, predictor, tmp_path):
    fast = Predictor(with_onnx, backend="onnx")
    assert "model" not in vars(fast)  # the weights were not even read
    images = [coloured(CLASSES[i % 4], i, (50, 40)) for i in range(9)]
    pixels = np.stack([predictor.prepare(image) for image in images])
    assert (fast.logits(pixels) - predictor.logits(pixels)).abs().max() < 1e-4
    for one, other in zip(fast.predict_many(images, batch_size=4), predictor.predict_many(images, batch_size=4), strict=True):
        assert one.label == other.label and one.known == other.known
        np.testing.assert_allclose(one.probs, other.probs, atol=1e-4)
    assert fast.predict(images[0]).label == CLASSES[0] and fast.model(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
    images[1].save(tmp_path / "bus.png")
    code, out, _ = command(tmp_path / "bus.png", "--bundle", with_onnx, "--backend", "onnx")
    assert code == 0 and out.splitlines()[0].startswith(str(tmp_path / "bus.png") + ": bus")


@needs_onnx
def test_an_onnx_file_of_other_weights_is_refused(with_onnx, tmp_path):
    stale = Path(shutil.copytree(with_onnx, tmp_path / "stale"))
    weights = load_file(stale / "model.safetensors")
    save_file({name: value * 1.01 if value.is_floating_point() else value for name, value in weights.items()}, stale / "model.safetensors")
    with pytest.raises(VehicleError, match=r"not made from the weights beside it.*--onnx"):
        Predictor(stale, backend="onnx")
    (stale / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(VehicleError, match="cannot be loaded"):
        Predictor(stale, backend="onnx")
    (stale / "model.onnx").unlink()
    with pytest.raises(VehicleError, match=r"cannot be read.*--onnx"):
        Predictor(stale, backend="onnx")
    other = Path(shutil.copytree(with_onnx, tmp_path / "other"))
    write_json(other / "config.json", json.loads((other / "config.json").read_text()) | {"input_size": 48})
    with pytest.raises(VehicleError, match="sizes other than"):
        Predictor(other, backend="onnx")


def test_an_exported_network_that_answers_otherwise_is_not_written():
    def judge(xb):
        return torch.zeros(len(xb), 4), torch.zeros(len(xb))

    def wrong_for_several(xb):
        return torch.zeros(len(xb), 4) + (len(xb) > 1) * 0.01, torch.zeros(len(xb))

    def no_number(xb):
        return torch.full((len(xb), 4), torch.nan), torch.zeros(len(xb))

    def unfamiliar(xb):
        return torch.zeros(len(xb), 4), torch.zeros(len(xb)) + 0.1

    images = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    onnx_export._check_same(judge, judge, images)
    for other in (wrong_for_several, no_number, unfamiliar):
        with pytest.raises(VehicleError, match="not written"):
            onnx_export._check_same(judge, other, images)


@needs_onnx
def test_int8_is_smaller_answers_alike_and_is_not_written_where_it_costs_accuracy(with_onnx, tmp_path, monkeypatch):
    bundle, processed = Path(shutil.copytree(with_onnx, tmp_path / "tiny")), tiny_processed(tmp_path / "processed", each=12)
    large = (bundle / "model.onnx").stat().st_size
    plain = Predictor(bundle, backend="onnx")
    assert export_onnx(bundle, processed).stat().st_size < large / 2
    small = Predictor(bundle, backend="onnx")
    images = [coloured(kind, 500 + i) for kind in CLASSES for i in range(5)]
    answers = [list(ready.predict_many(images)) for ready in (plain, small)]
    assert [a.label for a in answers[0]] == [a.label for a in answers[1]]
    apart = max(np.abs(a.probs - b.probs).max() for a, b in zip(*answers, strict=True))
    assert 1e-6 < apart < 0.1  # another network, and nearly the same
    written = (bundle / "model.onnx").read_bytes()
    monkeypatch.setattr(onnx_export, "MAX_INT8_LOSS", -0.01)
    with pytest.raises(VehicleError, match=r"int8 the validation accuracy is 100.0% instead of 100.0%: not written"):
        export_onnx(bundle, processed)
    with pytest.raises(VehicleError, match="other classes"):
        export_onnx(bundle, tiny_processed(tmp_path / "other", ["a", "b", "c", "d"]))
    assert (bundle / "model.onnx").read_bytes() == written


def test_backends_that_cannot_be_are_refused(bundle):
    with pytest.raises(VehicleError, match="torch or onnx"):
        Predictor(bundle, backend="tea")
    with pytest.raises(VehicleError, match="on the CPU"):
        Predictor(bundle, backend="onnx", device="cuda")


def test_without_the_page_s_extra_all_but_the_page_works_and_that_says_what_to_install():
    code = """import sys
sys.modules["streamlit"] = sys.modules["starlette"] = None
import vehicle_nb.serving.predictor
print([m for m in sys.modules if m.startswith(("vehicle_nb.train", "vehicle_nb.serving.ui"))])
import vehicle_nb.serving.session
from vehicle_nb.commands import vehicle_app
vehicle_app([])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "[]\n"), "neither the page nor the training is loaded with the predictor"
    assert done.stderr.count("\n") == 1 and "pip install -e '.[app]'" in done.stderr


def test_two_bundles_may_be_loaded_and_asked_at_the_same_time(tmp_path):
    "torch.fx replaces nn.Module.__call__ for the whole process while it traces a network."
    bundles = [tiny_bundle(tmp_path / str(i)) for i in range(2)]
    first, wrong, done = Predictor(bundles[0], "cpu"), [], threading.Event()

    def ask():
        while not done.is_set():
            try:
                if first.predict(coloured("bus", 1)).label != "bus":
                    wrong.append("label")
            except Exception as error:
                wrong.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(5):
            Predictor(bundles[1], "cpu")
    finally:
        done.set()
        thread.join()
    assert not wrong


def test_without_the_extra_a_sentence_says_what_to_install(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for attempt in (lambda: Predictor(bundle, backend="onnx"), lambda: export_onnx(bundle)):
        with pytest.raises(VehicleError, match=r"pip install -e '\.\[onnx\]'"):
            attempt()


# --- every architecture ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["regnet_y_400mf", "mnasnet0_5", "efficientnet_b0"])
def test_a_bundle_of_a_family_that_computes_while_it_is_built_is_loaded(arch, tmp_path):
    net = create_model(arch, 3).eval()
    save_bundle(tmp_path, net, {"arch": arch, "classes": ["a", "b", "c"], "image_size": 64, "input_size": 64})
    again, *_ = load_bundle(tmp_path)
    xb = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(net(xb), again(xb))


def test_shapes_take_no_memory_and_are_those_of_the_network():
    with ShapesOnly():
        huge, own = create_model("regnet_y_128gf", 4), create_model("vehicle_cnn", 4)
    assert sum(weight.numel() for weight in huge.parameters()) > 6e8
    assert all(weight.is_meta for weight in huge.parameters()) and not torch.zeros(1).is_meta
    shapes = {name: (value.shape, value.dtype) for name, value in create_model("vehicle_cnn", 4).state_dict().items()}
    assert {name: (value.shape, value.dtype) for name, value in own.state_dict().items()} == shapes


# --- many pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_many_are_answered_like_one_by_one_and_in_order(predictor, batch_size):
    images = [coloured(CLASSES[i % 4], i, (40 + i, 60)) for i in range(11)]
    many = list(predictor.predict_many(iter(images), batch_size=batch_size))
    assert [a.label for a in many] == [CLASSES[i % 4] for i in range(11)]
    assert [a.name for a in many] == [f"image {i}" for i in range(1, 12)]
    for image, answer in zip(images, many, strict=True):
        np.testing.assert_allclose(answer.probs, predictor.predict(image).probs, atol=1e-5)


def test_each_hostile_file_gets_its_own_answer_or_its_own_reason(predictor):
    files = {name: data for name, (data, _) in byte_files().items()}
    answers = list(predictor.predict_many(files.values(), batch_size=7))
    reasons = {}
    for (name, data), answer in zip(files.items(), answers, strict=True):
        try:
            read_image(data, predictor.image_size)
            assert answer.error is None and answer.label, name
        except BadImage as reason:
            assert answer.error == str(reason), name
            reasons[name] = answer.error
    assert len(reasons) > 10 and len(files) - len(reasons) > 10
    used = [name for name, (_, outcome) in byte_files().items() if outcome == USED]
    assert not set(used) & set(reasons)


def test_many_of_nothing_and_one_alone(predictor):
    assert list(predictor.predict_many([])) == []
    assert [a.label for a in predictor.predict_many(coloured("boat", 1))] == ["boat"]
    assert [bool(a.error) for a in predictor.predict_many([b"", None])] == [True, True]


def test_pictures_are_read_ahead_by_two_batches_at_most(predictor):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield coloured("bus", 1)

    answers = predictor.predict_many(endless(), batch_size=3)
    for _ in range(4):
        next(answers)
    answers.close()
    assert len(taken) <= 4 + 2 * 3 + 3


def test_visitors_may_ask_one_predictor_at_the_same_time(predictor):
    wrong = []

    def visitor(kind):
        for seed in range(12):
            if predictor.predict(coloured(kind, seed)).label != kind:
                wrong.append((kind, seed))

    threads = [threading.Thread(target=visitor, args=(CLASSES[i % 4],)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_folder_is_walked_as_a_raw_folder_is(tmp_path):
    make_hostile(tmp_path / "f")
    found = [p.name for p in find_images([tmp_path / "f"])]
    assert found.count("nested.jpg") == 1 and len(found) > 10
    assert not set(found) & {".hidden.jpg", "Thumbs.db", "pipe.jpg", "socket.jpg", "loop", "up", "endless.jpg", "nowhere.jpg"}


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no folder shared/photos beside the repository")
def test_real_photos_are_all_answered(predictor):
    files = [p for folder in sorted(PHOTOS.iterdir()) for p in sorted(folder.iterdir())[:6]]
    answers = list(predictor.predict_many(files))
    assert len(answers) == len(files) and not [a.error for a in answers if a.error]


# --- the command -------------------------------------------------------------------------------------------------------


def test_one_picture_gets_bars(bundle, tmp_path):
    coloured("fire_truck", 2).save(tmp_path / "red.jpg")
    code, out, _ = command(tmp_path / "red.jpg", "--bundle", bundle, "--top", "2")
    assert code == 0 and "fire_truck" in out.splitlines()[0] and len(out.splitlines()) == 3
    assert "█" in out.splitlines()[1]


def test_the_exit_code_says_whether_all_were_answered(bundle, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    coloured("bus", 2).save(good)
    bad.write_bytes(b"<html></html>")
    assert command(good, good, "--bundle", bundle)[0] == 0
    code, out, err = command(good, bad, tmp_path / "missing.png", "--bundle", bundle)
    assert code == 1 and len(out.splitlines()) == 3 and "HTML" in out and "no such file" in out
    code, out, err = command(bad, "--bundle", bundle)
    assert code == 2 and err.count("\n") == 1 and "bad.png" in err and "HTML" in err
    assert command(bad, tmp_path / "missing.png", "--bundle", bundle)[0] == 2


MISTAKES = [
    (["x.jpg", "--bundle", "no_models"], "accelerate launch -m vehicle_nb.train"),
    (["x.jpg", "--json", "--csv"], "one of --json and --csv"),
    (["nothing/*.jpg"], "No images in"),
    (["good.png", "--bundle", "tiny", "--device", "warp"], "no device"),
]


@pytest.mark.parametrize(("argv", "words"), MISTAKES)
def test_a_mistake_ends_in_one_sentence(argv, words, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coloured("bus", 2).save("good.png")
    code, out, err = command(*[bundle if a == "tiny" else a for a in argv])
    assert code == 2 and words in err and err.count("\n") == 1 and not out


def test_a_bundle_that_is_none_is_refused(tmp_path):
    coloured("bus", 2).save(tmp_path / "good.png")
    broken = tiny_bundle(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not weights")
    code, _, err = command(tmp_path / "good.png", "--bundle", broken)
    assert code == 2 and "model.safetensors" in err and "Traceback" not in err


def test_json_and_csv_of_hostile_names(bundle, tmp_path):
    make_hostile(tmp_path / "f")
    code, out, _ = command(tmp_path / "f", "--bundle", bundle, "--json", "--top", "2")
    rows = json.loads(out)
    keys = ["name", "label", "known", "probability", "ood_score", "ood_threshold", "top", "error"]
    assert code == 1 and all(list(r) == keys for r in rows) and {bool(r["error"]) for r in rows} == {True, False}
    assert all(r["label"] is None and r["top"] == [] if r["error"] else len(r["top"]) == 2 and r["known"] for r in rows)
    code, out, _ = command(tmp_path / "f", "--bundle", bundle, "--csv", "--top", "99")
    table = list(csv.DictReader(io.StringIO(out)))
    assert [r["name"] for r in table] == [r["name"] for r in rows]
    assert [r["label"] or None for r in table] == [r["label"] for r in rows]
    assert "label_4" in table[0] and "label_5" not in table[0]


def test_the_installed_command_reads_standard_input(bundle, tmp_path):
    data = encode(coloured("boat", 4), "PNG")
    run = [sys.executable, "-m", "vehicle_nb.serving.predictor", "-", "--bundle", str(bundle), "--json"]
    done = subprocess.run(run, input=data, capture_output=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)[0]["label"] == "boat"
    assert os.listdir(tmp_path) == []


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(bundle, tmp_path):
    for i in range(300):
        coloured("bus", i, (16, 16)).save(tmp_path / f"{i:03}.png")
    os.mkfifo(tmp_path / "pipe")
    options = ["--bundle", bundle, "--batch_size", 4, "--quiet"]
    process = forks.Forked("vehicle_nb.serving.predictor", tmp_path, *options, stdout=tmp_path / "pipe")
    with open(tmp_path / "pipe") as pipe:
        assert "bus" in pipe.readline()
    process.wait(120)
    assert (process.returncode, process.communicate()) == (0, ("", ""))


def test_plain_ascii_terminals_get_plain_bars(bundle, tmp_path, monkeypatch):
    coloured("bus", 2).save(tmp_path / "a.png")
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", pipe)
    with pytest.raises(SystemExit) as end:
        run_command(predict_images, [str(tmp_path / "a.png"), "--bundle", str(bundle)])
    assert end.value.code == 0 and b"####" in pipe.buffer.getvalue()


def test_small_things():
    assert [percent(p) for p in (0, 0.004, 0.5, 0.996, 1)] == ["<1 %", "<1 %", "50 %", ">99 %", ">99 %"]
    broken = Prediction.failed("cut off", "x", num_classes=2)
    nothing = {"label": None, "known": None, "probability": None, "ood_score": None, "ood_threshold": None, "top": []}
    assert broken.to_dict() == {"name": "x", **nothing, "error": "cut off"} and broken.probs.tolist() == [0, 0]
    assert load_image(np.zeros((4, 5), bool)).size == (5, 4)
    with pytest.raises(VehicleError):
        Predictor("no/such/folder")
