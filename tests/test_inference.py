"""Answers from a bundle: the pixels of training, every way to hand over a picture, hostile files, the command."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import USED, byte_files, encode, make_hostile, oriented, picture
from PIL import Image
from tiny import CLASSES, coloured, tiny_bundle, tiny_processed

from vehicle_nb.core import VehicleError, run_command
from vehicle_nb.data import BadImage, read_image
from vehicle_nb.inference import UNKNOWN, Prediction, Predictor, find_pictures, load_image, percent, predict_pictures, text_bars
from vehicle_nb.loading import PackedSplit, to_input

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor(bundle)


def command(*argv) -> tuple[int, str, str]:
    "Run `vehicle_predict` in this process; returns exit code, standard output and standard error."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        run_command(predict_pictures, [str(a) for a in argv], prog="vehicle_predict")
    return end.value.code, out.getvalue(), err.getvalue()


# --- the answer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_the_label_is_what_the_picture_shows(predictor, kind):
    answer = predictor.predict(coloured(kind, 77, (200, 90)))
    assert answer.label == kind and not answer.unknown and answer.error is None
    assert answer.top[0][0] == kind and len(answer.top) == len(CLASSES)
    assert answer.confidence == answer.top[0][1] == pytest.approx(answer.probs.max())
    assert answer.probs.sum() == pytest.approx(1, abs=1e-5)
    assert [p for _, p in answer.top] == sorted(answer.probs.tolist(), reverse=True)


def test_temperature_changes_confidence_and_nothing_else(tmp_path):
    answers = []
    for temperature in (0.5, 1, 4):
        bundle = tiny_bundle(tmp_path / f"t{temperature}", temperature=temperature)
        answers.append(Predictor(bundle).predict(coloured("bus", 5)))
    assert [[c for c, _ in a.top] for a in answers[1:]] == [[c for c, _ in answers[0].top]] * 2
    assert answers[0].confidence > answers[1].confidence > answers[2].confidence


def test_a_weak_best_guess_is_unknown_but_its_guesses_stay(tmp_path):
    weak = Predictor(tiny_bundle(tmp_path / "weak", temperature=50.0, unknown_threshold=0.9)).predict(coloured("bus", 5))
    assert weak.unknown and weak.label == UNKNOWN == "not a vehicle I know"
    assert weak.top[0][0] == "bus" and 0.25 < weak.confidence < 0.9
    assert "nearest: bus" in text_bars(weak)


# --- the pixels of training --------------------------------------------------------------------------------------------


def test_the_network_gets_the_very_tensor_that_training_evaluates_on(predictor, tmp_path):
    processed = tiny_processed(tmp_path / "p")
    packed = PackedSplit(processed, "test", quiet=True)
    seen = []
    handle = predictor.model.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    try:
        for file in packed.files:
            predictor.predict(file)
    finally:
        handle.remove()
    expected = to_input(torch.from_numpy(np.array(packed.images)), predictor.input_size)
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
    image = picture(7, (160, 100))
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


# --- many pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_many_are_answered_like_one_by_one_and_in_order(predictor, batch_size):
    images = [coloured(CLASSES[i % 4], i, (40 + i, 60)) for i in range(11)]
    many = list(predictor.predict_many(iter(images), batch_size=batch_size))
    assert [a.label for a in many] == [CLASSES[i % 4] for i in range(11)]
    assert [a.name for a in many] == [f"picture {i}" for i in range(1, 12)]
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
    found = {p.name for p in find_pictures([tmp_path / "f"])}
    assert "nested.jpg" in found and "notes.jpg" not in found - {"notes.jpg"}
    assert not found & {".hidden.jpg", "Thumbs.db", "pipe.jpg", "socket.jpg", "loop", "up", "endless.jpg", "nowhere.jpg"}


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
    (["nothing/*.jpg"], "No pictures in"),
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
    assert code == 1 and all(r["error"] if r["label"] is None else len(r["top"]) == 2 for r in rows)
    code, out, _ = command(tmp_path / "f", "--bundle", bundle, "--csv", "--top", "99")
    table = list(csv.DictReader(io.StringIO(out)))
    assert [r["picture"] for r in table] == [r["picture"] for r in rows]
    assert [r["label"] or None for r in table] == [r["label"] for r in rows]
    assert "guess_4" in table[0] and "guess_5" not in table[0]
    out.encode("ascii", "backslashreplace")
    out.encode("utf-8")  # a name that is no UTF-8 does not end the program


def test_the_installed_command_reads_standard_input(bundle, tmp_path):
    data = encode(coloured("boat", 4), "PNG")
    run = [sys.executable, "-m", "vehicle_nb.inference", "-", "--bundle", str(bundle), "--json"]
    done = subprocess.run(run, input=data, capture_output=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)[0]["label"] == "boat"
    assert os.listdir(tmp_path) == []


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(bundle, tmp_path):
    for i in range(300):
        coloured("bus", i, (16, 16)).save(tmp_path / f"{i:03}.png")
    run = [sys.executable, "-m", "vehicle_nb.inference", str(tmp_path), "--bundle", str(bundle), "--batch_size", "4"]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"bus" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 0 and process.stderr.read() == b""
    process.stderr.close()


def test_plain_ascii_terminals_get_plain_bars(bundle, tmp_path):
    coloured("bus", 2).save(tmp_path / "a.png")
    run = [sys.executable, "-m", "vehicle_nb.inference", "a.png", "--bundle", str(bundle)]
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(run, capture_output=True, timeout=120, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr.decode()
    assert b"####" in done.stdout


def test_small_things():
    assert [percent(p) for p in (0, 0.004, 0.5, 0.996, 1)] == ["<1 %", "<1 %", "50 %", ">99 %", ">99 %"]
    broken = Prediction("", 0.0, [], np.zeros(2), name="x", error="cut off")
    assert broken.to_dict() == {"picture": "x", "label": None, "error": "cut off"}
    assert load_image(np.zeros((4, 5), bool)).size == (5, 4)
    with pytest.raises(VehicleError):
        Predictor("no/such/folder")
