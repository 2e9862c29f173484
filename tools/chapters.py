"""Draw the chapters at the top of README.md: what each makes out of what the one before it left, and its lessons.

    python tools/chapters.py

Chapters and lessons are the folders and titles of nbs/. tests/test_docs.py fails when the drawing is not what this script draws.
"""

import html
import json
import re
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
TARGET = NBS / "images" / "chapters.svg"
# What a chapter leaves behind, for the next one.
LEAVES = {"1_data": "data/processed", "2_models": "logits", "3_training": "models/<run>", "4_evaluation": "a report",
          "5_serving": "a web page", "6_project": "your own classes"}  # fmt: skip
WIDTH, GAP, TOP = 196, 12, 24


def lessons(chapter: Path) -> list[str]:
    "The titles of a chapter's lessons, without the lettered insides."
    found = []
    for path in sorted(chapter.glob("[0-9][0-9]_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        found.append(first.split("\n")[0].removeprefix("# "))
    return found


def card(i: int, chapter: Path) -> list[str]:
    "A chapter: its name on a bar, its lessons below, and what it leaves behind."
    x, titles = GAP + i * (WIDTH + GAP), lessons(chapter)
    lines = [
        f'<rect x="{x}" y="{TOP}" width="{WIDTH}" height="212" rx="10" fill="#fff" stroke="#c9d1d9"/>',
        f'<path d="M{x} {TOP + 44}v-34a10 10 0 0 1 10-10h{WIDTH - 20}a10 10 0 0 1 10 10v34z" fill="#0b3d5c"/>',
        f'<text x="{x + 14}" y="{TOP + 30}" font-size="20" font-weight="700" fill="#fff">{chapter.name.replace("_", " ")}</text>',
    ]
    for k, title in enumerate(titles):
        lines.append(f'<text x="{x + 14}" y="{TOP + 74 + 25 * k}" font-size="17" fill="#24292f">{html.escape(title)}</text>')
    lines.append(f'<text x="{x + 14}" y="{TOP + 200}" font-size="15" fill="#00664b">→ {html.escape(LEAVES[chapter.name])}</text>')
    return lines


def draw() -> str:
    "The whole drawing, as SVG."
    chapters = sorted(path for path in NBS.iterdir() if re.match(r"\d_", path.name))
    width = GAP + len(chapters) * (WIDTH + GAP)
    names = ", ".join(path.name.split("_")[1] for path in chapters)
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP * 2 + 212}" role="img" aria-labelledby="t d" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        '<title id="t">The chapters of vehicle_nb</title>',
        f'<desc id="d">{len(chapters)} chapters in reading order: {names}. Each starts from what the one before it left.</desc>',
        f'<rect width="{width}" height="{TOP * 2 + 212}" rx="18" fill="#f4f6f8"/>',
    ]
    return "\n".join([*head, *(line for i, path in enumerate(chapters) for line in card(i, path)), "</svg>"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
    print(f"Wrote {TARGET.name}.")
