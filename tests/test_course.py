"""What the course has beside its lessons: the glossary, and the slides that are made from them."""

import re

import pytest
import slides  # of tools/: pytest.ini names the folder
from conftest import LESSONS, NBS


def glossary() -> list[tuple[str, str, str, str]]:
    "Anchor, English term, French term and the lesson's file of each row."
    text = (NBS / "glossary.md").read_text(encoding="utf-8")
    return re.findall(r'(?m)^\| <a id="([\w-]+)"></a>\*\*(.+?)\*\* \| (.+?) \| .+? \| \[\d\d\]\((.+?)\) \|$', text)


def test_the_glossary_is_in_order_and_has_no_term_twice():
    text, rows = (NBS / "glossary.md").read_text(encoding="utf-8"), glossary()
    assert len(rows) == len(re.findall(r'(?m)^\| <a id="', text)) >= 120 and f"{len(rows)} terms" in text
    anchors = [anchor for anchor, *_ in rows]
    assert len(set(anchors)) == len(anchors)
    letters = [re.sub(r"[^a-z]", "", term.lower()) for _, term, *_ in rows]
    assert letters == sorted(letters)
    assert all((NBS / file).is_file() for *_, file in rows)


@pytest.mark.parametrize("row", glossary(), ids=lambda row: row[0])
def test_the_lesson_explains_the_term_and_links_to_the_glossary(row):
    anchor, _, _, file = row
    text = (NBS / file).read_text(encoding="utf-8")
    assert f"glossary.md#{anchor})" in text, f"{file} does not link to glossary.md#{anchor}"


def test_lessons_link_only_to_terms_that_exist():
    anchors = {anchor for anchor, *_ in glossary()}
    for path in LESSONS:
        found = set(re.findall(r"glossary\.md#([\w-]+)", path.read_text(encoding="utf-8")))
        assert found <= anchors, f"{path.name}: {found - anchors}"


# --- slides ---


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    slides.main(folder)
    return folder


def test_each_lesson_has_its_slides(decks):
    for path in LESSONS:
        chapter = "1_data" if path.parent == NBS else path.parent.name
        text = (decks / f"{chapter}.qmd").read_text(encoding="utf-8")
        title = re.search(r'"# (\d\d [^"\\]+)\\n"', path.read_text(encoding="utf-8"))[1]
        deck = text.partition(f"# {title}\n")[2].partition("\n# ")[0]
        assert deck.count("\n## ") >= 4 and "## You will be able to\n\n- " in deck and "## Takeaways" in deck, title
        assert deck.count("\n## Quiz\n") >= 3, title


def test_slides_find_their_figures_and_say_what_they_show(decks):
    for path in decks.glob("*.qmd"):
        shown = re.findall(r'(?m)^!\[\]\((figures/[^)]+)\)\{fig-alt="(.*)"\}$', path.read_text(encoding="utf-8"))
        assert len(shown) >= 2 and all((decks / file).is_file() and text for file, text in shown), path.name


def test_what_is_right_stands_only_in_the_notes(decks):
    for path in decks.glob("*.qmd"):
        seen = re.sub(r"(?s)::: \{\.notes\}.*?\n:::\n", "", path.read_text(encoding="utf-8"))
        assert "**Right.**" not in seen and "**Not quite.**" not in seen and "<details>" not in seen
