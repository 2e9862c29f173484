"""The notebooks as pages: what a reader of the docs site or of README.md sees is whole, linked and described."""

import base64
import contextlib
import importlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import yaml
from conftest import EXERCISES, LESSONS, NBS, NOTEBOOKS, ROOT, SOLUTIONS, copy_repository, once, page_of, read_settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vehicle_nb import _modidx, commands

LANDING = {"index": "README.md", "accueil": "README.fr.md"}  # the first pages, and the README that each becomes
BOOK = [path for path in NOTEBOOKS if path.stem not in LANDING]  # in reading order
TABLES = [NBS / f"{name}.md" for name in ("404", "commands", "reference", "results")]  # pages without a lesson
TEACH = sorted(NBS.glob("teach/*.md"))
FILES = [ROOT / name for name in [*LANDING.values(), "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]]
PAGES = [*NOTEBOOKS, *EXERCISES, *SOLUTIONS, *TABLES, *TEACH, *FILES]


def by_name(paths):
    return [pytest.param(path, id=page_of(path) if path.suffix == ".ipynb" else str(path.relative_to(ROOT))) for path in paths]


@cache
def cells_of(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def prose(path: Path, with_code: bool = False) -> str:
    "The Markdown of a notebook or file, without fenced code and, unless asked for, without `code`."
    markdown = [cell.source for cell in cells_of(path, "markdown")] if path.suffix == ".ipynb" else [path.read_text("utf-8")]
    text = re.sub(r"(?ms)^(`{3,}|~{3,}).*?^\1", "", "\n\n".join(markdown))
    return text if with_code else re.sub(r"(`+).+?\1", "code", text)


def anchors(path: Path) -> set[str]:
    "The names that Pandoc gives to the headings of a page, and those that it gives itself."
    found = set(re.findall(r'<a id="([\w-]+)">', prose(path)))
    for heading in re.findall(r"(?m)^#{1,6} +(.+?)\s*(?:\{.*\})?$", prose(path, with_code=True)):
        name = re.sub(r"[^\w\s.-]", "", re.sub(r"\]\([^)]*\)", "", heading.lower()))
        found.add(re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", name.strip())))
    return found


def links(path: Path) -> list[tuple[str, str, bool]]:
    "Every link of a page: its text, where it leads, and whether it is a picture."
    text = prose(path)
    found = [(m[2], m[3], bool(m[1])) for m in re.finditer(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)[^)]*\)", text)]
    found += [(m[1], m[2], True) for outer, _, _ in found for m in re.finditer(r"!\[([^\]]*)\]\(([^)\s]+)\)", outer)]  # linked
    for tag in re.findall(r"<(?:img|a)\b[^>]*>", text):
        attributes = dict(re.findall(r"(\w+)=[\"']([^\"']*)[\"']", tag))
        if target := attributes.get("src") or attributes.get("href"):
            found.append((attributes.get("alt", ""), target, tag.startswith("<img")))
    return found


def test_links_are_found():
    path = ROOT / "benchmarks" / "README.md"
    assert ("benchmarks", "benchmarks/README.md", False) in links(ROOT / "CONTRIBUTING.md")
    assert any(picture and target == "images/chapters.svg" for _, target, picture in links(NBS / "index.ipynb"))
    assert {"benchmarks", "rules"} <= anchors(path)


@pytest.mark.parametrize("path", by_name(PAGES))
def test_links_lead_somewhere(path):
    settings = read_settings()
    repo = f"{settings['git_url']}/blob/{settings['branch']}/"
    for text, target, picture in links(path):
        if target.startswith(repo):
            assert (ROOT / target.removeprefix(repo).split("#")[0]).exists(), f"{path.name}: {target} is not in the repository"
        elif re.match(r"[a-z]+:", target):
            assert target.startswith(("https://", "mailto:", "http://localhost")), f"{path.name}: {target} is not https"
        else:
            name, _, anchor = target.partition("#")
            file = path.parent / name if name else path
            assert file.exists(), f"{path.name}: [{text}]({target}) leads nowhere"
            if path.is_relative_to(NBS):
                assert file.resolve().is_relative_to(NBS), f"{path.name}: {target} lies outside the docs site; use {repo}…"
            if anchor:
                assert anchor in anchors(file), f"{path.name}: {file.name} has no heading #{anchor}"
        if picture:
            assert len(text.split()) >= 3, f"{path.name}: the picture {target} needs a text for those who cannot see it"


def test_pictures_are_light():
    for path in NBS.glob("images/*"):
        assert path.stat().st_size <= 300_000, f"{path.name} has {path.stat().st_size:,} bytes"
    shown = {Path(target).name for path in PAGES for _, target, picture in links(path) if picture}
    shown |= set(re.findall(r"images/([\w.]+)", (ROOT / "_quarto.yml").read_text(encoding="utf-8")))
    assert {path.name for path in NBS.glob("images/*")} <= shown, "a picture in nbs/images that no page shows"


@pytest.mark.parametrize("path", by_name([*NOTEBOOKS, *SOLUTIONS]))
def test_figures_have_alt_text(path):
    for cell in cells_of(path, "code"):
        if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
            assert re.search(r'(?m)^#\| *fig-alt: *"?\w', cell.source), f"a figure without fig-alt:\n{cell.source}"


@pytest.mark.parametrize("path", by_name([*NOTEBOOKS, *EXERCISES, *SOLUTIONS]))
def test_title_cell_and_headings(path):
    "nbdev makes the title cell the page's metadata and drops all else in it: it must hold title and subtitle alone."
    markdown = cells_of(path, "markdown")
    title = re.fullmatch(r"# (?P<title>[^\n]+)\n\n> (?P<subtitle>[^\n]+)\n*", markdown[0].source)
    assert title, f"the title cell holds more than a title and a subtitle; the docs would lose it:\n{markdown[0].source}"
    limit = 130 if path.stem in LANDING else 100
    assert len(title["subtitle"]) <= limit, f"the subtitle has {len(title['subtitle'])} characters"
    levels = [len(marks) for marks in re.findall(r"(?m)^(#+) ", prose(path))]
    assert levels.count(1) == 1 and levels[0] == 1, "one heading of level 1, at the top"
    jumps = [(a, b) for a, b in itertools.pairwise(levels) if b > a + 1]
    assert not jumps, f"a heading of level {jumps[0][1]} follows one of level {jumps[0][0]}"


@pytest.mark.parametrize("path", by_name(BOOK))
def test_lesson_says_what_it_is_for(path):
    "Its first words tell what the reader will be able to do or see, what it needs, and how long it takes."
    start = " ".join(cell.source for cell in cells_of(path, "markdown")[:3])
    assert re.search(r"\*\*You will", start) and re.search(r"\*\*(You need|Needs)\*\*", start), start
    assert minutes(path), f"{path.name} does not say how many minutes it takes"


def minutes(path: Path) -> int | None:
    found = re.search(r"\*\*Time\*\*\D{0,12}(\d+)", " ".join(cell.source for cell in cells_of(path, "markdown")[:3]))
    return int(found[1]) if found else None


def title(path: Path) -> str:
    return cells_of(path, "markdown")[0].source.split("\n")[0].removeprefix("# ")


@pytest.mark.parametrize("path", by_name(BOOK))
def test_one_name_for_a_lesson_everywhere(path):
    "`1_data/02c_label_issues` is titled `02c Label issues`, and `parts/core` is `Parts: core`; links call it by its title."
    named = path.stem if path.stem[0].isdigit() else f"{path.parent.name}{path.stem}"
    assert re.sub(r"\W", "", title(path)).lower() == named.replace("_", ""), title(path)
    for page in PAGES:
        for text, target, picture in links(page):
            if page.name in ("accueil.ipynb", "README.fr.md") or picture or not target.endswith(path.name):
                continue
            if text == "Start with the first lesson":  # the button of the landing page
                continue
            if (page.parent / target).resolve() == path:
                assert text == title(path), f"{page.name} calls {page_of(path)} {text!r}"


def test_each_notebook_names_its_successor():
    "A lesson leads to the next lesson and to its own insides; an inside or a part to the notebook after it; the last to the start."
    for number, path in enumerate(BOOK):
        last = cells_of(path, "markdown")[-1].source.split("\n")[-1]
        targets = [(path.parent / target).resolve() for target in re.findall(r"\]\(([^)]+)\)", last)]
        after = BOOK[number + 1] if number + 1 < len(BOOK) else NBS / "index.ipynb"
        if path in LESSONS:
            insides = [other for other in BOOK if re.match(rf"{path.stem[:2]}[a-z]_", other.stem)]
            later = [lesson for lesson in LESSONS if lesson > path]
            assert targets == [later[0] if later else BOOK[number + 1 + len(insides)], *insides], f"{page_of(path)} ends with: {last}"
        else:
            assert targets == [after], f"{page_of(path)} ends with: {last}"


def sidebar_names(node) -> list[str]:
    "The pages of a part of the sidebar, from top to bottom; Quarto sorts what `exercises/*.ipynb` finds."
    if isinstance(node, str):
        return sorted(path.relative_to(NBS).as_posix() for path in NBS.glob(node)) if "*" in node else [node]
    children = node.get("contents", []) if isinstance(node, dict) else node
    return [name for child in ([children] if isinstance(children, str) else children) for name in sidebar_names(child)]


def test_sidebar_is_the_folder():
    "The sidebar lists the lessons chapter by chapter, exercises, the teacher's pages, then what lies inside the lessons."
    sidebar = yaml.safe_load((NBS / "sidebar.yml").read_text(encoding="utf-8"))["website"]["sidebar"]
    insides = [path for path in BOOK if path not in LESSONS]
    practice = [f"{page_of(path)}.ipynb" for path in [*EXERCISES, *SOLUTIONS]]
    listed, teach = sidebar_names(sidebar), [path.relative_to(NBS).as_posix() for path in TEACH]
    assert [name for name in listed if name not in teach] == [
        "index.ipynb", *(f"{page_of(path)}.ipynb" for path in LESSONS), "glossary.md",
        *practice, *(f"{page_of(path)}.ipynb" for path in insides),
    ]  # fmt: skip
    assert sorted(set(listed) & set(teach)) == teach
    sections = [entry for entry in sidebar["contents"] if isinstance(entry, dict)]
    assert sections[-1]["section"] == "Inside the lessons" and sidebar["collapse-level"] < 3, "what lies inside is folded"
    nested = ("Exercises", "Inside the lessons")
    for entry in [entry for part in sections for entry in (part["contents"] if part["section"] in nested else [part])]:
        assert len({name.split("/")[0] for name in sidebar_names(entry)}) == 1, "a section is a folder"


def test_navbar_leads_to_every_kind_of_page():
    navbar = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]["navbar"]
    targets = [entry["href"] for entry in [*navbar["left"], *navbar["right"]]]
    told = read_settings()
    others = {told["git_url"], f"{told['doc_host']}{told['doc_baseurl']}/try/"}
    assert {"index.ipynb", "reference.md", "results.md", "accueil.ipynb"} | others == set(targets)
    assert all(entry.get("text") for entry in [*navbar["left"], *navbar["right"]]), "an icon alone says nothing to a screen reader"


def contrast(*colors: str) -> float:
    "How far two colours stand apart, 1 to 21, as WCAG 2 counts."
    def light(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, bright = sorted(map(light, colors))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme, ground", [("light", "#ffffff"), ("dark", "#1b2127")])
def test_colours_can_be_read(theme, ground):
    assert round(contrast("#000000", "#ffffff")) == 21 and round(contrast("#777777", "#ffffff"), 2) == 4.48
    told = dict(re.findall(r"(?m)^\$([\w-]+): ([^;]+);", (NBS / f"{theme}.scss").read_text(encoding="utf-8")))
    told = {name: told.get(value.removeprefix("$"), value) for name, value in told.items()}
    assert told.get("body-bg", "#ffffff") == ground
    for name in ("link-color", "body-color", "footer-fg", "code-color"):
        assert contrast(told[name], ground) >= 4.5, f"{theme}: {name}"
    for name in ("navbar-fg", "navbar-hl"):
        assert contrast(told[name], told["navbar-bg"]) >= 4.5, f"{theme}: {name}"


def load_tool(name: str):
    "A script of tools/ as a module; pytest.ini names the folder."
    return importlib.import_module(name)


def test_chapters_are_drawn():
    "The drawing at the top of README.md shows the chapters and lessons that nbs/ holds."
    assert (NBS / "images" / "chapters.svg").read_text(encoding="utf-8") == load_tool("chapters").draw(), "run: python tools/chapters.py"


def test_diagrams_are_drawn():
    for name, draw in load_tool("diagrams").DIAGRAMS.items():
        drawn = (NBS / "images" / f"{name}.svg").read_text(encoding="utf-8")
        assert drawn == draw(), f"{name}.svg: run: python tools/diagrams.py"


def measured(node, scale: float) -> tuple[float, float, float, float]:
    "Left, top, right and bottom of a line of SVG text, set in DejaVu Sans: few fonts are wider."
    from matplotlib import font_manager
    from PIL import ImageFont

    told = {**node.attrib, "words": "".join(node.itertext())}
    assert float(told["font-size"]) * scale >= 14, f"{told['words']}: too small to read 700 pixels wide"
    bold = "font-weight" in told
    font = ImageFont.truetype(font_manager.findfont(f"DejaVu Sans:{'bold' if bold else 'normal'}"), 100)
    size, x, y = float(told["font-size"]), float(told["x"]), float(told["y"])
    width = font.getlength(told["words"]) * size / 100
    left = x - width * {"start": 0, "middle": 0.5, "end": 1}[told.get("text-anchor", "start")]
    return left, y - 0.75 * size, left + width, y + 0.2 * size


@pytest.mark.parametrize("name", ["chapters", *load_tool("diagrams").DIAGRAMS])
def test_diagrams_can_be_read(name):
    "Words are large enough, stay in their box and in the drawing, do not lie on each other, and stand out from their ground."
    root = ElementTree.fromstring((NBS / "images" / f"{name}.svg").read_text(encoding="utf-8"))
    tag, width = "{http://www.w3.org/2000/svg}", float(root.get("viewBox").split()[2])
    assert len(root.find(f"{tag}title").text) > 10 and len(root.find(f"{tag}desc").text) > 60
    nodes = [node for child in root if not child.get("transform") for node in child.iter()]  # in one system of coordinates
    rects = []
    for node in nodes:
        if node.tag == f"{tag}rect":
            x, y, w, h = (float(node.get(key, 0)) for key in ("x", "y", "width", "height"))
            rects.append((w * h, (x, y, x + w, y + h), node.get("fill")))
    seen = []
    for node in nodes:
        if node.tag != f"{tag}text":
            continue
        place, words = measured(node, 700 / width if name != "chapters" else 1), "".join(node.itertext())
        middle = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        around = [(area, r, fill) for area, r, fill in rects if r[0] < middle[0] < r[2] and r[1] < middle[1] < r[3]]
        _, (x0, y0, x1, y1), fill = min(around)
        assert x0 + 2 <= place[0] and place[2] <= x1 - 2 and y0 <= place[1] and place[3] <= y1, f"{words!r} leaves its box"
        for other, at in seen:
            apart = place[2] <= at[0] or at[2] <= place[0] or place[3] <= at[1] or at[3] <= place[1]
            assert apart, f"{words!r} lies on {other!r}"
        seen.append((words, place))
        if name != "chapters":  # its bars are paths
            ink, ground = (colour if len(colour) == 7 else "#" + "".join(c * 2 for c in colour[1:]) for colour in (node.get("fill"), fill))
            assert contrast(ink, ground) >= 4.5, f"{words!r}: {ink} on {ground}"


def test_a_diagram_that_cannot_be_read_is_found():
    "The measure itself: a long line leaves a narrow box, and what is drawn for it is as wide as a browser draws it."
    tool = load_tool("diagrams")
    line = ElementTree.fromstring(tool.text(350, 50, "convolution 3 × 3", 15))
    left, _, right, _ = measured(line, 1)
    assert 120 < right - left < 150 and round((left + right) / 2) == 350
    with pytest.raises(AssertionError, match="too small"):
        measured(ElementTree.fromstring(tool.text(350, 50, "fine print", 12)), 1)


# --- Colab ------------------------------------------------------------------------------------------------------------


def test_every_lesson_opens_in_colab():
    "Each notebook but the landing pages has the badge and the hidden cell that tools/colab.py puts there, once."
    tool = load_tool("colab")
    assert {name.removesuffix(".ipynb") for name in tool.LANDING} == set(LANDING)
    assert not tool.lacking(), f"run: python tools/colab.py ({', '.join(path.name for path in tool.lacking())})"


@pytest.mark.parametrize("change", ["neither is there", "the address is another", "both stand twice"])
def test_colab_tool_mends_a_notebook_and_leaves_the_rest(change, tmp_path):
    tool, told = load_tool("colab"), read_settings()
    path = NBS / "1_data/03a_split.ipynb"
    (tmp_path / "nbs" / "1_data").mkdir(parents=True)
    whole = json.loads(path.read_text(encoding="utf-8"))
    ids = [cell["id"] for cell in tool.colab_cells(f"{page_of(path)}.ipynb", told)]
    spoilt = json.loads(path.read_text(encoding="utf-8"))
    if change == "neither is there":
        spoilt["cells"] = [cell for cell in spoilt["cells"] if cell["id"] not in ids]
    elif change == "the address is another":
        next(cell for cell in spoilt["cells"] if cell["id"] == ids[0])["source"] = ["[Colab](https://example.org)"]
    else:
        spoilt["cells"] += [cell for cell in spoilt["cells"] if cell["id"] in ids]
    assert tool.with_colab(spoilt, f"{page_of(path)}.ipynb", told) == whole != spoilt
    shutil.copy(ROOT / "settings.ini", tmp_path)
    (tmp_path / path.relative_to(ROOT)).write_text(json.dumps(spoilt), encoding="utf-8")
    assert list(tool.lacking(tmp_path)) == [tmp_path / path.relative_to(ROOT)]


def test_colab_cell_does_nothing_elsewhere(processed):
    "In Colab it clones this repository and installs it; anywhere else it is silent, and the docs site does not show it."
    told = read_settings()
    badge, setup = load_tool("colab").colab_cells("1_data/03a_split.ipynb", told)
    assert f"/github/{told['user']}/{told['repo']}/blob/{told['branch']}/nbs/1_data/03a_split.ipynb" in badge["source"][0]
    lines = "".join(setup["source"]).split("\n")
    assert lines[0] == "#| hide" and lines[1] == 'if "google.colab" in str(get_ipython()):'
    assert all(line.startswith("    ") for line in lines[2:]) and told["git_url"] in lines[2]
    for path in BOOK:
        page = (processed[0] / path.relative_to(NBS)).read_text(encoding="utf-8")
        assert lines[2].strip() not in page, f"the docs show the set-up of {path.name}"
        assert f"/nbs/{page_of(path)}.ipynb)" in page, f"the docs lack the badge of {path.name}"


# --- exercises and quizzes --------------------------------------------------------------------------------------------


def mark(cell) -> str:
    "`exercise`, `solution` or `check`, where the cell's first line says so."
    found = re.match(r"#\| *(exercise|solution|check)\s*$", cell.source.split("\n")[0]) if cell.cell_type == "code" else None
    return found[1] if found else ""


INSIDES = [path for path in BOOK if path not in LESSONS]


@pytest.mark.parametrize("path", by_name(INSIDES))
def test_exercises_of_an_inside_stand_in_it(path):
    "Each is stub, folded solution, check, in this order."
    marked = [cell for cell in nbformat.read(path, as_version=4).cells if mark(cell)]
    assert [mark(cell) for cell in marked] == ["exercise", "solution", "check"] * (len(marked) // 3)
    for cell in marked:
        if mark(cell) == "solution":
            assert cell.source.split("\n")[1:3] == ["#| code-fold: true", '#| code-summary: "Solution"'], cell.source
        if mark(cell) == "check":
            assert re.search(r"\b(assert|test_\w+\()", cell.source), f"a check that asserts nothing:\n{cell.source}"


def section(path: Path, heading: str) -> str:
    "What stands under a heading of level 2."
    return f"\n{prose(path, with_code=True)}\n## ".partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("path", by_name(LESSONS))
def test_lesson_leads_to_its_exercises(path):
    "They are notebooks of their own, made from nbs/teach/source; the lesson says of which kind they are."
    cells = nbformat.read(path, as_version=4).cells
    assert not any(mark(cell) for cell in cells), "a stub, a solution or a check in a lesson"
    told = section(path, "Exercises")
    for folder in ("exercises", "solutions"):
        target = os.path.relpath(NBS / folder / path.name, path.parent)
        assert f"[{folder}]({target})" in told, f"no link [{folder}]({target}) under ## Exercises"
    practice = NBS / "exercises" / path.name
    for kind in set(re.findall(r"(?m)^\*Kind: (\w+)", prose(practice))):
        assert re.search(rf"(?i)\b{kind}", told), f"{path.name} does not say that an exercise is of the kind {kind}"


def quiz_faults(quiz: str) -> list[str]:
    "What is wrong with a quiz: questions, each with folded options of which one is right, and every answer explained."
    found, rights = [], []
    questions = re.split(r"(?m)^\*\*(\d+)\.\*\* +", quiz)
    if not 4 <= len(questions) // 2 <= 6 or questions[1::2] != [str(n + 1) for n in range(len(questions) // 2)]:
        found.append(f"four to six questions, numbered from 1, not {questions[1::2]}")
    for number, text in zip(questions[1::2], questions[2::2], strict=True):
        options = re.findall(r"(?s)<details><summary>([A-D])\. ([^\n]+?)</summary>\n\n(.+?)\n\n</details>", text)
        letters = "".join(letter for letter, _, _ in options)
        if letters not in ("ABC", "ABCD") or text.count("<details>") != len(options):
            found.append(f"question {number}: options A, B, C and perhaps D, each folded, not {letters or 'none'}")
        if not re.match(r"[^\n<]{10,}", text):
            found.append(f"question {number} asks nothing")
        right = [letter for letter, _, answer in options if answer.startswith("**Right.**")]
        if len(right) != 1 or any(not answer.startswith(("**Right.** ", "**Not quite.** ")) for _, _, answer in options):
            found.append(f"question {number}: one answer begins with **Right.**, the others with **Not quite.**")
        short = [letter for letter, _, answer in options if len(answer.split()) < 6]
        if short:
            found.append(f"question {number}: {', '.join(short)} is not explained")
        rights += right
    if len(rights) > 1 and len(set(rights)) == 1:
        found.append(f"the right answer is always {rights[0]}")
    return found


QUESTION = """**{}.** Why is there a ReLU between two convolutions?

<details><summary>A. It makes training faster</summary>

**{}** It costs a little time; a reason is needed that is worth it.

</details>

<details><summary>B. Two convolutions without it are one convolution</summary>

**{}** Sums of products of sums of products are sums of products.

</details>

<details><summary>C. It keeps the size of the map</summary>

**Not quite.** Padding does that; ReLU looks at each number alone.

</details>

"""


def test_faults_of_a_quiz_are_found():
    right, wrong = "Right.", "Not quite."
    good = [QUESTION.format(1, right, wrong), *(QUESTION.format(n, wrong, right) for n in (2, 3, 4))]
    assert quiz_faults("".join(good)) == []
    assert quiz_faults("".join(good[:3])) == ["four to six questions, numbered from 1, not ['1', '2', '3']"]
    assert quiz_faults("".join([*good, QUESTION.format(5, right, right)]))[0].startswith("question 5: one answer begins")
    assert quiz_faults("".join([*good[:3], good[3].replace("C. It", "D. It")]))[0].startswith("question 4: options A")
    assert quiz_faults("".join([*good[:3], good[3].replace("sums of products are sums of products", "so")])) == []
    assert quiz_faults("".join([*good[:3], good[3].replace("Padding does that; ReLU looks at each number alone", "No")])) == [
        "question 4: C is not explained"
    ]
    assert quiz_faults("".join(QUESTION.format(n, wrong, right) for n in (1, 2, 3, 4))) == ["the right answer is always B"]
    assert len(quiz_faults("**1.** Why?\n\n<details><summary>Answer</summary>\n\nSo.\n\n</details>")) == 4


@pytest.mark.parametrize("path", by_name(LESSONS))
def test_quiz_explains_each_answer(path):
    faults = quiz_faults(section(path, "Quiz"))
    assert not faults, "\n".join(faults)


# --- what a lesson is ---------------------------------------------------------------------------------------------------


def code_lines(cell) -> list[str]:
    "The lines of code of a cell, without directives and empty lines."
    return [line for line in cell.source.split("\n") if line.strip() and not line.startswith("#|")]


def exported(cell) -> str:
    "`export`, `exports` or `exporti`, or nothing."
    found = re.search(r"(?m)^#\| *(exports|exporti|export)\b", cell.source)
    return found[1] if found else ""


def lesson_cells(path: Path) -> list:
    "The code cells of a lesson but the one that tools/colab.py puts there."
    return [cell for cell in cells_of(path, "code") if cell.id != "colab-setup"]


@pytest.mark.parametrize("path", by_name(LESSONS))
def test_a_lesson_teaches_and_a_part_builds(path):
    "At most a fifth of a lesson's code is exported, and that is shown in full: `#| exports`, but for imports."
    cells = lesson_cells(path)
    taken, whole = (sum(len(code_lines(cell)) for cell in some) for some in ([cell for cell in cells if exported(cell)], cells))
    assert taken <= 0.2 * whole, f"{taken} of {whole} lines are exported: {taken / whole:.0%}"
    for cell in cells:
        imports = all(line.startswith(("import ", "from ", " ", ")")) for line in code_lines(cell))
        assert exported(cell) in ("", "exports") or imports, f"exported, but its source is not shown on the site:\n{cell.source}"


@pytest.mark.parametrize("path", by_name(LESSONS))
def test_lines_of_a_lesson_fit_the_page(path):
    long = [line for cell in lesson_cells(path) for line in code_lines(cell) if len(line) > 88]
    assert not long, "more than 88 characters:\n" + "\n".join(long)


@pytest.mark.parametrize("path", by_name(LESSONS))
def test_a_lesson_takes_half_an_hour(path):
    assert minutes(path) == 10 if path.stem.startswith("00") else 15 <= minutes(path) <= 35, f"{minutes(path)} minutes"


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", by_name(PAGES))
def test_class_names_are_spelt_as_the_folders(path):
    "A class name in `code` is a folder's name: `fire_truck`, never `firetruck` or `Fire Truck`."
    from vehicle_nb.demo.make import DEMO_CLASSES

    folders = {name.replace("_", ""): name for name in DEMO_CLASSES}
    for span in re.findall(r"`([^`\n]+)`", prose(path, with_code=True)):
        plain = re.sub(r"[\s_-]", "", span.lower())
        assert plain not in folders or span == folders[plain], f"{path.name}: `{span}` should be `{folders[plain]}`"


# --- README.md --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LANDING.values())
def test_readme_comes_from_its_notebook(name):
    tool = load_tool("readme")
    assert {source.removesuffix(".ipynb"): readme for readme, source in tool.PAGES.items()} == LANDING
    assert (ROOT / name).read_text(encoding="utf-8") == tool.make_readme(name), "run: python tools/readme.py"


def lesson_rows(text: str) -> list[tuple[str, str]]:
    "Notebook and minutes of each row of the lesson tables in a README."
    return re.findall(r"(?m)^\| \[[^\]]+\]\(nbs/([\w./]+)\.ipynb\) \|.*\| *(\d*) *\|$", text)


def test_readmes_say_the_same():
    "The French README has the commands, the road's lessons and their times, and each leads to the other."
    english, french = ((ROOT / name).read_text(encoding="utf-8") for name in LANDING.values())
    assert lesson_rows(french) == lesson_rows(english.split("<details>")[0]) and lesson_rows(french)
    blocks = [[re.sub(r" *#.*", "", block) for block in re.findall(r"(?s)```sh\n(.+?)```", text)] for text in (english, french)]
    assert blocks[0] == blocks[1] and blocks[0]
    assert "(README.fr.md)" in english.split("## ")[0] and "(README.md)" in french.split("## ")[0]
    assert len(re.findall(r"(?m)^## ", english)) - len(re.findall(r"(?m)^## ", french)) == 0


def test_readmes_begin_with_a_clone_of_this_repository():
    for name in LANDING.values():
        first = re.search(r"(?s)```sh\n(.+?)```", (ROOT / name).read_text(encoding="utf-8"))[1]
        assert first == "git clone {git_url} && cd {repo}\n".format(**read_settings())


def test_french_keeps_its_spaces():
    "Before ; : ? ! and inside « » stands a space at which no line may break."
    text = re.sub(r"\]\([^)]*\)|-{3,}:", "", prose(NBS / "accueil.ipynb"))
    wrong = r".{0,20}(?: [;:?!]|« | »)"
    assert re.findall(wrong, "Vraiment ?") and len(text) > 1000
    assert not re.findall(wrong, text)


def test_readme_lists_every_lesson_with_its_time():
    "The first table has the lessons, the second their insides and the parts, both in the folder's order."
    lessons, insides = (lesson_rows(part) for part in (ROOT / "README.md").read_text(encoding="utf-8").split("<details>", 1))
    assert lessons == [(page_of(path), str(minutes(path))) for path in LESSONS]
    assert insides == [(page_of(path), str(minutes(path))) for path in BOOK if path not in LESSONS]


def test_commands_in_the_pages_exist():
    "Every command, module, configuration file and option that README.md and CONTRIBUTING.md name."
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in (*LANDING.values(), "CONTRIBUTING.md", "nbs/commands.md"))
    scripts = {line.split("=")[0] for line in read_settings()["console_scripts"].split()}
    assert set(re.findall(r"\bvehicle_(?!nb\b|xxx\b|cnn\b)\w+", text)) <= scripts
    for module in set(re.findall(r"-m (vehicle_nb\.[\w.]*\w)", text)):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    for file in re.findall(r"(?:configs|tests|tools)/\w+\.\w+", text):
        assert (ROOT / file).is_file(), file
    for name in set(re.findall(r"\bnbdev_\w+", text)):
        assert shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name), name


@pytest.mark.parametrize("command", ["data", "explore", "preprocess", "train", "evaluate", "predict"])
def test_help_knows_the_options_that_the_pages_name(command):
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", NBS / "commands.md"))
    script = f"vehicle_{command}"
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit):
        getattr(commands, script)(["--help"])
    for row in re.findall(rf"(?m)^(?:\| `)?{script}\b.*$", text):
        for option in re.findall(r"--[\w-]+", row.split("#")[0]):
            assert option in said.getvalue(), f"{script} {option}"


def test_readme_stays_as_it_is(repo_copy):
    "nbdev_docs and nbdev_prepare rewrite README.md if it is older than its notebook, as in a clone: here they find none."
    for path in [repo_copy / "README.md", *(repo_copy / "nbs").rglob("*")]:
        os.utime(path, (1_000_000 if path.name == "README.md" else 2_000_000,) * 2)
    call = "from nbdev.quarto import nbdev_readme as f; f.__wrapped__(chk_time=True)"
    done = subprocess.run([sys.executable, "-c", call], cwd=repo_copy, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "README_is_written_by_tools_readme.py" in done.stdout, done.stderr
    assert (repo_copy / "README.md").read_bytes() == (ROOT / "README.md").read_bytes()


def test_readme_is_short():
    "One screen says what this is; five results at most, each with its command, machine, date and runs; the rest is a page."
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\|.*\|$", text.partition("## Results")[2].partition("\n## ")[0])[2:]
    assert 3 <= len(rows) <= 5 and all(row.count("|") == 5 and "20" in row for row in rows)
    assert "(nbs/results.md)" in text and "(nbs/commands.md)" in text
    assert "{" not in re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL), "an attribute that only the docs site reads"


# --- the docs site ----------------------------------------------------------------------------------------------------


# `nbdev_proc_nbs` would install Quarto where it is missing, so what it calls is called here, and one page that fails
# does not keep the others from being looked at. What the docs workflow does not install is hidden, as it will not be there.
PROCESS = """
import sys, traceback
from importlib.machinery import PathFinder

class OnlyDocs(PathFinder):
    def find_spec(name, path=None, target=None, hidden=frozenset(sys.argv[1:])):
        return None if name in hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = OnlyDocs
import nbdev.serve_drv
from nbdev.serve import proc_nbs

def attempt(args, main=nbdev.serve_drv.main):
    try: main(args)
    except Exception: print("FAILED", args[0].name, traceback.format_exc().replace("\\n", "\\t"), file=sys.stderr)

nbdev.serve_drv.main = attempt
proc_nbs(n_workers=0)
"""


def brought_by(requirements: list[str]) -> set[str]:
    "The names of all distributions that pip installs for these requirements, as far as they are installed here."
    found, waiting = set(), [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        wanted = {(name, one) for one in {"", *requirement.extras}} - found
        if (requirement.marker and not requirement.marker.evaluate({"extra": extra})) or not wanted:
            continue
        found |= wanted
        with contextlib.suppress(PackageNotFoundError):
            needs = [Requirement(text) for text in distribution(name).requires or []]
            waiting += [(need, one) for need in needs for _, one in wanted]
    return {name for name, _ in found}


def hidden_modules() -> list[str]:
    "The modules of all that is installed here and that `pip install '.[docs]'` would not bring."
    settings = read_settings()
    brought = brought_by(" ".join(settings[f"{kind}requirements"] for kind in ("", "course_", "app_")).split()) | {"vehicle-nb"}
    owners = packages_distributions().items()
    return sorted(module for module, names in owners if not brought & {canonicalize_name(name) for name in names})


def test_what_the_docs_extra_does_not_bring_is_hidden():
    hidden = set(hidden_modules())
    assert {"pytest", "onnxruntime"} <= hidden
    assert not {"sklearn", "scipy", "torch", "nbdev", "PIL", "yaml", "vehicle_nb", "IPython"} & hidden


def test_docs_workflow_installs_the_docs_extra():
    steps = yaml.safe_load((ROOT / ".github/workflows/docs.yml").read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands[:2] == ["pip install -e '.[docs]'", "nbdev_docs"]
    assert commands[-1] == "vehicle_export --bundle models/demo --web _docs/try"
    quarto = next(step["with"] for step in steps if "quarto" in step.get("uses", ""))
    assert re.fullmatch(r"\d+\.\d+\.\d+", quarto["version"]), "another Quarto may draw another site"


@pytest.fixture(scope="session")
def processed(shared) -> tuple[Path, str]:
    "The folder of notebooks as nbdev hands them to Quarto, and what was said meanwhile."

    def make(folder: Path):
        command = [sys.executable, "-c", PROCESS, *hidden_modules()]
        done = subprocess.run(command, cwd=copy_repository(folder), capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        (folder / "said.txt").write_text(done.stderr, encoding="utf-8")

    folder = once(shared / "docs", make)
    return folder / "_proc", (folder / "said.txt").read_text(encoding="utf-8")


def test_docs_build_warns_of_nothing(processed):
    warnings = re.findall(r"(?m)^.*Warning: .*$(?:\n.*){0,9}", processed[1])
    assert not warnings, "\n".join(warnings)


@pytest.mark.parametrize("path", by_name([*NOTEBOOKS, *EXERCISES, *SOLUTIONS]))
def test_page_is_whole(path, processed):
    "Title and description became metadata, and every other word of the notebook's text is still there."
    failed = re.search(rf"(?m)^FAILED \S*{re.escape(path.name)} (.*)$", processed[1])
    assert not failed, failed[1].replace("\t", "\n")
    cells = json.loads((processed[0] / path.relative_to(NBS)).read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] != "code")
    head = yaml.safe_load(text.split("---")[1])
    assert head["title"] and head["description"] and head["output-file"].endswith(".html"), head
    for cell in cells_of(path, "markdown")[1:]:
        for line in re.findall(r"(?m)^(?![#|>\s])[^`\[\]]{30,}$", cell.source):  # lines without names that nbdev links
            assert line in text, f"the docs lose: {line}"


def test_pages_find_their_pictures_and_style(processed):
    for name in ["styles.css", "sidebar.yml", "nbdev.yml", "_quarto.yml", *(f"images/{p.name}" for p in NBS.glob("images/*"))]:
        assert (processed[0] / name).is_file(), f"{name} does not reach the docs"


@pytest.fixture(scope="session")
def tidied(processed, shared) -> Path:
    "The same folder after tools/docs_site.py, as Quarto reads it."

    def make(folder: Path):
        shutil.copytree(processed[0], folder / "_proc")
        load_tool("docs_site").main(folder / "_proc")

    return once(shared / "tidied", make) / "_proc"


def shown(cells: list, where: str) -> list[str]:
    "All Markdown of a page (`text`), or all that its fences hold (`code`)."
    tool = load_tool("docs_site")
    texts = [text for cell in cells if cell["cell_type"] != "raw" for text in tool.own_text(cell)]
    return [part for text in texts for part in tool.FENCE.split(text)[where == "code" :: 2]]


@pytest.mark.parametrize("path", by_name([*NOTEBOOKS, *EXERCISES, *SOLUTIONS]))
def test_page_is_clean(path, tidied):
    "No link inside a link or inside code, each leads to a page and a heading that exist, pictures have their text, folds fold."
    cells = json.loads((tidied / path.relative_to(NBS)).read_text(encoding="utf-8"))["cells"]
    site = "{doc_host}{doc_baseurl}".format(**read_settings())
    tool, pages = load_tool("docs_site"), {}
    assert all(isinstance(cell["source"], list) for cell in cells), "Quarto drops the line breaks of a source that is a string"
    for text in shown(cells, "code"):
        assert "](http" not in text and "builtin_function" not in text and not re.search(r"(?m)^def [A-Z]", text), text
    for text in shown(cells, "text"):
        assert not re.search(r"(?<!!)\[[^\[\]]*(?<!!)\[[^\[\]]*\]\([^()]*\)[^\[\]]*\]\(", text), text
        assert f"]({site}" not in text, text
        assert not re.search(r"(?m)^\[?!\[[^\]]", text), f"the alt text of a picture that stands alone is lost:\n{text}"
        for target in re.findall(r"\]\(([^):]+\.html[^)]*)\)", text):
            name, _, anchor = target.partition("#")
            stem = Path(name).with_suffix("").name
            folder = (path.parent / name).parent
            found = [file for file in folder.glob(f"*{stem}.ipynb") if tool.page_name(file.name) == f"{stem}.html"]
            assert found, f"{target} is no page"
            if anchor:
                file = tidied / found[0].resolve().relative_to(NBS)
                pages[file] = pages.get(file) or tool.anchors(json.loads(file.read_text(encoding="utf-8")))
                assert anchor in pages[file], f"{target} is no heading"
    source = ["".join(cell["source"]) for cell in cells]
    for cell, before, after in zip(source[1:-1], source, source[2:], strict=False):
        if cell.startswith("#| solution"):
            assert "<summary>Solution</summary>" in before and after == "</details>" and "code-fold" not in cell
        if re.match(r"(import|from) ", cell) and "\n\n\n" not in cell:
            assert not all(line.startswith(("import", "from")) for line in cell.split("\n")), f"imports stand open:\n{cell}"


def test_reference_lists_every_public_name(tidied):
    page = (tidied / "reference.md").read_text(encoding="utf-8")
    for module in _modidx.d["syms"]:
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
        for name in re.findall(r"'(\w+)'", "".join(re.findall(r"(?s)__all__ = \[(.*?)\]", source))):
            assert f"[`{name}`](" in page, f"{module}.{name}"
    assert "Copies files and stops at a limit" in page and "<!-- names -->" not in page
    assert page.count("| [`") > 300


def test_tidying_twice_changes_nothing(tidied, tmp_path):
    "nbdev_preview renders again after each edit, with what it has tidied before."
    copy = shutil.copytree(tidied / "parts", tmp_path / "_proc" / "parts")
    shutil.copy(tidied / "reference.md", tmp_path / "_proc")
    load_tool("docs_site").main(tmp_path / "_proc")
    for path in copy.iterdir():
        assert path.read_bytes() == (tidied / "parts" / path.name).read_bytes()


def test_plots_are_told_from_pictures():
    "The dark theme turns plots over; a sheet of pictures would look like a negative."
    from PIL import Image, ImageDraw

    def png(share: float) -> str:
        image = Image.new("RGB", (100, 100), "white")
        ImageDraw.Draw(image).rectangle((0, 0, 99, round(100 * share) - 1), fill="#0072b2")
        image.save(file := io.BytesIO(), "PNG")
        return base64.b64encode(file.getvalue()).decode()

    assert [load_tool("docs_site").is_plot(png(share)) for share in (0.1, 0.25, 0.4, 0.8)] == [True, True, False, False]


def test_links_are_mended():
    "By example: what nbdev makes of a name in `code`, and what a reader should get."
    mend = load_tool("docs_site").tidy_links
    site, headings = "https://x.org/s", {"a/split.html": {"cut"}, "b/cnn.html": set()}
    for text, right in {
        "[`cut`](https://x.org/s/a/split.html#cut)": "[`cut`](split.html#cut)",
        "[`gone`](https://x.org/s/a/split.html#gone)": "[`gone`](split.html)",
        "[`net`](https://x.org/s/b/cnn.html#net)": "[`net`](../b/cnn.html)",
        "[see [`net`](https://x.org/s/b/cnn.html#net) there](https://else.org)": "[see `net` there](https://else.org)",
        "[![a badge](https://b.org/c.svg)](https://d.org)": "[![a badge](https://b.org/c.svg)](https://d.org)",
        "```python\nx, # of [`net`](https://x.org/s/b/cnn.html#net)\n```": "```python\nx, # of net\n```",
    }.items():
        assert mend(text, "a/draw.html", site, headings) == right


def test_docs_render(repo_copy):
    "Quarto renders every page without a warning."
    if not shutil.which("quarto"):
        pytest.skip("Quarto is not installed: the pages were checked up to rendering, rendering itself was not")
    nbdev_docs = shutil.which("nbdev_docs", path=str(Path(sys.executable).parent)) or "nbdev_docs"
    done = subprocess.run([nbdev_docs], cwd=repo_copy, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr, done.stderr
    for path in NOTEBOOKS:
        page = re.sub(r"(^|/)\d+[a-z]?_", r"\1", page_of(path))
        assert (repo_copy / "_docs" / f"{page}.html").is_file(), f"no page for {page_of(path)}"
