"""One template engine for every page: names stay names, nothing comes from outside, and a phone shows all of it."""

import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from browser import find_browser
from jinja2 import DictLoader, UndefinedError
from PIL import Image
from tiny import COLOURS, coloured

from vehicle_nb import pages
from vehicle_nb.data.audit import audit
from vehicle_nb.data.audit_report import report_html
from vehicle_nb.evaluation.explain import robustness
from vehicle_nb.evaluation.metrics import Predictions, compute_metrics, top_losses
from vehicle_nb.evaluation.report import report_page
from vehicle_nb.models.registry import create_model
from vehicle_nb.pages import figure_svg, image_uri, new_axes, render

matplotlib.use("Agg")

HOSTILE = ["<img src=x onerror=alert(1)>", "</style><script>alert(2)</script>", "\" autofocus onfocus='alert(3)", "{{ 7 * 7 }} & <b>bold"]
TEMPLATES = Path(pages.__file__).parent / "templates"


class Tags(HTMLParser):
    "Collects what a browser would see: tags, attributes that run a program, and addresses."

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.handlers, self.addresses = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value]


@pytest.fixture(scope="module")
def report():
    "A report on classes with hostile names."
    rng, labels = np.random.default_rng(0), np.arange(40) % 4
    probs = rng.dirichlet(np.ones(4), 40) + np.eye(4)[labels]
    predictions = Predictions([str(i) for i in range(40)], labels, (probs / 2).astype(np.float32), HOSTILE, threshold=0.4)
    images = rng.integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
    config = {"input_size": 32, "temperature": 1.0, "ood_score": "max_softmax"}
    table = robustness(create_model("vehicle_cnn", 4).eval(), config, images, labels)
    table.iloc[0, 0], table.iloc[0, -1] = HOSTILE[:2]
    about = {"run": HOSTILE[0], "arch": HOSTILE[1], "split": "test", "created": "2026-11-28", "notes": HOSTILE, "robustness": table}
    about |= {"robustness_images": 40, "speed": {"one_ms": 1.0, "parameters": 10, "device": HOSTILE[2]}}
    heatmaps = dict.fromkeys(top_losses(predictions), np.ones((4, 4)))
    return report_page(compute_metrics(predictions) | about, predictions, images, heatmaps)


@pytest.fixture(scope="module")
def audit_page(tmp_path_factory):
    "An audit of classes and files with hostile names: conflicts, duplicates, junk, label issues and earlier decisions."
    raw = tmp_path_factory.mktemp("pages") / "<b>raw"
    for name, colour in zip(HOSTILE, COLOURS, strict=True):
        folder = raw / name.replace("/", "\u2215")
        folder.mkdir(parents=True)
        for i in range(3):
            coloured(colour, i, (80, 60)).save(folder / f"{i}<script>.png")
        (folder / "<b>junk.jpg").write_bytes(b"junk")
    first, second, *_ = sorted(raw.iterdir())
    Image.linear_gradient("L").convert("RGB").save(first / "both.png")
    shutil.copy(first / "both.png", second / "<i>both.png")
    shutil.copy(first / "0<script>.png", first / "copy.png")
    found = audit(raw, 1, False)
    issues = found.usable[["path", "class"]].assign(predicted_label=first.name, label_quality=0.1)
    return report_html(found, issues, {"<script>/a.jpg": ("move", HOSTILE[0]), "</script>": ("drop", "")})


def test_hostile_names_stay_names_in_the_report(report):
    seen = Tags(report)
    assert not seen.handlers and "script" not in seen.tags
    assert report.count("&lt;img src=x") > 5 and "{{ 7 * 7 }}" in report
    for chart in re.findall(r"<svg.*?</svg>", report, re.S):
        ET.fromstring(chart)


def test_hostile_names_stay_names_in_the_audit(audit_page):
    seen = Tags(audit_page)
    assert not seen.handlers and "i" not in seen.tags and audit_page.count("<script") == 2, "our data and our script, nothing else"
    assert "&lt;script&gt;" in audit_page and "&lt;b&gt;raw" in audit_page
    for words in ("Which class is right?", "looks like", "copy.png", "&lt;b&gt;junk.jpg"):
        assert words in audit_page, words


def test_pages_fetch_nothing_and_share_one_style_sheet(report, audit_page):
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    for page in (report, audit_page):
        assert style.strip() in page and "@import" not in page and "url(http" not in page
        addresses = Tags(page).addresses
        assert len(addresses) > 5 and all(address.startswith(("data:image/", "#")) for address in addresses)


def test_a_value_is_text_in_html_and_in_markdown_and_a_forgotten_one_is_an_error():
    page = render("base.html", title=HOSTILE[0], subtitle="a & b", made_by='x" onload="y')
    assert HOSTILE[0] not in page and "a &amp; b" in page and not Tags(page).handlers
    with pytest.raises(UndefinedError):
        render("base.html", title="no subtitle")
    line = pages._environment().overlay(loader=DictLoader({"x.md": "| {{ a }} | {{ 0.5 | share }} |"}))
    assert line.get_template("x.md").render(a="a|b\n<i> [x](y) `c`") == "| a\\|b \\<i\\> \\[x\\](y) \\`c\\` | 50 % |"


def test_a_figure_is_the_same_bytes_again_and_leaves_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)

    def plot():
        ax = new_axes(3, 2)
        ax.plot([1, 2], [3, 4])
        ax.set(title="<b>title", xlabel="epoch")
        return ax

    svg = figure_svg(plot)
    assert svg == figure_svg(plot) and "&lt;b&gt;title" in svg and "epoch" in svg
    assert "b&gt;title" not in figure_svg(plot, titles=False)
    ET.fromstring(svg)
    assert {name: matplotlib.rcParams[name] for name in ("svg.fonttype", "svg.hashsalt")} == {
        name: before[name] for name in ("svg.fonttype", "svg.hashsalt")
    }
    assert not matplotlib.pyplot.get_fignums()


def test_an_image_stands_in_a_page_with_its_colours_and_its_shape():
    import base64
    from io import BytesIO

    uri = image_uri(coloured("bus", 0, (64, 48)), 32)
    back = Image.open(BytesIO(base64.b64decode(uri.split(",")[1])))
    assert back.size == (32, 24)
    assert np.abs(np.asarray(back).mean((0, 1)) - COLOURS["bus"]).max() < 12
    assert Image.open(BytesIO(base64.b64decode(image_uri(np.zeros((5, 7, 3), np.uint8), None).split(",")[1]))).size == (7, 5)


def test_pages_fit_a_phone_and_run_without_an_error(report, audit_page, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    browser = find_browser()
    if not browser:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            tab, problems = chromium.new_page(viewport={"width": 360, "height": 800}, color_scheme=scheme), []
            tab.on("pageerror", lambda error, problems=problems: problems.append(str(error)))
            tab.on("dialog", lambda dialog, problems=problems: problems.append(dialog.message))
            for name, page in (("report", report), ("audit", audit_page)):
                (tmp_path / f"{name}.html").write_text(page, encoding="utf-8")
                tab.goto((tmp_path / f"{name}.html").as_uri())
                assert tab.evaluate("document.documentElement.scrollWidth") <= 360, f"{name} is wider than a phone"
                assert tab.evaluate("[...document.images].every(i => i.naturalWidth > 5)")
            assert tab.locator("#count").inner_text() == "2 decisions" and problems == []
        chromium.close()
