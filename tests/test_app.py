"""The page: its logic through Streamlit's AppTest, and what a visitor sees and does in a real browser, wide and narrow.

The browser tests skip themselves, and say so, where no Chromium is installed.
"""

import ast
import base64
import csv
import gc
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
from browser import FLAGS, find_browser
from conftest import ROOT, read_settings
from frame import PAGE as FRAME_PAGE, framed
from hostile import byte_files, encode, giant_jpeg, oriented
from PIL import Image
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash
from tiny import CLASSES, coloured, tiny_bundle, tiny_processed

try:
    import resource
except ImportError:  # Windows
    resource = None

from vehicle_nb.data.images import MAX_PIXELS, BadImage
from vehicle_nb.demo.make import DEMO_CLASSES
from vehicle_nb.evaluation.evaluate import evaluate
from vehicle_nb.files import write_json
from vehicle_nb.models.bundle import write_examples
from vehicle_nb.serving import i18n, image_input, jobs, server as serving_server, ui
from vehicle_nb.serving.batching import LIMITS, shared_model
from vehicle_nb.serving.feedback import read_feedback
from vehicle_nb.serving.image_input import load_image
from vehicle_nb.serving.predictor import Predictor, confidence_words
from vehicle_nb.serving.web import shared

APP = str(ROOT / "app.py")  # for `streamlit run`
WEB = ROOT / "vehicle_nb" / "serving" / "web"
PAGE = str(WEB / "app.py")  # what that runs for each visitor


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
    monkeypatch.setattr(shared, "RUNS", folder)
    visit_from("http://localhost:8501", monkeypatch)
    return folder


@pytest.fixture
def tiny(models) -> Path:
    "The bundle that knows four colours, as the page's only model."
    return tiny_bundle(models / "tiny")


def run(at: AppTest | None = None) -> AppTest:
    "Run the page; an exception in it is a failure of the test."
    at = (AppTest.from_file(PAGE, default_timeout=60) if at is None else at).run()
    assert not at.exception, at.exception
    return at


def html(at: AppTest) -> str:
    "All HTML that the page shows, without its style sheet."
    return "\n".join(e.proto.body for e in at.get("html") if not e.proto.body.startswith("<style>"))


def texts(at: AppTest) -> str:
    "All that stands in Streamlit's own texts."
    return "\n".join(e.value for kind in (at.markdown, at.caption, at.info, at.warning) for e in kind)


def visit(language: str = "en") -> AppTest:
    "A new visitor, whose browser speaks `language`."
    at = AppTest.from_file(PAGE, default_timeout=60)
    at.session_state["language"] = language
    return run(at)


def about(at: AppTest, page: str = "about") -> AppTest:
    "Go to the page about the model, or back (an empty name)."
    at._page_hash = calc_hash(page)
    return run(at)


def upload(at: AppTest, *files: tuple[str, bytes]) -> AppTest:
    at.file_uploader[0].set_value([(name, data, "image/jpeg") for name, data in files])
    return run(at)


def jpeg(label: str, seed: int = 1) -> bytes:
    return encode(coloured(label, seed, (120, 90)))


def button(at: AppTest, label: str):
    return next(b for b in at.button if label in b.label)


def press(at: AppTest, label: str) -> AppTest:
    button(at, label).click()
    return run(at)


def choice(at: AppTest, key: str):
    "A choice of pills or segments."
    return next(group for group in at.button_group if group.key.startswith(key))


def cards(at: AppTest) -> list[str]:
    "What the gallery's cards say."
    return [b.label for b in at.button if (b.key or "").startswith("gallery_button")]


# --- one answer ----------------------------------------------------------------------------------------------------------


def test_the_collector_does_not_look_at_the_model(tiny):
    "Streamlit collects garbage after each click; over a model's objects that took half of the time of an answer."
    run()
    model = shared_model(tiny)
    assert gc.is_tracked(model) and not any(thing is model for thing in gc.get_objects())


def test_one_picture_is_answered_without_a_further_click(tiny):
    at = upload(run(), ("my bus.jpg", jpeg("bus")))
    assert 'class="sign known"' in html(at) and ">Bus<" in html(at) and "%" in html(at)
    assert not at.error and "Answer of the model tiny" in texts(at)
    assert 'class="rail"' not in html(at), "what is below 0.1 % gets no bar"


def test_unsure_answers_show_the_other_guesses(models):
    tiny_bundle(models / "tiny", temperature=10.0)
    text = html(upload(run(), ("x.jpg", jpeg("bus"))))
    assert text.count('class="rail"') == 4 and 'aria-label="The best guesses"' in text


def give_examples(bundle: Path, each: int = 2) -> Path:
    "Put examples of the four colours into a bundle."
    images = np.stack([np.asarray(coloured(label, 90 + i, (64, 64))) for label in CLASSES for i in range(each)])
    write_examples(bundle, images, np.arange(len(CLASSES)).repeat(each), CLASSES)
    return bundle


@pytest.mark.parametrize("examples", [False, True])
def test_what_it_does_not_know_explains_itself(models, examples):
    bundle = tiny_bundle(models / "tiny", temperature=50.0, ood_threshold=0.9)
    if examples:
        give_examples(bundle)
    at = upload(run(), ("x.jpg", jpeg("bus")))
    sign = next(part for part in html(at).splitlines() if "sign unknown" in part)
    assert "I don’t recognise this vehicle" in sign and "%" not in sign, "no guess stands beside it"
    assert re.search(r"gives its best guess \d+%. It answers from 90% on", texts(at)) and "not like enough" in texts(at)
    captions = [image.proto.imgs[0].caption for image in at.get("image") if image.proto.imgs[0].caption]
    assert 'class="score"' in html(at) and captions[:2] == (["Bus", "Bus"] if examples else [])
    assert examples or "Bus, " in texts(at), "without examples their names"


def test_a_known_answer_shows_what_it_looks_like_on_request(tiny):
    give_examples(tiny)
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert "answers from" not in texts(at)
    at.toggle(key="similar").set_value(True)
    at = run(at)
    assert "answers from" in texts(at) and [i.proto.imgs[0].caption for i in at.get("image")][:2] == ["Bus", "Bus"]


@pytest.mark.parametrize("classes, title, unknown", [
    (["boat", "x", "y", "z"], "Which vehicle is this?", "I don’t recognise this vehicle"),
    (["key", "mug", "a", "b"], "What is this?", "I don’t recognise this"),
])  # fmt: skip
def test_the_question_fits_what_the_bundle_knows(models, classes, title, unknown):
    tiny_bundle(models / "tiny", classes=classes, temperature=50.0, ood_threshold=0.9)
    text = html(upload(run(), ("x.jpg", jpeg("bus"))))
    assert f"<h1>{title}</h1>" in text and f">{unknown}<" in text


def test_a_model_of_drawings_warns_about_photos_and_not_about_its_own_examples(models):
    tiny_bundle(models / "tiny", provenance={"images": 2800, "drawn": True, "source": "the demo set", "date": "2026-11-28"})
    at = run()
    assert "drawings only" in texts(upload(at, ("x.jpg", jpeg("bus"))))
    assert "drawings only" not in texts(press(press(at, "Start again"), "Tractor"))


BROKEN = {
    "zero bytes": (b"", "0 bytes"),
    "a web page": (b"<!doctype html><html>404</html>", "HTML page"),
    "cut off": (encode(coloured("bus", 1, (300, 300)))[:900], "cut off"),
    "a bomb": (giant_jpeg(), "too many pixels"),
    "an archive": (b"PK\3\4" + b"x" * 100, "ZIP archive is damaged"),
}


def test_bad_files_get_a_sentence_and_the_page_lives_on(tiny):
    at = run()
    for what, (data, words) in BROKEN.items():
        at = upload(at, (f"{what}.jpg", data))
        assert len(at.error) == 1 and words in at.error[0].value and f"{what}.jpg" in at.error[0].value, what
        assert 'class="sign' not in html(at)
    at = upload(at, ("good.jpg", jpeg("tractor")))
    assert not at.error and ">Tractor<" in html(at)


def shown_image(at: AppTest) -> str:
    "The address of the large image, which depends on its bytes."
    return next(image.value[0] for image in at.get("image") if "The picture" in image.proto.imgs[0].alt)


def test_the_switch_shows_where_it_looked_beside_the_picture(tiny):
    at = upload(run(), ("x.jpg", jpeg("bus")))
    plain = shown_image(at)
    at.toggle(key="heatmap").set_value(True)
    at = run(at)
    warm = [i for i in at.get("image") if "warm places" in i.proto.imgs[0].alt]
    assert shown_image(at) == plain and len(warm) == 1 and warm[0].value[0] != plain


def test_the_heat_map_depends_on_the_image_and_on_the_class(tmp_path):
    predictor = Predictor(tiny_bundle(tmp_path / "tiny"), device="cpu")
    image = np.full((60, 90, 3), 128, np.uint8)
    image[8:28, 36:56] = (220, 30, 30)
    prediction = predictor.predict(image)
    overlay = ui.grad_cam_image(predictor, image, prediction)
    assert overlay.shape == image.shape and overlay.dtype == np.uint8, "the size of the picture, without grey bars"
    change = np.abs(overlay.astype(int) - image).max(2)
    assert change.max() > 50 and change.std() > 5, "some places glow, others do not"
    other = replace(prediction, probs=np.roll(prediction.probs, 1))
    assert (ui.grad_cam_image(predictor, image, other) != overlay).any(), "another class, another map"


def test_names_from_outside_are_only_names(models):
    tiny_bundle(models / "tiny", classes=["<script>a()</script>", "<img src=x>", "c", "d"])
    name = '"><img src=x onerror=alert(1)>.jpg'
    at = upload(run(), (name, jpeg("boat")))
    text = html(at)
    assert "&lt;script&gt;" in text.lower() and "<script>a" not in text and "<img src=x" not in text
    at = upload(at, (name, jpeg("boat")), ("b.jpg", jpeg("bus")))
    assert "<img" not in html(at) and "\\<img src" in texts(at) and "\\<script" in cards(at)[0].lower()


# --- one picture at a time, many when wanted --------------------------------------------------------------------------------


def test_a_new_upload_replaces_unless_it_is_added(tiny):
    at = upload(upload(run(), ("a.jpg", jpeg("bus"))), ("b.jpg", jpeg("boat")))
    assert ">Boat<" in html(at) and not cards(at)
    at = press(at, "Add more")
    at.file_uploader[-1].set_value([("c.jpg", jpeg("tractor"), "image/jpeg")])
    at = run(at)
    assert [c.split()[0] for c in cards(at)] == ["Boat", "Tractor"]
    at = press(at, "Start again")
    assert not cards(at) and 'class="sign' not in html(at) and button(at, "Tractor").key.startswith("examples")


def test_several_pictures_become_a_gallery_to_filter_and_download(tiny):
    files = [(f"{label}{i}.jpg", jpeg(label, i)) for label in CLASSES for i in range(2)] + [("bad.jpg", b"")]
    at = upload(run(), *files)
    assert "9 pictures" in html(at) and len(cards(at)) == 9 and cards(at)[-1] == "Not readable"
    assert choice(at, "only").options == ["Boat 2", "Bus 2", "Fire truck 2", "Tractor 2", "Not readable 1"]
    choice(at, "only").set_value(("known", "bus"))
    at = run(at)
    assert [c.split()[0] for c in cards(at)] == ["Bus", "Bus"]
    assert [d.label for d in at.get("download_button")] == ["CSV", "JSON"]
    at.button(key="gallery_button1").click()
    assert ">Bus<" in html(run(at)), "a card opens its answer"


def test_many_pictures_have_pages_and_a_limit(tiny, monkeypatch):
    from vehicle_nb.serving import session

    monkeypatch.setattr(session, "LIMITS", replace(LIMITS, max_images=30))
    at = upload(run(), *[(f"{i}.jpg", encode(coloured("bus", i, (40, 30)))) for i in range(32)])
    assert "30 pictures" in html(at) and len(cards(at)) == LIMITS.cards and "2 were left out" in at.warning[0].value
    at.pagination(key="cards").set_value(2)
    assert len(cards(run(at))) == 30 - LIMITS.cards


def test_an_archive_is_opened(tiny):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for label in CLASSES:
            archive.writestr(f"set/{label}.jpg", jpeg(label))
        archive.writestr("__MACOSX/set/._bus.jpg", b"x")
        archive.writestr("notes.txt", b"x" * 100)
    at = upload(run(), ("set.zip", packed.getvalue()))
    assert [c.split()[0] for c in cards(at)] == ["Boat", "Bus", "Fire", "Tractor", "Not"]


def test_what_was_seen_in_this_visit_comes_back_with_one_click(tiny):
    at = upload(run(), ("first.jpg", jpeg("bus")))
    assert "Seen in this visit" not in html(at), "one picture is no history"
    at = upload(at, ("second.jpg", jpeg("boat")))
    assert ">Boat<" in html(at) and "Seen in this visit" in html(at)
    at = press(at, "Bus")
    assert 'class="label">Bus<' in html(at)
    at = press(at, "Start again")
    assert 'class="label"' not in html(at) and not at.session_state["history"]
    assert "Seen in this visit" not in html(run()), "another visitor has another history"


# --- examples ------------------------------------------------------------------------------------------------------------


def test_an_example_is_one_click_away(tiny):
    at = run()
    assert sorted(b.label for b in at.button if (b.key or "").startswith("examples_button")) == ["Boat", "Bus", "Fire truck", "Tractor"]
    before = at.session_state["example_seed"]
    at = press(at, "Others")
    assert at.session_state["example_seed"] == before + 1
    at = press(at, "Tractor")
    assert 'class="sign' in html(at) and not at.error
    assert not [b for b in at.button if (b.key or "").startswith("examples")], "one picture needs no second list"


def test_the_examples_are_the_bundles_own(models, monkeypatch):
    bundle = tiny_bundle(models / "tiny", provenance={"images": 40, "drawn": False, "source": "own images", "date": "2026-11-28"})
    assert not [b for b in run().button if (b.key or "").startswith("examples")], "a model of photos offers no drawings"
    give_examples(bundle)
    shared.bundle_examples.clear()
    at = run()
    assert len([b for b in at.button if (b.key or "").startswith("examples_button")]) == 4
    assert ">Boat<" in html(press(at, "Boat"))
    assert html(about(at)).count("<img") == 4, "and they stand for what it knows"


# --- correct it -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tiny, tmp_path, monkeypatch) -> Path:
    "The operator has turned corrections on: their folder."
    monkeypatch.setenv("VEHICLE_FEEDBACK", str(tmp_path / "feedback"))
    return tmp_path / "feedback"


def test_without_a_store_nobody_is_asked(tiny, monkeypatch):
    monkeypatch.delenv("VEHICLE_FEEDBACK", raising=False)
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert [group.key for group in at.button_group] == ["language_switch"] and not at.checkbox


@pytest.mark.parametrize("right, answer, sent", [(True, None, ("bus", "", "yes")), (False, "boat", ("boat", "", "no")),
                                                 (False, "", ("", "a quad bike", "no"))])  # fmt: skip
def test_a_correction_is_sent_with_consent_alone(store, right, answer, sent):
    at = upload(run(), ("x.jpg", jpeg("bus")))
    choice(at, "right").set_value(right)
    at = run(at)
    if not right:
        choice(at, "class").set_value(answer)
        at = run(at)
        if not answer:
            assert button(at, "Send").disabled
            next(field for field in at.text_input if field.key.startswith("other")).set_value(" a quad bike ")
            at = run(at)
    assert button(at, "Send").disabled and not store.exists(), "no consent yet"
    at.checkbox[0].check()
    at = press(run(at), "Send")
    (row,) = read_feedback(store)
    assert (row["label"], row["other"], row["correct"], row["prediction"], row["model"]) == (*sent, "bus", "tiny")
    at.text_input(key="delete_code").set_value(at.code[0].value.lower())
    at = press(run(at), "Delete")
    assert "Deleted." in [s.value for s in at.success] and not read_feedback(store)
    at = upload(at, ("y.jpg", jpeg("boat")))
    assert choice(at, "right").value is None and not at.checkbox, "the next picture is asked about anew"


# --- nothing is lost ---------------------------------------------------------------------------------------------------------


def test_pictures_outlast_page_and_language(tiny):
    at = upload(run(), ("x.jpg", jpeg("bus")), ("y.jpg", jpeg("boat")))
    at = about(at)
    assert "About the model" in html(at) and not cards(at) and at.metric
    at = about(at, "")
    assert len(cards(at)) == 2
    choice(at, "language_switch").set_value("fr")
    at = run(at)
    assert len(cards(at)) == 2 and at.query_params["lang"] == "fr" and "2 images" in html(at)


def test_the_address_says_language_and_model(models):
    old, _ = tiny_bundle(models / "old"), tiny_bundle(models / "new", classes=["w", "x", "y", "z"])
    os.utime(old / "model.safetensors", (1, 1))
    assert ">X<" in html(upload(visit(), ("x.jpg", jpeg("bus")))), "the newest answers"
    at = AppTest.from_file(PAGE, default_timeout=60)
    at.query_params.update(lang="fr", model="old")
    at = upload(run(at), ("x.jpg", jpeg("bus")))
    assert ">Bus<" in html(at) and "Voici" in html(at)
    at = about(at)
    assert models_of(at).value == "old"
    models_of(at).set_value("new")
    at = about(run(at), "")
    assert at.query_params["model"] == "new" and ">X<" in html(at)


def models_of(at: AppTest):
    "The choice among the models."
    return at.radio[0]


def titles(at: AppTest) -> list[str]:
    "What stands in that choice."
    return [option.replace("\\", "") for option in models_of(at).options]


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
    at = about(visit())
    assert {"a", "b", "c"} <= set(read)
    read.clear()
    at = run(at)
    assert read == [] and len(titles(at)) == 3
    write_json(models / "b" / "config.json", json.loads((models / "b" / "config.json").read_text()) | {"metrics": {"val_accuracy": 0.5}})
    assert "b (4 classes, 50.0% right)" in titles(run(at)) and read


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
    at = upload(visit(), ("x.jpg", jpeg("bus")))
    assert ">Bus<" in html(at) and [w.value for w in at.warning] == ["b-bad cannot be used: an older model answers."]
    at = about(at)
    assert [title for title in titles(at) if "b-bad" in title] == ["b-bad (damaged)"] and models_of(at).value == "a-good"
    assert not at.error and not at.code and str(models) not in texts(at), "a visitor reads no commands and no paths"
    assert str(bad) in capfd.readouterr().err, "whoever runs the server does"
    models_of(at).set_value("b-bad")  # chosen by hand, it is named, and nothing else answers in its place
    at = run(at)
    assert at.warning[0].value.endswith("cannot be used.") and models_of(at).value == "b-bad" and not at.metric


def test_no_model_can_be_used(models):
    spoil(tiny_bundle(models / "one"), "config.json")
    spoil(tiny_bundle(models / "two"), "model.safetensors")
    at = visit()
    assert len(at.warning) == 2 and not at.file_uploader and len(titles(at)) == 2
    assert any("config.json" in caption.value for caption in at.caption), "at home the reason is told"


def test_a_picture_is_fetched_from_its_address(tiny, monkeypatch):
    asked = []

    def fetch(url, max_bytes, timeout, allow_private):
        asked.append((url, max_bytes, timeout, allow_private))
        if "missing" in url:
            raise BadImage("the server answered 404 (Not Found)")
        return jpeg("bus" if "other" in url else "tractor")

    monkeypatch.setattr(image_input, "fetch_image", fetch)

    def ask(at, url):
        at.text_input(key="address").set_value(url)
        return run(run(at))  # the fragment asks for a second run when it has the picture

    at = ask(run(), " https://example.org/a%20tractor.jpg?size=1 ")
    assert 'class="label">Tractor<' in html(at) and not at.error
    assert asked == [("https://example.org/a%20tractor.jpg?size=1", 20 * 2**20, 10.0, False)], "with the limits, never from our own network"
    at = ask(at, "https://other.example.org/a%20tractor.jpg?size=1")
    assert 'class="label">Bus<' in html(at), "another picture under the same name"
    at = ask(at, "https://example.org/missing.jpg")
    assert at.error[0].value.startswith("This picture cannot be fetched: the server answered 404") and 'class="label"' not in html(at)
    at = upload(at, ("own.jpg", jpeg("bus")))
    assert not at.error and 'class="label">Bus<' in html(at)


# --- languages -----------------------------------------------------------------------------------------------------------


def sentences() -> set[str]:
    "All sentences of the page: what the code gives to `say`, and those that it chooses from."
    found = {"starting", "training", "testing", "finished", "stopped", *ui.STAGES.values(), *ui.ORDERS}
    found |= {confidence_words(p) for p in (0, 0.5, 0.7, 0.9, 0.99)}
    for path in [*WEB.glob("*.py"), *(ROOT / "vehicle_nb" / "serving").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say" and node.args:
                branches = [node.args[0]]
                while branches:
                    branch = branches.pop()
                    if isinstance(branch, ast.IfExp):
                        branches += [branch.body, branch.orelse]
                    elif isinstance(branch, ast.Constant):
                        found.add(branch.value)
    static = ROOT / "vehicle_nb" / "serving" / "static"  # the page without a server says some of its own
    found |= {s for f in static.glob("*.js") for s in re.findall(r'\bsay\("([^"]+)"', f.read_text(encoding="utf-8"))}
    return found | {s for f in static.glob("*.html") for s in re.findall(r'data-say="([^"]+)"', f.read_text(encoding="utf-8"))}


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


def test_french_is_set_as_in_a_book():
    "No line breaks before `;` `:` `?` `!` `»` `%`: a narrow space stands there, and a figure has its own rules in each language."
    french = i18n.languages()["fr"]
    for text in (*french.texts.values(), *french.errors.values()):
        assert not re.search(r"[ \u00a0][;:?!»%]|«[ \u00a0]", text), text
        assert not re.search(r"\w[;?!»%]", re.sub(r"\{\w+\}|https?://", "", text)), text
    assert (french.percent(0.935, 1), i18n.ENGLISH.percent(0.935, 1)) == ("93,5\u202f%", "93.5%")
    assert (french.percent(0.9999), i18n.ENGLISH.percent(0.9999)) == (">99\u202f%", ">99%")


def test_the_reasons_why_files_are_refused_are_known_in_french():
    french = i18n.languages()["fr"]
    for name, (data, outcome) in byte_files().items():
        try:
            load_image(data, 64)
        except BadImage as error:
            assert french.error(str(error)) != str(error), (name, error)
        else:
            assert outcome.split()[0:1] in ([], ["hidden"], ["too"]), name  # readable; the audit minds the rest, not the page


def test_a_visitor_who_speaks_french_reads_french(tiny):
    at = upload(visit("fr"), ("a.jpg", jpeg("fire_truck")), ("bad.jpg", b"<html></html>"))
    assert "Quel est ce véhicule\u202f?" in html(at) and [c.split(" ")[0] for c in cards(at)] == ["Camion", "Illisible"]
    at = upload(at, ("bad.jpg", b""))
    assert at.error[0].value == "bad.jpg n’est pas utilisable\u202f: fichier vide, 0 octet. Essayez une autre image."


def test_the_browser_says_which_language(tiny, monkeypatch):
    import streamlit as st

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


def test_the_model_tells_about_itself(models):
    bundle = tiny_bundle(models / "demo", metrics={"test_accuracy": 0.875}, created="2026-11-24T10:00:00")
    at = about(visit())
    assert [m.value for m in at.metric] == ["87.5%", "4", "vehicle_cnn", "2026-11-24"]
    assert html(at).count("<li>") == 4 and "not been measured" in texts(at)
    assert not [b for b in at.button if "Measure" in b.label], "the test pictures are not here"
    (bundle / "README.md").write_text("---\nlicense: x\n---\nWhat it is **for**.\n\n<script>alert(1)</script>")
    assert any(m.value.startswith("What it is") for m in about(at).markdown)


def test_it_is_measured_in_the_background_and_shows_its_report_in_french(models, tmp_path, monkeypatch):
    bundle, processed, go = tiny_bundle(models / "tiny"), tiny_processed(tmp_path / "data" / "processed", each=6), tmp_path / "go"
    code = f"print('corrupted images:  40%|####', end='', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.05)"
    monkeypatch.setattr(jobs, "EVALUATE_COMMAND", [sys.executable, "-c", "import os, time\n" + code])
    at = about(visit("fr"))
    at = press(at, "L’évaluer maintenant")
    job = shared.evaluation_job(str(bundle))
    wait_until(lambda: job.fraction)
    assert [p.proto.value for p in run(at).get("progress")] == [40] and not [b for b in at.button if "évaluer" in b.label]
    evaluate(bundle, processed, device="cpu", quiet=True)  # what the command does
    go.touch()
    job.wait(30)
    text = html(run(at))
    assert text.count("data:image/svg+xml") == 1 and text.count('class="rail"') >= 4, "the matrix; too few answers for a diagram"
    assert "rappel" in texts(at) and any("intervalle de confiance à 95\u202f%" in c.value for c in at.caption)
    matrix = base64.b64decode(re.search(r"svg\+xml;base64,([^\"]*)", text)[1]).decode()
    assert "vraie classe" in matrix, "the figure of the report, with the words of the page"
    for damaged in ("{}", '{"accuracy": ', '{"per_class": 3}'):
        (bundle / "report" / "report.json").write_text(damaged)
        assert button(about(at), "L’évaluer"), "a damaged report is no report"


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
    assert [group.key for group in at.button_group] == ["language_switch"], "there is no model to be told about"
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
    at = press(run(), "Train the demo model")
    job = shared.training_job()
    assert job.running
    wait_until(lambda: job.progress().fraction)
    other = run()  # a second visitor sees the same run, and no button
    for visitor in (run(at), other):
        assert [m.value for m in visitor.metric] == ["3 of 12", "61.5%"]
        assert not [b for b in visitor.button if "Train" in b.label]
        bar = visitor.get("progress")[0].proto
        assert (bar.value, bar.text) == (27, "Training, about 1:30 left"), "(3 + 1/4) of 12 epochs"
    go.touch()
    wait_until(lambda: not job.running)
    at = upload(run(at), ("x.jpg", jpeg("boat")))
    assert ">Boat<" in html(at)


def test_a_training_that_fails_says_why_and_may_be_tried_again(models, monkeypatch):
    monkeypatch.setattr(jobs, "TRAIN_COMMAND", fake_training("print('no *space* left'); raise SystemExit(2)"))
    at = press(run(), "Train the demo model")
    shared.training_job().wait(30)
    at = run(at)
    assert "no \\*space\\* left" in at.error[0].value and button(at, "Train the demo model")
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
    title = f"{job.run.name} (4 classes, {i18n.ENGLISH.percent(now.val_accuracy, 1)} right)"
    assert [run.title() for run in ui.read_runs(models)] == [title]


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


FILE_LIMIT = 2**20  # bytes


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



def open_page(browser, server, width=1280, height=900, path="", **options):
    options.setdefault("locale", "en-US")
    tab = browser.new_context(viewport={"width": width, "height": height}, **options).new_page()
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.goto(server[0] + path)
    tab.wait_for_selector("h1", timeout=60_000)
    tab.wait_for_function("location.search.includes('lang=')", timeout=60_000)  # the script is there
    return tab


def give(tab, *files: tuple[str, bytes], into: str = "input[type=file] >> nth=0"):
    tab.set_input_files(into, [{"name": n, "mimeType": "image/jpeg", "buffer": d} for n, d in files])


def says(tab, words: str):
    "Wait until the sign says so."
    tab.wait_for_selector(f".sign .label >> text={words}", timeout=20_000)


def fits(tab) -> bool:
    "Is there nothing to scroll sideways?"
    return tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def bottom(tab, selector: str) -> float:
    box = tab.locator(selector).first.bounding_box()
    return box["y"] + box["height"]


def test_a_visitor_uploads_a_picture_reads_the_answer_and_loses_nothing(browser, server):
    tab = open_page(browser, server, height=800)
    if hasattr(resource, "prlimit"):  # an upload that went to disk would have to be a file, and this is the largest that it may be
        _, hard = resource.prlimit(server[2], resource.RLIMIT_FSIZE)
        resource.prlimit(server[2], resource.RLIMIT_FSIZE, (FILE_LIMIT, hard))
    before = {p for p in server[1].rglob("*") if p.is_file()}
    large = oriented(coloured("fire_truck", 9, (1500, 2600)), 6)
    assert len(large) > 2 * FILE_LIMIT
    give(tab, ("phone.jpg", large))
    says(tab, "Fire truck")
    tab.wait_for_function("document.querySelector('.st-key-image img')?.naturalHeight > 0")
    assert tab.evaluate("(i => i.naturalHeight > i.naturalWidth)(document.querySelector('.st-key-image img'))"), "the right way up"
    assert bottom(tab, ".sign") <= 800, "the answer is seen without scrolling"
    give(tab, ("web page.jpg", b"<html></html>"))
    tab.wait_for_selector("text=HTML page")
    give(tab, ("after.jpg", jpeg("boat")))
    says(tab, "Boat")
    tab.get_by_role("link", name="The model").click()
    tab.wait_for_selector(".stMetric")
    assert "/about?" in tab.url and "lang=en" in tab.url and "model=tiny" in tab.url and tab.title() == "About the model"
    tab.go_back()
    says(tab, "Boat")
    tab.get_by_text("Français").click()
    tab.wait_for_function("document.documentElement.lang == 'fr'")
    says(tab, "Bateau")
    assert tab.title() == "Quel est ce véhicule\u202f?" and "lang=fr" in tab.url
    tab.get_by_role("link", name="Le modèle").click()
    tab.wait_for_selector(".stMetric")
    tab.reload()
    tab.wait_for_selector("text=La page a été rechargée", timeout=30_000)
    assert tab.inner_text("h1") == "À propos du modèle"
    tab.get_by_role("link", name="Identifier").click()
    tab.wait_for_selector("[data-testid=stFileUploader]", timeout=30_000)
    assert tab.locator(".sign").count() == 0 and tab.errors == []
    assert {p for p in server[1].rglob("*") if p.is_file()} == before, "nothing uploaded is written to disk"
    if hasattr(resource, "prlimit"):
        resource.prlimit(server[2], resource.RLIMIT_FSIZE, (hard, hard))


def test_on_a_phone_everything_fits_and_the_answer_comes_first(browser, server):
    tab = open_page(browser, server, 390, 844, has_touch=True, is_mobile=True, reduced_motion="reduce")
    chooser = tab.locator("[data-testid=stFileUploaderDropzone]")
    assert chooser.get_by_role("button", name="Take or choose a photo").count() == 1 and bottom(tab, "[data-testid=stFileUploader]") < 422
    assert tab.locator("input[type=file]").first.get_attribute("accept") == "image/*" and fits(tab)
    give(tab, ("a.jpg", jpeg("bus")))
    says(tab, "Bus")
    assert fits(tab), "nothing to scroll sideways"
    assert bottom(tab, ".sign") <= 422 and bottom(tab, ".st-key-next") <= 500, "answer and next step stand in the upper half"
    give(tab, *[(f"{k}.jpg", jpeg(k)) for k in CLASSES])
    tab.wait_for_selector(".st-key-gallery_button3")
    cells = [tab.locator(f".st-key-gallery_cell{i}").bounding_box() for i in (0, 1)]
    assert cells[0]["y"] == cells[1]["y"] and fits(tab), "two cards side by side"
    tab.get_by_role("link", name="The model").click()
    tab.wait_for_selector(".classes img")
    assert fits(tab) and tab.errors == []


def test_from_start_to_answer_with_the_keyboard_alone(browser, server):
    "Every stop can be seen, has a name, and there is one for each thing to do."
    tab = open_page(browser, server)
    tab.wait_for_selector(".st-key-examples_cell3 img")
    names = []
    while "Fire truck" not in names:
        assert len(names) < 20, names
        tab.keyboard.press("Tab")
        stop = tab.evaluate("""() => { const e = document.activeElement, box = e.getBoundingClientRect();
          const name = e.getAttribute("aria-label") || e.labels?.[0]?.innerText || e.innerText || "";
          return {name: name.trim(), area: box.width * box.height}; }""")
        assert stop["name"] and stop["area"] > 100, (names, stop)
        names.append(stop["name"])
    assert len(names) == len(set(names)), f"no stop twice: {names}"
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".sign", timeout=20_000)
    assert tab.errors == []


def test_the_camera_takes_a_photo(browser, server):
    tab = open_page(browser, server, permissions=["camera"])
    tab.get_by_role("button", name="Use the camera").click()
    shoot = tab.get_by_role("button", name="Take photo")
    shoot.wait_for(timeout=20_000)
    tab.wait_for_function("document.querySelector('video')?.readyState >= 2")
    assert tab.evaluate("document.querySelector('video').videoHeight") == 720
    shoot.click()
    tab.wait_for_selector(".st-key-image img[alt*=camera]", timeout=20_000)
    tab.wait_for_selector("[data-testid=stCameraInputButton]", state="detached")  # its work is done
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
    tab.wait_for_selector("[data-testid=stFileUploader]")
    tab.evaluate(PASTE, ["rgb(30, 60, 220)", ""])
    says(tab, "Boat")
    tab.evaluate(PASTE, ["", f"{server[0]}/picture.jpg"])  # our own server: a private address
    tab.wait_for_selector("text=is in a private network", timeout=20_000)
    field = tab.get_by_role("textbox", name="Web address of a picture")
    field.fill("no address at all")
    field.press("Enter")
    tab.wait_for_selector("text=not a web address", timeout=20_000)
    assert tab.errors == []


def test_many_pictures_filtered_opened_and_taken_home(browser, server):
    tab = open_page(browser, server)
    give(tab, *[(f"{label}{i}.jpg", jpeg(label, i)) for label in CLASSES for i in range(3)])
    tab.wait_for_selector("text=12 pictures", timeout=30_000)
    tab.get_by_role("button", name="Add more").click()
    give(tab, ("<img src=x onerror=alert(1)>.jpg", jpeg("bus", 9)), ("cut.jpg", jpeg("bus")[:500]), into="[role=dialog] input[type=file]")
    tab.wait_for_selector("text=14 pictures", timeout=30_000)
    for kind in ("CSV", "JSON"):
        with tab.expect_download() as download:
            tab.get_by_role("button", name=kind).click()
        text = download.value.path().read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(text.splitlines())) if kind == "CSV" else json.loads(text)
        assert len(rows) == 14 and sum(bool(r["error"]) for r in rows) == 1
    tab.get_by_text("Fire truck 3").click()
    tab.wait_for_selector(".st-key-gallery_cell3", state="detached")
    tab.mouse.click(*centre(tab.locator(".st-key-gallery_cell2 img")))  # on the picture: its button is stretched over it
    tab.wait_for_selector("[role=dialog] .sign >> text=Fire truck", timeout=20_000)
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Start again").click()
    tab.wait_for_selector(".st-key-gallery", state="detached")
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
        ("animated.gif", encode(gif[0], "GIF", save_all=True, append_images=gif[1:]), "Tractor"),
        ("bomb.jpg", giant_jpeg(), "too many pixels"),
        ("cut.jpg", jpeg("bus")[:500], "cut off"),
    ]:
        give(tab, (name, data))
        tab.wait_for_selector(f"text={words}", timeout=20_000)  # no two in a row say the same
    assert tab.errors == []


def test_no_barrier_for_people_with_disabilities(browser, server):
    "axe-core looks at each state of the page, light and dark; what comes from Streamlit's own widgets counts, too."
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = open_page(browser, server, reduced_motion="reduce")

    def look(where: str):
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            tab.wait_for_timeout(400)
            tab.wait_for_selector(".stApp[data-test-script-state=notRunning]")  # while it runs, what is old looks faded
            found = axe.Axe().run(tab).response["violations"]
            assert not found, (where, scheme, [(v["id"], [n["html"][:160] for n in v["nodes"]]) for v in found])

    tab.wait_for_selector(".st-key-examples_cell3 img")
    look("at first")
    give(tab, ("a.jpg", jpeg("bus")))
    says(tab, "Bus")
    for name in ("Show the most similar pictures", "Show where it looked"):
        tab.get_by_text(name).click()
    tab.wait_for_selector(".score")
    look("one picture")
    give(tab, *[(f"{k}.jpg", jpeg(k)) for k in CLASSES], ("cut.jpg", jpeg("bus")[:500]))
    tab.wait_for_selector(".st-key-gallery_cell4")
    look("many pictures")
    tab.locator(".st-key-gallery_button0 button").click()
    tab.wait_for_selector("[role=dialog] .sign")
    look("one of many")
    card = server[1] / "models" / "tiny" / "README.md"
    card.write_text("# Card\n\n" + "| a heading of some length " * 6 + "|\n" + "|---:" * 6 + "|\n" + "| 100 % " * 6 + "|\n")
    try:
        tab.set_viewport_size({"width": 390, "height": 844})
        tab.goto(f"{server[0]}/about?lang=fr")
        tab.get_by_text("Fiche du modèle").click(timeout=30_000)
        tab.wait_for_selector(".stExpander td")
        look("about the model, with its card, on a phone, in French")
        assert fits(tab)
    finally:
        card.unlink()


def test_without_a_model_the_page_offers_to_train_one_on_a_phone(browser, server):
    home = server[1]
    (home / "models" / "tiny").rename(home / "aside")
    try:
        tab = open_page(browser, server, 390, 844, locale="fr-FR")
        tab.get_by_role("button", name="Entraîner le modèle de démonstration").wait_for(timeout=60_000)
        command = tab.locator("[data-testid=stCode] pre")
        assert command.evaluate("e => e.scrollWidth <= e.clientWidth"), "on a phone the whole command is seen"
        assert fits(tab) and tab.evaluate("document.documentElement.lang") == "fr"
    finally:
        (home / "aside").rename(home / "models" / "tiny")


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
    assert tab.locator(".stMainBlockContainer").evaluate("e => getComputedStyle(e).maxWidth") == "1120px", "the style sheet is there"
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
    tab.wait_for_selector("text=12 pictures", timeout=120_000)
    grown = memory_of(space) - before
    assert grown < 80, f"{grown:.0f} MB more for 144 MB of uploads"
    wait_until(lambda: kept_by(space) > 0)
    assert kept_by(space) < 12 * LIMITS.kept_kb * 2**10, "of each a small picture is kept"
    tab.get_by_role("button", name="Start again").click()
    tab.wait_for_selector(".st-key-gallery", state="detached")
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
