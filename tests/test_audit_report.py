"""The audit's page with 20,000 images: it stays small, opens at once, and a reviewer answers with the keyboard."""

import numpy as np
import pandas as pd
import pytest
from browser import FLAGS, find_browser
from PIL import Image

from vehicle_nb.data import audit_report
from vehicle_nb.data.audit import AUDIT_COLUMNS, CONFLICT, Audit, read_decisions
from vehicle_nb.data.audit_report import CARD_BYTES, MEMBER_BYTES, MOST_CARDS, MOST_GROUPS, MOST_MEMBERS, _thumbnail, write_report

FILES, MOST_BYTES = 20_000, 10_000_000  # of images; of the page
THUMBNAIL_BYTES = sum(MOST_CARDS.values()) * CARD_BYTES + MOST_GROUPS * MOST_MEMBERS * MEMBER_BYTES


def large_audit(folder, classes: int = 6) -> tuple[Audit, pd.DataFrame]:
    "What an audit of 20,000 images says, and label issues; one small file stands for all images."
    names, n = [f"class_{k:03}" for k in range(classes)], np.arange(FILES)
    Image.new("RGB", (24, 18), (200, 80, 40)).save(folder / "one.png")
    table = pd.DataFrame({"path": [f"{names[k % classes]}/{k:05}.jpg" for k in n], "class": [names[k % classes] for k in n]})
    table = table.assign(sha256=[f"{k:064x}" for k in n], width=24, height=18, format="PNG", bytes=90, reason="", note="")
    table = table.assign(sequence="", decision="", problem="")
    table.loc[4_000:8_000, "class"] = names[0]  # large groups of one class
    table["group"] = [f"{k // 2 if k < 4_000 else k - k % 60 if k < 8_000 else k:016x}" for k in n]
    table.loc[:3_999, "reason"] = f"{CONFLICT}: two"
    table.loc[10_000:12_000, "reason"] = "exact duplicate: the same bytes"
    table = table.assign(folder=table["class"])[AUDIT_COLUMNS]
    found = Audit(folder, table, pd.DataFrame(), names, "near", [], [folder / "one.png"] * FILES)
    issues = found.usable[["path", "class"]].assign(predicted_label=names[3], label_quality=np.linspace(0, 1, len(found.usable)))
    return found, issues


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    found, issues = large_audit(folder)
    return write_report(found, folder / "audit", issues, decisions={"class_000/old.jpg": ("drop", "")})


def test_the_page_of_20_000_images_has_at_most_10_mb(large):
    page = large.read_text(encoding="utf-8")
    assert page.count('src="data:image') == sum(MOST_CARDS.values()) + MOST_GROUPS * MOST_MEMBERS == 920
    plain = len(page) - sum(len(part.partition('"')[0]) for part in page.split('src="data:image')[1:])
    assert plain + 4 / 3 * THUMBNAIL_BYTES < MOST_BYTES
    assert "The first 240 of 4,000" in page and "class_000/00060.jpg" in page


def test_noise_makes_no_large_thumbnail(tmp_path):
    "Nothing compresses worse; and what compresses well is not spoilt."
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    for side, most in ((200, CARD_BYTES), (110, MEMBER_BYTES)):
        assert 0.5 * most < 3 / 4 * len(_thumbnail(tmp_path / "noise.png", side, most)) < 1.01 * most
    assert _thumbnail(tmp_path / "gone.png", 200, CARD_BYTES) == ""


def test_what_is_decided_makes_room_for_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_report, "_charts", lambda audit: [])
    found, issues = large_audit(tmp_path)
    found.table.loc[:239, "decision"] = "keep"
    found.table.loc[issues.index[:200], "decision"] = "keep"
    page = write_report(found, tmp_path / "audit", issues).read_text(encoding="utf-8")
    shown = [part.partition('"')[0] for part in page.split('data-path="')[1:]]
    assert shown[0] == found.table.at[240, "path"] and shown[240] == issues["path"].iloc[200]
    assert len(shown) == 600 and shown[-1] == issues["path"].iloc[559]


@pytest.fixture(scope="module")
def tab(large):
    sync_api = pytest.importorskip("playwright.sync_api")
    browser = find_browser()
    if not browser:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=FLAGS)
        tab, problems = chromium.new_page(viewport={"width": 1100, "height": 800}), []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto(large.as_uri())
        yield tab
        chromium.close()
    assert not problems


def focused(tab, attribute: str = "data-path") -> str:
    return tab.evaluate(f"document.activeElement.getAttribute('{attribute}')")


def test_a_reviewer_answers_with_the_keyboard(tab, tmp_path):
    shown = tab.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.path)")
    tab.keyboard.press("j")
    assert focused(tab) == shown[0] and "class_000, same image under two classes" in focused(tab, "aria-label")
    for key in ("y", "d", "m"):  # each answers, and goes on
        tab.keyboard.press(key)
    assert focused(tab) == shown[3]
    tab.keyboard.press("c")
    assert focused(tab, "aria-label") == "class to move to"
    tab.keyboard.type("class_005")
    tab.keyboard.press("Enter")
    assert focused(tab) == shown[4]
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("k")
    assert focused(tab) == shown[4]
    for key in ("d", "u", "n"):
        tab.keyboard.press(key)
    assert focused(tab) == shown[5]
    assert "no decision" in tab.locator("#said").inner_text()
    assert tab.locator("#count").inner_text() == "5 decisions"  # with the one of before
    assert tab.locator("#left").inner_text() == f"{len(shown) - 4} images left"
    with tab.expect_download() as download:
        tab.keyboard.press("s")
    download.value.save_as(tmp_path / "decisions.csv")
    assert read_decisions(tmp_path / "decisions.csv") == {
        "class_000/old.jpg": ("drop", ""), shown[0]: ("keep", ""), shown[1]: ("drop", ""), shown[2]: ("move", "class_003"),
        shown[3]: ("move", "class_005"),
    }  # fmt: skip


def test_the_focus_is_seen_and_the_keys_are_listed(tab):
    box = "{}.getBoundingClientRect()"
    card, bar = box.format("document.activeElement"), box.format("document.querySelector('.savebar')")
    inside = f"{card}.top >= 0 && {card}.bottom <= {bar}.top"
    for key in ("j", "j", "j", "j", "j", "n", "k"):
        tab.keyboard.press(key)
        assert tab.evaluate(inside) and tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    before = focused(tab)
    tab.keyboard.press("?")
    dialog = tab.get_by_role("dialog", name="Keys")
    assert dialog.is_visible() and dialog.locator("kbd").count() == 11
    tab.keyboard.press("d")  # is not for the page behind it
    dialog.get_by_label("single keys are on").uncheck()
    tab.keyboard.press("Escape")
    tab.keyboard.press("d")  # they are off
    tab.keyboard.press("ArrowRight")
    assert focused(tab) != before and tab.locator("#count").inner_text() == "5 decisions"
