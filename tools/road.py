"""The road of this project: which module stands where, and the drawing of it at the top of README.md.

    python tools/road.py

A module may import what stands before it in ROAD, and of its own stop the parts that stand before it there.
tests/test_house.py compares this with the imports, tests/test_docs.py with the drawing.
"""

import html
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "nbs" / "images" / "road.svg"

# Beside the road: what every stop may lean on.
TOOLS = ["core", "places", "pool", "demo_shapes", "demo_camera", "demo_scenery", "demo_cars", "demo_riders", "demo_craft", "demo"]

# A stop: the module of its lesson, what it is, what it leaves behind, and the modules that are its parts, in their order.
ROAD = [
    ("data", "web, folder, archive", "→ data/raw", ["images", "archives"]),
    ("exploration", "look before you train", "→ data/audit", ["duplicates", "audit", "audit_plots", "suspects", "audit_page"]),
    ("preprocessing", "clean, split, 224×224", "→ data/processed", ["splitting"]),
    ("loading", "batches in [−1, 1]", "→ three loaders", ["augment"]),
    ("model", "a CNN, layer by layer", "→ logits", ["bundles"]),
    ("train", "loop, schedule, resume", "→ models/<run>", ["confidence", "recipe", "processes", "trainer", "checkpoints"]),
    ("distributed", "1, 4 or many GPUs", "→ the same weights", []),
    ("evaluation", "where is it wrong?", "→ report", ["strangers", "answers", "examination", "report_page"]),
    ("inference", "one picture, a folder", "→ class, confidence", ["fetch", "exported"]),
    ("page", "drop a photo, see why", "→ an answer, a chart", ["sharing", "translation", "training_job"]),
]

# Behind the last stop: what only the page itself needs.
BEHIND = ["visitors", "server"]


def order() -> list[str]:
    "All modules, each after those that it may import."
    return [*TOOLS, *(name for stop, _, _, parts in ROAD for name in (*parts, stop)), *BEHIND]


def text(x: float, y: float, words: str, size: int, colour: str, extra: str = "") -> str:
    "A line of text, centred at x."
    return f'<text x="{x}" y="{y}" text-anchor="middle" font-size="{size}" fill="{colour}"{extra}>{html.escape(words)}</text>'


def draw_stop(i: int, x: float) -> list[str]:
    "A numbered dot on the road, and the card that hangs on it."
    name, what, result, parts = ROAD[i]
    top = 20 if i % 2 == 0 else 222
    stalk = (140, 186) if i % 2 == 0 else (186, 222)
    lines = [
        f'<path d="M{x} {stalk[0]}V{stalk[1]}" stroke="#0072b2" stroke-width="3"/>',
        f'<circle cx="{x}" cy="186" r="15" fill="#0072b2" stroke="#fff" stroke-width="3"/>',
        text(x, 191, str(i), 14, "#fff", ' font-weight="700"'),
        f'<rect x="{x - 106}" y="{top}" width="212" height="120" rx="10" fill="#fff" stroke="#c9d1d9"/>',
        text(x, top + 28, name, 20, "#0b3d5c", ' font-weight="700" class="stop"'),
        text(x, top + 52, what, 17, "#24292f"),
        text(x, top + 75, result, 16, "#00664b"),
    ]
    rows = [" · ".join(parts[k : k + 3]) for k in range(0, len(parts), 3)]
    return lines + [text(x, top + 95 + 15 * k, row, 12, "#57606a", ' class="parts"') for k, row in enumerate(rows)]


def draw() -> str:
    "The whole drawing, as SVG."
    names = ", ".join(stop for stop, *_ in ROAD)
    head = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1240 400" role="img" aria-labelledby="t d" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        '<title id="t">The road of vehicle_nb</title>',
        f'<desc id="d">{len(ROAD)} stops on one straight road: {names}. Each reads what the stop before it wrote. In small '
        "letters, the modules that are its parts.</desc>",
        '<rect width="1240" height="400" rx="18" fill="#f4f6f8"/>',
        '<path d="M0 186H1240" stroke="#3b4148" stroke-width="34"/>',
        '<path d="M0 186H1240" stroke="#f0e442" stroke-width="3" stroke-dasharray="22 16"/>',
    ]
    step = (1240 - 236) / (len(ROAD) - 1)
    stops = [line for i in range(len(ROAD)) for line in draw_stop(i, round(118 + i * step))]
    foot = text(620, 380, "beside the road: " + " · ".join(TOOLS) + ", behind it: " + " · ".join(BEHIND), 14, "#57606a", ' class="tools"')
    return "\n".join([*head, *stops, foot, "</svg>"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
    print(f"Wrote {TARGET.name}: {len(order())} modules.")
