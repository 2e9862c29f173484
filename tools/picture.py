"""Draw the picture at the top of README.md, two pictures of each class of the demo set under its name, and the card that
messengers show beside a link to the docs site.

    python tools/picture.py
"""

import zlib
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle

SIZE, GAP, COLUMNS, EACH = 144, 6, 10, 2
TITLE = 26  # pixels for the name above a class
TARGET = Path(__file__).resolve().parent.parent / "nbs" / "images" / "demo_sheet.webp"
CARD = TARGET.with_name("card.jpg")  # not every messenger reads WebP


def sheet(seed: int = 3) -> Image.Image:
    "The demo set at a glance."
    rows = -(-len(DEMO_CLASSES) // COLUMNS)
    height = TITLE + EACH * (SIZE + GAP)
    image = Image.new("RGB", (GAP + COLUMNS * (SIZE + GAP), GAP + rows * height), "white")
    draw = ImageDraw.Draw(image)
    for i, kind in enumerate(DEMO_CLASSES):
        x, y = GAP + i % COLUMNS * (SIZE + GAP), GAP + i // COLUMNS * height
        draw.text((x + SIZE / 2, y + TITLE / 2 - 2), kind.replace("_", " "), fill="#24292f", anchor="mm", font_size=17)
        for k in range(EACH):
            picture = draw_vehicle(kind, zlib.crc32(f"{seed}/{kind}/{k}".encode()), SIZE * 2)
            image.paste(ImageOps.fit(picture, (SIZE, SIZE), Image.Resampling.LANCZOS), (x, y + TITLE + k * (SIZE + GAP)))
    return image


def card(seed: int = 3) -> Image.Image:
    "What stands beside a shared link: twelve vehicles, and what the course is."
    image = Image.new("RGB", (1200, 630), "#0b3d5c")
    draw = ImageDraw.Draw(image)
    for i, kind in enumerate(DEMO_CLASSES[:12]):
        picture = draw_vehicle(kind, zlib.crc32(f"{seed}/{kind}/0".encode()), 400)
        image.paste(ImageOps.fit(picture, (200, 200), Image.Resampling.LANCZOS), (i % 6 * 200, i // 6 * 200))
    draw.text((600, 470), "vehicle_nb", fill="#f2b632", anchor="mm", font_size=72)
    draw.text((600, 560), "Learn image classification by doing all of it", fill="white", anchor="mm", font_size=44)
    return image


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    sheet().save(TARGET, quality=78, method=6)
    card().save(CARD, quality=85)
    for path in (TARGET, CARD):
        print(f"Wrote {path.name}, {path.stat().st_size:,} bytes.")
