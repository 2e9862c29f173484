"""The page that needs no server: written whole or not at all; in a real browser it answers as Python does, and asks nobody.

The browser tests skip themselves, and say so, where there is no Chromium, no ONNX, or no network for the runtime.
"""

import base64
import io
import json
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import FLAGS, find_browser, static_host
from conftest import ROOT
from hostile import encode, oriented
from PIL import Image
from tiny import CLASSES, coloured, tiny_bundle

from vehicle_nb.core import VehicleError
from vehicle_nb.demo.make import draw_vehicle
from vehicle_nb.evaluation.ood import build_feature_bank, knn_score, ood_score
from vehicle_nb.features import extract_features
from vehicle_nb.models.bundle import load_bundle, save_bundle
from vehicle_nb.models.registry import create_model
from vehicle_nb.data.augment import normalize_batch
from vehicle_nb.serving import onnx_export, web_export
from vehicle_nb.serving.hub import vehicle_export
from vehicle_nb.serving.predictor import Predictor, confidence_words

STATIC = ROOT / "vehicle_nb" / "serving" / "static"
needs_onnx = pytest.mark.skipif(not (find_spec("onnxruntime") and find_spec("onnxscript")), reason="pip install -e '.[onnx]'")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    "A bundle that knows four colours, and whether an image has one of them."
    folder = tiny_bundle(tmp_path_factory.mktemp("web") / "tiny", image_size=96, input_size=64, temperature=1.5)
    model, config, _ = load_bundle(folder)
    pixels = np.stack([np.asarray(coloured(name, seed, (64, 64))) for name in CLASSES for seed in range(6)])
    with torch.inference_mode():
        features = extract_features(model, normalize_batch(torch.from_numpy(pixels)))
    bank = build_feature_bank(features)
    config |= {"ood_score": "knn", "ood_threshold": float(knn_score(features, bank).min()) - 0.05}
    save_bundle(folder, model, config, bank)
    return folder


@pytest.fixture(scope="module", autouse=True)
def exported_once():
    "A network that was exported before is not exported again: that takes seconds."
    known, make = {}, web_export.make_onnx

    def remembered(network, config, names, **metadata):
        kind = (config["arch"], config["input_size"], *names)
        if kind not in known:
            known[kind] = make(network, config, names, **metadata)
        return known[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web_export, "make_onnx", remembered)
        yield


# --- what is written -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    "An export that takes no time: one file for the page, one for the runtime."
    page = {"index.html": b"<!doctype html>", "sw.js": b"%VERSION% %FILES%", "model.onnx": b"network"}
    about = {"files": [*page, "runtime/a.mjs", "model.json"], "origin": onnx_export.MADE_BY}
    monkeypatch.setattr(web_export, "page_files", lambda bundle, own=False: page | {"model.json": json.dumps(about).encode()})
    monkeypatch.setattr(web_export, "get_runtime", lambda folder: {"a.mjs": b"runtime"})


def test_a_page_replaces_an_older_page_and_nothing_else(bundle, tmp_path, quick, monkeypatch, capsys):
    site = tmp_path / "site"
    vehicle_export(str(bundle), web=str(site))
    assert "http.server" in capsys.readouterr().out
    kept = json.loads((site / "sw.js").read_text().partition(" ")[2])
    assert kept == ["./", "index.html", "model.onnx", "model.json", "runtime/a.mjs"]
    vehicle_export(str(bundle), web=str(site))
    (site / "notes.txt").write_text("mine")
    with pytest.raises(VehicleError, match=r"notes\.txt.*--web"):
        vehicle_export(str(bundle), web=str(site))
    (site / "notes.txt").unlink()

    def fails(folder):
        raise VehicleError("no network")

    monkeypatch.setattr(web_export, "get_runtime", fails)
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    for place in (site, tmp_path / "new"):
        with pytest.raises(VehicleError, match="no network"):
            vehicle_export(str(bundle), web=str(place))
    assert before == {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["site"], "nothing is left of a failed export"
    with pytest.raises(VehicleError, match="instead of a zip"):
        vehicle_export(str(bundle), web=str(site), onnx=True)


@needs_onnx
@pytest.mark.parametrize("classes, title", [(CLASSES, "Which vehicle is this?"), (["key", "mug", "<b>", '"'], "What is this?")])
def test_the_page_asks_for_what_the_bundle_knows(tmp_path, classes, title):
    page = web_export.page_files(tiny_bundle(tmp_path / "things", classes=classes))
    assert f"<title>{title}</title>" in page["index.html"].decode() and "vehicle" not in page["index.html"].decode().replace(title, "")
    assert json.loads(page["manifest.webmanifest"])["name"] == title
    own = {"page": {"en": {"title": 'A "mug" & <key>?'}}}
    page = web_export.page_files(tiny_bundle(tmp_path / "own", classes=classes, **own))
    assert "<title>A &quot;mug&quot; &amp; &lt;key&gt;?</title>" in page["index.html"].decode()
    assert json.loads(page["manifest.webmanifest"])["name"] == 'A "mug" & <key>?'


@needs_onnx
def test_a_network_that_cannot_be_exported_is_told_before_anything_is_written(bundle, tmp_path, monkeypatch):
    def fails(*args, **options):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fails)
    monkeypatch.setattr(web_export, "make_onnx", onnx_export.make_onnx)
    with pytest.raises(VehicleError, match="vehicle_cnn cannot be written as ONNX"):
        vehicle_export(str(bundle), web=str(tmp_path / "site"))
    assert not any(tmp_path.iterdir())


def test_a_runtime_that_we_do_not_know_is_not_used(tmp_path, monkeypatch):
    for name in web_export.RUNTIME_FILES:
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(VehicleError, match="does not hold"):
        web_export.get_runtime(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def offline(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(web_export, "urlopen", offline)
    with pytest.raises(VehicleError, match=r"no network.*--runtime"):
        web_export.get_runtime()
    assert not (tmp_path / "cache").exists()


@needs_onnx
@pytest.mark.parametrize("arch", ["mobilenet_v3_small", "timm/mobilenetv4_conv_small"])
def test_any_network_gives_its_answers_as_onnx(arch, tmp_path):
    "`page_model` compares them, and raises where they differ."
    if arch.startswith("timm/"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    config = {"arch": arch, "classes": CLASSES, "image_size": 64, "input_size": 64}
    save_bundle(tmp_path, create_model(arch, len(CLASSES)), config)
    data, about = web_export.page_model(tmp_path)
    assert about["weights"] in ("int8", "float16") and len(data) < 0.6 * (tmp_path / "model.safetensors").stat().st_size


@needs_onnx
def test_rounding_that_changes_answers_is_not_used(bundle, monkeypatch):
    assert web_export.page_model(bundle)[1]["weights"] == "int8"
    monkeypatch.setattr(web_export, "MAX_WEIGHT_ERROR", 1e-5)
    assert web_export.page_model(bundle)[1]["weights"] == "float32"


def test_our_own_code_is_small_and_asks_no_other_host():
    files = {path.name: path.read_text(encoding="utf-8") for path in STATIC.iterdir()}
    assert sum(len(text.encode()) for text in files.values()) < 40_000
    for name, text in files.items():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
        assert "innerHTML" not in text and not re.search(r"<script(?! type=\"module\" src=)|\son\w+=|\sstyle=", text), name


# --- in a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(bundle, tmp_path_factory):
    "The page of the tiny bundle on a host of its own; yields its address."
    if not find_browser():
        pytest.skip("no Chromium on this machine")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("site") / "page"
    try:
        web_export.export_web(bundle, folder)
    except VehicleError as error:
        pytest.skip(str(error))
    with static_host(folder) as url:
        yield url


@pytest.fixture(scope="module")
def chromium(site):
    with pytest.importorskip("playwright.sync_api").sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_browser(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, site):
    "Open the page as a new visitor; afterwards no error was written to the console, and nobody but the host was asked."
    visits = []

    def open_page(**options):
        options = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}} | options
        context = chromium.new_context(permissions=["camera"], **options)
        tab, asked, errors = context.new_page(), [], []
        context.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda line: errors.append(line.text) if line.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        visits.append((context, asked, errors))
        tab.errors = errors
        tab.goto(site)
        tab.wait_for_selector("[data-ready]", timeout=60_000)
        return tab

    yield open_page
    for context, asked, errors in visits:
        assert [url for url in asked if not url.startswith((site, f"blob:{site}"))] == [] and errors == []
        context.close()


def give(tab, *files: tuple[str, bytes]):
    tab.set_input_files("#files", [{"name": name, "mimeType": "", "buffer": data} for name, data in files])


def photo(label: str, seed: int = 1) -> bytes:
    return encode(coloured(label, seed, (120, 90)))


ASK = """async (files) => {
  const { describe, load, prepare, answer } = await import("./classify.js");
  const model = await load(await describe()), found = [];
  for (const file of files) {
    const blob = new Blob([Uint8Array.from(atob(file), (c) => c.charCodeAt(0))]);
    const { probs, score, top, known } = await model.classify(blob);
    const { data } = await prepare(blob, model.about.image_size);
    const pixels = btoa(Array.from(data, (value) => String.fromCharCode(value)).join(""));
    found.push({ probs, score, known, label: top[0].label, pixels });
  }
  return found;
}"""


def test_the_browser_gives_the_answers_of_python(visit, bundle):
    drawn = [draw_vehicle("bus", 3, 400), draw_vehicle("boat", 4, 300)]
    drawn += [coloured("tractor", 1, (50, 70)), coloured("bus", 2, (640, 40))]
    exact = [encode(image, "PNG") for image in drawn]
    clear = drawn[1].convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    near = [encode(image, quality=90) for image in [*drawn, drawn[0].resize((1300, 900))]]
    near += [oriented(drawn[0], turn) for turn in (3, 6)] + [encode(clear, "PNG"), encode(drawn[0], "WEBP")]
    near += [encode(drawn[1].convert("L"), "PNG"), encode(drawn[3].quantize(16), "GIF")]
    predictor, tab = Predictor(bundle, device="cpu"), visit()
    found = tab.evaluate(ASK, [base64.b64encode(data).decode() for data in exact + near])
    for i, (data, result) in enumerate(zip(exact + near, found, strict=True)):
        pixels = predictor.prepare(io.BytesIO(data))
        off = np.abs(pixels.astype(int) - np.frombuffer(base64.b64decode(result["pixels"]), np.uint8).reshape(pixels.shape))
        assert off.max() <= (0 if i < len(exact) else 40) and off.mean() < 1.5, f"image {i}: {off.max()}, {off.mean()}"
        wanted = predictor.predict(io.BytesIO(data))
        assert result["label"] == wanted.top[0][0] and result["known"] == wanted.known, i
        assert np.abs(result["probs"] - wanted.probs).max() < 0.02 and abs(result["score"] - wanted.ood_score) < 0.02, i


def test_the_numbers_of_a_decision_are_those_of_python(visit):
    "The other scores, and the words for a probability."
    tab = visit()
    logits, about = [1.0, 3.0, -2.0], {"classes": ["a", "b", "c"], "temperature": 2.0, "ood_threshold": 0.0}
    run = "async ([logits, about]) => (await import('./classify.js')).answer(logits, 0.5, about)"
    probs, knn = (torch.tensor(logits) / 2).softmax(0), torch.tensor([0.5])
    for kind in ("knn", "energy", "max_softmax"):
        score = ood_score(kind, torch.tensor([logits]), knn, 2.0)
        found = tab.evaluate(run, [logits, about | {"ood_score": kind}])
        np.testing.assert_allclose([found["score"], *found["probs"]], [*score, *probs], rtol=1e-5)
    about |= {"ood_score": "p_known", "known_weights": [3.0, 2.0, -1.0], "ood_threshold": 0.9}
    found = tab.evaluate(run, [logits, about])
    score = 1 / (1 + np.exp(-(3 * 0.5 + 2 * np.log(float(probs.max())) - 1)))
    np.testing.assert_allclose([found["score"], *found["probs"]], [score, *(probs * score)], rtol=1e-5)
    assert not found["known"] and [row["label"] for row in found["top"]] == ["b", "a", "c"]
    code = (STATIC / "app.js").read_text(encoding="utf-8")
    found = re.findall(r'p >= ([\d.]+)\)? (?:return|\?) say\("([^"]*)"\)', code.partition("function opening")[0])
    steps = [(float(p), words) for p, words in found]
    assert [confidence_words(p) for p, _ in steps] == [words for _, words in steps] and len(steps) == 4
    assert all(confidence_words(p - 1e-6) != words for p, words in steps)


def test_a_visitor_asks_in_every_way(visit):
    tab = visit()
    give(tab, ("my <b>bus</b>.jpg", photo("bus")))
    tab.wait_for_selector(".sign.known >> text=Bus")
    assert re.search(r"[\d>]\d%", tab.locator(".sign").inner_text()) and tab.locator(".bars li").count() >= 1
    assert tab.locator("img[alt='The picture my <b>bus</b>.jpg']").count() == 1, "a name is only a name"
    give(tab, ("x.jpg", photo("boat")), ("cut.jpg", photo("bus")[:300]), ("page.jpg", b"<html>"))
    tab.wait_for_selector(".gallery button >> nth=2")
    assert tab.locator(".gallery .card").count() == 3 and tab.locator(".gallery >> text=Not readable").count() == 2
    tab.locator(".gallery button").nth(2).press("Enter")
    assert "page.jpg cannot be used: not an image" in tab.locator(".error").inner_text()
    tab.locator("#examples button").first.press("Enter")
    tab.wait_for_selector(".sign")
    send = """([kind, data]) => {
      const box = new DataTransfer();
      box.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "b.jpg"));
      const drop = new DragEvent(kind, { dataTransfer: box, bubbles: true });
      document.body.dispatchEvent(kind === "drop" ? drop : new ClipboardEvent(kind, { clipboardData: box, bubbles: true }));
    }"""
    for kind, label in (("drop", "tractor"), ("paste", "boat")):
        tab.evaluate(send, [kind, base64.b64encode(photo(label)).decode()])
        tab.wait_for_selector(f".sign.known >> text={label.capitalize()}")
    tab.get_by_role("button", name="Use the camera").click()
    tab.get_by_role("button", name="Take photo").click()
    tab.wait_for_selector("img[alt='The picture camera.jpg']")
    assert tab.locator("video").is_hidden() and tab.evaluate("document.querySelector('video').srcObject === null")


def test_it_says_unknown_and_where_it_looked(visit):
    tab = visit()
    give(tab, ("noise.png", encode(Image.effect_noise((80, 80), 90), "PNG")))
    tab.wait_for_selector(".sign.unknown")
    assert "too little like the pictures" in tab.locator(".sign").inner_text() and "%" not in tab.locator(".sign").inner_text()
    half = coloured("bus", 1, (96, 96))
    half.paste((120, 120, 120), (48, 0, 96, 96))
    give(tab, ("half.png", encode(half, "PNG")))
    tab.get_by_label("Show where it looked").check()
    tab.wait_for_selector("canvas[width='96']")  # the page's policy forbids the eval of wait_for_function
    shown = Image.open(io.BytesIO(tab.locator("canvas").screenshot())).convert("RGB")
    assert np.ptp(np.asarray(shown).astype(int), axis=2).max() > 50, "some places glow"
    tab.get_by_label("Show where it looked").uncheck()
    assert tab.locator("canvas").count() == 0


def test_it_works_without_a_network_after_the_first_visit(visit, site):
    tab = visit()
    tab.evaluate("""async () => {
        const worker = navigator.serviceWorker, taken = new Promise((done) => worker.addEventListener("controllerchange", done));
        await worker.ready;
        if (!worker.controller) await taken;
    }""")
    tab.context.set_offline(True)
    tab.reload()
    tab.wait_for_selector("[data-ready]")
    give(tab, ("a.jpg", photo("bus")))
    tab.wait_for_selector(".sign.known >> text=Bus")
    assert tab.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    assert any("Content Security Policy" in line for line in tab.errors)
    tab.errors.clear()


def test_it_speaks_french_fits_a_phone_and_is_read_aloud(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for scheme in ("light", "dark"):
        tab = visit(locale="fr-CA", viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True, is_mobile=True)
        give(tab, ("a.jpg", photo("fire_truck")))
        tab.wait_for_selector(".sign >> text=Camion de pompiers")
        assert tab.evaluate("document.documentElement.lang") == "fr"
        assert "ne quittent pas cet appareil" in tab.locator("footer").inner_text()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, "nothing is wider than the screen"
        assert tab.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Camion de pompiers, ")
        found = axe.Axe().run(tab).response["violations"]
        assert [(rule["id"], [node["html"][:80] for node in rule["nodes"]]) for rule in found] == []
    tab.select_option("#language", "en")
    tab.wait_for_selector(".sign >> text=Fire truck")
