"""Make a deck of slides for each chapter out of its lessons: questions, formulas, figures, code, takeaways, quiz; the text becomes notes.

    python tools/slides.py FOLDER          then: quarto render FOLDER

The docs site has them already: tools/docs_site.py calls this before Quarto renders.
"""

import base64
import json
import re
import shutil
import sys
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
HEAD = """---
title: "{title}"
subtitle: "{lessons}"
author: "vehicle_nb"
format:
  revealjs:
    theme: [default, slides.scss]
    width: 1280
    height: 720
    margin: 0.05
    slide-number: true
    scrollable: true
    navigation-mode: linear
    html-math-method: mathml
---
"""
STYLE = """/*-- scss:defaults --*/
$presentation-heading-color: #0b3d5c;
$presentation-h1-font-size: 2em;
$presentation-h2-font-size: 1.3em;
$presentation-font-size-root: 34px;
$link-color: #00664b;
"""
QUIET = {"Exercises", "Further reading"}  # sections that make no slides
CODE_LINES = 18  # more do not fit on a slide


def chapters() -> dict[str, list[Path]]:
    "The lessons of each deck; the first lesson belongs to no chapter and opens the first deck."
    decks = {path.name: sorted(path.glob("[0-9][0-9]_*.ipynb")) for path in sorted(NBS.glob("[0-9]_*"))}
    first = next(iter(decks))
    decks[first] = [*NBS.glob("00_*.ipynb"), *decks[first]]
    return decks


def sections(cells: list[dict]) -> list[tuple[str, list[dict]]]:
    "Cells by the `##` heading above them; what stands before the first one has an empty heading."
    found = [("", [])]
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] != "markdown":
            found[-1][1].append(cell)
            continue
        parts = re.split(r"(?m)^## +(.+)$", source)
        found[-1][1].append({"cell_type": "markdown", "source": parts[0]})
        for title, text in zip(parts[1::2], parts[2::2], strict=True):
            found.append((title.strip(), [{"cell_type": "markdown", "source": text}]))
    return found


def figures(cells: list[dict], stem: str, folder: Path) -> list[str]:
    "The figures and the taught code of some cells as Markdown; the files of the figures are written."
    found = []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            for alt, file in re.findall(r"(?m)^!\[([^\]]+)\]\((?:\.\./)?(images/[^)]+)\)", cell["source"]):
                shutil.copy(NBS / file, folder / "figures")
                found.append(f'![](figures/{Path(file).name}){{fig-alt="{alt}"}}')
            continue
        source = "".join(cell["source"])
        if source.startswith("#| exports\n") and source.count("\n") <= CODE_LINES:
            found.append(f"```python\n{source.partition(chr(10))[2]}\n```")
        alt = re.search(r'(?m)^#\| fig-alt: "(.*)"$', source)
        for number, output in enumerate(cell.get("outputs", [])):
            if png := "".join(output.get("data", {}).get("image/png", "")):
                file = folder / "figures" / f"{stem}-{cell['id']}-{number}.png"
                file.write_bytes(base64.b64decode(png))
                found.append(f'![](figures/{file.name}){{fig-alt="{alt[1] if alt else ""}"}}')
    return found


def plain(text: str) -> str:
    "Text without its pictures and without its links, which lead nowhere from a slide."
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"(?m)^!\[.*$", "", text)).strip()


def quiz(text: str) -> list[str]:
    "A slide for each question with its options; what is right stands in the notes."
    found = []
    for question in re.split(r"(?m)^\*\*\d+\.\*\* ", text)[1:]:
        options = re.findall(r"(?s)<summary>(.*?)</summary>\s*(.*?)\s*</details>", question)
        listed = "\n".join(f"- {option}" for option, _ in options if re.match(r"[A-Z]\. ", option))
        answers = "\n\n".join(f"{option}: {answer}" for option, answer in options)
        found.append(f"## Quiz\n\n{question.partition('<details>')[0].strip()}\n\n{listed}\n\n::: {{.notes}}\n{answers}\n:::")
    return found


def slides(title: str, cells: list[dict], stem: str, folder: Path) -> list[str]:
    "The slides of a section: its questions, its formulas, each of its figures; its text as notes of the first."
    text = plain("\n\n".join(cell["source"].strip() for cell in cells if cell["cell_type"] == "markdown"))
    if title == "Quiz":
        return quiz(text)
    if title == "Takeaways":
        return [f"## {title}\n\n{text}"]
    guesses = re.findall(r"\*\*Guess first:?\*\*:? *(.+)", text)
    formulas = re.findall(r"(?s)\$\$.+?\$\$", text)
    bodies = [f"*Guess first:* {guess}" for guess in guesses] + ["\n\n".join(formulas)] * bool(formulas) + figures(cells, stem, folder)
    notes = f"\n\n::: {{.notes}}\n{text}\n:::" if text else ""
    return [f"## {title}\n\n{body}{notes if not i else ''}" for i, body in enumerate(bodies)]


def lesson(path: Path, folder: Path) -> list[str]:
    "The slides of a lesson: its title, what one will be able to do, its sections, its takeaways."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    title, subtitle = re.match(r"# (.+)\s+> (.+)", texts[0]).groups()
    goals = re.search(r"\*\*You will be able to\*\*(.+?)(?=\n\n\*\*)", "\n\n".join(texts), re.DOTALL)
    goals = [goal.strip(" ·-;\n") for goal in re.split(r" · |\n- ", plain(goals[1]))] if goals else []
    found = [f"# {title}\n\n{subtitle}", "## You will be able to\n\n" + "\n".join(f"- {goal}" for goal in goals if goal)]
    for heading, inside in sections(cells):
        if heading and heading not in QUIET:
            found += slides(heading, inside, path.stem, folder)
    return found


def main(folder: Path):
    "Write the decks and their figures into a folder."
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for file in (folder / "figures").iterdir():
        file.unlink()
    (folder / "slides.scss").write_text(STYLE, encoding="utf-8")
    for name, lessons in chapters().items():
        found = [slide for path in lessons for slide in lesson(path, folder)]
        titles = " · ".join(slide[2:].split("\n")[0] for slide in found if slide.startswith("# "))
        text = HEAD.format(title=name.replace("_", " ").title(), lessons=titles) + "\n" + "\n\n".join(found) + "\n"
        (folder / f"{name}.qmd").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
