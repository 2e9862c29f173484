"""The page: its logic through Streamlit's own tester, and what a visitor sees in a real browser at two widths.

The browser tests skip themselves, and say so, where no Chromium is installed.
"""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from hostile import encode, giant_jpeg, oriented
from PIL import Image
from streamlit.testing.v1 import AppTest
from tiny import CLASSES, coloured, tiny_bundle

from vehicle_nb import page

APP = str(ROOT / "app.py")


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    "An empty folder of models, which the page will use; nothing is remembered from other tests."
    import streamlit as st

    st.cache_resource.clear()
    st.cache_data.clear()
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VEHICLE_MODELS", str(folder))
    return folder


def run(at: AppTest | None = None) -> AppTest:
    "Run the page; an exception in it is a failure of the test."
    at = (at or AppTest.from_file(APP, default_timeout=60)).run()
    assert not at.exception, at.exception
    return at


def html(at: AppTest) -> str:
    "All HTML that the page shows, without its style sheet."
    return "\n".join(e.proto.body for e in at.get("html") if not e.proto.body.startswith("<style>"))


def upload(at: AppTest, *files: tuple[str, bytes]) -> AppTest:
    at.file_uploader[0].set_value([(name, data, "image/jpeg") for name, data in files])
    return run(at)


def jpeg(kind: str, seed: int = 1) -> bytes:
    return encode(coloured(kind, seed, (120, 90)))


def button(at: AppTest, label: str):
    return next(b for b in at.button if label in b.label)


def choice(at: AppTest, label: str):
    return next(s for s in at.selectbox if s.label == label)


# --- logic ---------------------------------------------------------------------------------------------------------------


def test_one_picture_is_answered_without_a_further_click(models):
    tiny_bundle(models / "tiny")
    at = upload(run(), ("my bus.jpg", jpeg("bus")))
    assert 'class="sign known"' in html(at) and ">Bus<" in html(at) and "%" in html(at)
    chart = at.get("arrow_vega_lite_chart") or at.get("vega_lite_chart")
    assert chart, "the probabilities are drawn as a chart"
    assert not at.error


def test_what_it_does_not_know_is_said_plainly(models):
    tiny_bundle(models / "tiny", temperature=50.0, unknown_threshold=0.9)
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
    files = [(f"{kind}{i}.jpg", jpeg(kind, i)) for kind in CLASSES for i in range(2)] + [("bad.jpg", b"")]
    at = upload(run(), *files)
    text = html(at)
    assert text.count("<figure") == 9 and "<b>9 pictures</b>" in text and "1 not readable" in text
    assert text.index("boat0.jpg") < text.index("tractor1.jpg")
    choice(at, "Show").select("bus")
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
    at.session_state["seen"] = {uploader._files[0][0]}
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
    before = at.session_state["turn"]
    button(at, "Others").click()
    assert run(at).session_state["turn"] == before + 1


def test_where_it_looked_is_a_switch(models):
    tiny_bundle(models / "tiny")
    at = upload(run(), ("x.jpg", jpeg("bus")))
    at.toggle[0].set_value(True)
    assert "does not tell" not in str(run(at))


def test_names_from_outside_are_only_names(models):
    tiny_bundle(models / "tiny", classes=["<script>a()</script>", "<img src=x>", "c", "d"])
    name = '"><img src=x onerror=alert(1)>.jpg'
    at = upload(run(), (name, jpeg("boat")), ("b.jpg", jpeg("bus")))
    at2 = upload(at, (name, jpeg("boat")))
    for text in (html(at), html(at2)):
        assert "<script>a" not in text and "<img src=x" not in text
    assert "&lt;script&gt;" in html(at2).lower()


def test_the_newest_model_counts_and_another_can_be_chosen(models):
    old, new = tiny_bundle(models / "old"), tiny_bundle(models / "new", classes=["w", "x", "y", "z"])
    os.utime(old / "model.safetensors", (1, 1))
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert ">X<" in html(at)
    choice(at, "Model").select_index(1)
    assert ">Bus<" in html(run(at))
    assert new.exists()


def test_a_model_that_is_replaced_is_loaded_anew(models):
    tiny_bundle(models / "run")
    at = upload(run(), ("x.jpg", jpeg("bus")))
    assert ">Bus<" in html(at)
    shutil.rmtree(models / "run")
    tiny_bundle(models / "run", classes=["w", "x", "y", "z"])
    os.utime(models / "run" / "config.json", ns=(1, 1))
    assert ">X<" in html(run(at))


def test_a_damaged_model_is_named_and_another_one_works(models):
    good, bad = tiny_bundle(models / "good"), tiny_bundle(models / "bad")
    os.utime(good / "model.safetensors", (1, 1))
    (bad / "config.json").write_text("{}")
    at = run()
    assert any("bad" in e.value for e in at.error)
    choice(at, "Model").select_index(1)
    at = run(at)
    assert not at.error and at.file_uploader


# --- no model yet --------------------------------------------------------------------------------------------------------


def fake_training(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_until(condition, seconds: float = 30):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it took too long"
        time.sleep(0.05)


def test_without_a_model_the_page_offers_to_train_one(models):
    at = run()
    assert button(at, "Train the demo model") and not at.file_uploader
    assert any("accelerate launch -m vehicle_nb.train" in c.value for c in at.code)
    Path("data/raw").mkdir(parents=True)  # the command would train on this folder, so the button says so
    assert button(run(at), "Train on my pictures")


def test_the_button_trains_and_then_the_page_works(models, monkeypatch, tmp_path):
    made = tiny_bundle(tmp_path / "made")
    go = tmp_path / "go"
    code = f"""import os, shutil, sys, time
print('epoch   3/12  train loss 1 accuracy 50.0%   val loss 1 accuracy  61.5%', flush=True)
print('training  25%|##| 01:30 left', end='', flush=True); print(chr(13), end='', flush=True)
while not os.path.exists({str(go)!r}): time.sleep(0.05)
shutil.copytree({str(made)!r}, os.path.join(sys.argv[2], 'demo'))"""
    monkeypatch.setattr(page, "TRAIN_COMMAND", fake_training(code))
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
    go.touch()
    wait_until(lambda: not job.running)
    at = upload(run(at), ("x.jpg", jpeg("boat")))
    assert ">Boat<" in html(at)


def page_job():
    "The training job that the page keeps for all visitors."
    import gc

    return next(o for o in gc.get_objects() if type(o) is page.TrainingJob and o.process is not None)


def test_a_training_that_fails_says_why_and_may_be_tried_again(models, monkeypatch):
    monkeypatch.setattr(page, "TRAIN_COMMAND", fake_training("print('no *space* left'); raise SystemExit(2)"))
    at = run()
    button(at, "Train the demo model").click()
    at = run(at)
    wait_until(lambda: any("has stopped" in e.value for e in run(at).error))
    assert "no \\*space\\* left" in run(at).error[0].value and button(at, "Train the demo model")


def test_progress_is_read_from_what_the_real_training_prints(tmp_path):
    "The format of `vehicle_nb.train`'s own output, from a real, tiny run."
    from tiny import tiny_processed

    processed = tiny_processed(tmp_path / "data", each=8)
    models = tmp_path / "models"
    command = [sys.executable, "-m", "vehicle_nb.train", "--processed", str(processed), "--models", str(models), "--threads", "1",
               "--epochs", "2", "--input_size", "32", "--batch_size", "4"]  # fmt: skip
    job = page.TrainingJob(command)
    job.start()
    wait_until(lambda: not job.running, 150)
    time.sleep(0.2)
    assert not job.failed, "\n".join(job.lines)
    now = job.progress()
    assert (now.epoch, now.epochs) == (2, 2) and now.stage == "training" and now.fraction == 1
    assert 0 <= now.accuracy <= 1
    assert page.bundle_label(next(models.iterdir())).count("4 classes") == 1


# --- settings ------------------------------------------------------------------------------------------------------------


def test_the_server_is_set_up_for_the_open_web():
    text = (ROOT / ".streamlit" / "config.toml").read_text()
    assert re.search(r'^fileWatcherType = "none"', text, re.M) and re.search(r"^maxUploadSize = \d+", text, re.M)
    assert "enableXsrfProtection = false" not in text and "enableCORS = false" not in text
    assert "[theme.light]" in text and "[theme.dark]" in text


# --- a real browser ------------------------------------------------------------------------------------------------------


def find_browser() -> str | None:
    return next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)


FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    path = find_browser()
    if not path:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    "The page on a free port, in a folder of its own; yields its address and that folder."
    home = tmp_path_factory.mktemp("server")
    (home / "tmp").mkdir()
    (home / "models").mkdir()
    tiny_bundle(home / "models" / "tiny")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "TMPDIR": str(home / "tmp"), "HOME": str(home), "VEHICLE_MODELS": "models"}
    env["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "streamlit", "run", APP, "--server.headless=true", f"--server.port={port}",
               "--server.address=127.0.0.1", "--server.fileWatcherType=none"]  # fmt: skip
    log = open(home / "log.txt", "wb")  # noqa: SIM115 (closed below, when the server has ended)
    process = subprocess.Popen(command, cwd=home, env=env, stdout=log, stderr=subprocess.STDOUT)

    def healthy():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
                return answer.read() == b"ok"
        except OSError:
            assert process.poll() is None, (home / "log.txt").read_text()
            return False

    try:
        wait_until(healthy, 60)
        yield f"http://127.0.0.1:{port}", home
    finally:
        stop(process)
        log.close()


def stop(process: subprocess.Popen):
    "End a server; it may take its time over open connections, but not for ever."
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(15)


def open_page(browser, server, width=1280, height=800, **options):
    tab = browser.new_context(viewport={"width": width, "height": height}, **options).new_page()
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.goto(server[0])
    tab.wait_for_selector(".hero", timeout=60_000)
    tab.wait_for_selector("[data-testid=stFileUploader]")
    return tab


def give(tab, *files: tuple[str, bytes]):
    tab.set_input_files("input[type=file]", [{"name": n, "mimeType": "image/jpeg", "buffer": d} for n, d in files])


def test_a_visitor_uploads_a_picture_and_reads_the_answer(browser, server):
    tab = open_page(browser, server)
    before = {p for p in server[1].rglob("*") if p.is_file()}
    upright = coloured("fire_truck", 9, (90, 160))
    give(tab, ("phone.jpg", oriented(upright, 6)))
    tab.wait_for_selector(".sign.known", timeout=20_000)
    assert tab.inner_text(".sign .answer") == "Fire truck" and "%" in tab.inner_text(".sign .sure")
    picture = tab.wait_for_selector(".st-key-picture img")
    tab.wait_for_function("document.querySelector('.st-key-picture img').naturalWidth > 0")
    assert tab.evaluate("i => i.naturalHeight > i.naturalWidth", picture), "the picture stands the right way up"
    tab.wait_for_selector("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
    bottom = tab.evaluate("document.querySelector('.sign').getBoundingClientRect().bottom")
    assert bottom <= 800, "the answer is seen without scrolling"
    give(tab, ("web page.jpg", b"<html></html>"))
    tab.wait_for_selector("text=HTML page")
    assert tab.errors == []
    assert {p for p in server[1].rglob("*") if p.is_file()} == before, "nothing uploaded is written to disk"


def test_on_a_phone_everything_fits_and_the_answer_comes_first(browser, server):
    tab = open_page(browser, server, 390, 844, has_touch=True)
    give(tab, ("a.jpg", jpeg("bus")))
    tab.wait_for_selector(".sign.known", timeout=20_000)
    tab.wait_for_selector("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing to scroll sideways"
    box, picture = tab.locator(".sign").bounding_box(), tab.locator(".st-key-picture").bounding_box()
    assert box["y"] + box["height"] <= 844 and box["y"] < picture["y"]
    give(tab, *[(f"{k}.jpg", jpeg(k)) for k in CLASSES])
    tab.wait_for_selector(".gallery .card")
    cards = tab.locator(".gallery .card")
    assert cards.nth(0).bounding_box()["y"] == cards.nth(1).bounding_box()["y"], "two cards side by side"
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth") and tab.errors == []


def test_examples_answer_to_mouse_and_keyboard_and_the_camera_works(browser, server):
    tab = open_page(browser, server, permissions=["camera"])
    tab.wait_for_selector("[class*=st-key-drawing0] img")
    tab.mouse.click(*centre(tab.locator("[class*=st-key-drawing0]").first))  # on the picture: the button lies over it
    tab.wait_for_selector(".sign", timeout=20_000)
    tab.locator("[class*=st-key-take1] button").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_timeout(300)
    tab.wait_for_selector(".sign")
    tab.locator("[data-testid=stButtonGroup] button", has_text="Camera").click()
    tab.wait_for_selector("[data-testid=stCameraInputButton]", timeout=20_000)
    tab.wait_for_function("document.querySelector('video')?.readyState >= 2")
    tab.locator("[data-testid=stCameraInputButton]").click()
    tab.wait_for_selector(".st-key-picture img[alt*=camera]", timeout=20_000)
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
    notebook = json.loads((ROOT / "nbs" / "09_app.ipynb").read_text())
    named = set(re.findall(r"images/(app_\w+\.\w+)", json.dumps(notebook)))
    assert named == {p.name for p in pictures}
