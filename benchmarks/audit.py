"""What the audit finds and how long it takes, measured on faults that this script plants itself.

    python benchmarks/audit.py --photos FOLDER [--weights FILE] [--seeds 0 1 2]     found and missed
    python benchmarks/audit.py --search 10000 30000 100000                          time of the near-duplicate search
    python benchmarks/audit.py --files 100000                                       time and memory of a whole audit

FOLDER holds one folder of photos a class. Nothing is written to it: the planted set is made of hard links and new files in
a temporary folder.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from vehicle_nb.data import list_images, read_image
from vehicle_nb.exploration import audit

# --- planting ---------------------------------------------------------------------------------------------------------


def reencode(img, rng):
    "The same pixels, saved again with a stronger compression."
    return img, {"quality": rng.choice([35, 50, 70, 85])}


def resized(img, rng):
    "Between 0.4 and 1.5 times the size."
    scale = rng.uniform(0.4, 1.5)
    return img.resize((max(8, int(img.width * scale)), max(8, int(img.height * scale))), Image.Resampling.BICUBIC), {}


def brighter(img, rng):
    "15 % darker or brighter; the brightest parts are clipped."
    return ImageEnhance.Brightness(img).enhance(rng.choice([0.85, 1.15])), {}


def cropped(img, rng):
    "5 % cut off: of one side, of width and height at a random place, or of each of the four sides."
    x, y = img.width * 0.05, img.height * 0.05
    way = rng.choice(["side", "place", "all"])
    left, top, right, bottom = 0.0, 0.0, 0.0, 0.0
    if way == "all":
        left = right = x
        top = bottom = y
    elif way == "place":
        left, top = rng.uniform(0, x), rng.uniform(0, y)
        right, bottom = x - left, y - top
    else:
        left, top, right, bottom = rng.choice([(x, 0, 0, 0), (0, y, 0, 0), (0, 0, x, 0), (0, 0, 0, y)])
    return img.crop((round(left), round(top), round(img.width - right), round(img.height - bottom))), {}


def watermarked(img, rng):
    "A line of white text in a corner."
    img = img.copy()
    draw = ImageDraw.Draw(img, "RGBA")
    at = (rng.uniform(0.02, 0.55) * img.width, rng.choice([0.03, 0.89]) * img.height)
    draw.text(at, "(c) photos.example", fill=(255, 255, 255, 200), font_size=max(9, img.height // 16))
    return img, {}


def mirrored(img, rng):
    "Left and right exchanged."
    return ImageOps.mirror(img), {}


KINDS = {f.__name__: f for f in (reencode, resized, brighter, cropped, watermarked, mirrored)}


def link(photos: Path, target: Path) -> list[tuple[str, Path]]:
    "The photos as hard links (or copies) in `target`: (class, path)."
    found = []
    for name, path in list_images(photos):
        place = target / name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:
            shutil.copyfile(path, place)
        found.append((name, place))
    return found


def plant_copies(originals, count: int, rng) -> dict[Path, tuple[str, Path]]:
    "Write `count` changed copies, as many of each kind, beside their originals: {copy: (kind, original)}."
    planted = {}
    for n, (name, path) in enumerate(rng.sample(originals, count)):
        kind = list(KINDS)[n % len(KINDS)]
        img, options = KINDS[kind](read_image(path), rng)
        copy = path.parent / f"{rng.getrandbits(64):016x}.jpg"
        img.save(copy, **{"quality": 88, **options})
        planted[copy] = (kind, path)
    return planted


# --- measuring --------------------------------------------------------------------------------------------------------


def clusters(table) -> dict[str, str]:
    "path: group."
    return dict(zip(table["path"], table["group"], strict=True))


def count_false(before: dict, after: dict, planted: dict, root: Path) -> int:
    "Originals that share a group with an original that they did not share one with before planting."
    copies = {copy.relative_to(root).as_posix() for copy in planted}
    members = defaultdict(list)
    for path, group in after.items():
        if path not in copies:
            members[group].append(before[path])
    return sum(len(groups) - Counter(groups).most_common(1)[0][1] for groups in members.values())


def measure_copies(photos: Path, seed: int, count: int) -> None:
    "Plant near duplicates and print how many were grouped with their original, kind by kind."
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "raw"
        originals = link(photos, root)
        before = audit(root, show_progress=False)
        planted = plant_copies(originals, count, random.Random(seed))
        start = time.perf_counter()
        after = audit(root, show_progress=False)
        seconds = time.perf_counter() - start
        groups = clusters(after.table)
        found, total = Counter(), Counter()
        for copy, (kind, original) in planted.items():
            same = groups[copy.relative_to(root).as_posix()] == groups[original.relative_to(root).as_posix()]
            found[kind] += same
            total[kind] += 1
        five = [kind for kind in KINDS if kind != "mirrored"]
        share = sum(found[k] for k in five) / sum(total[k] for k in five)
        false = count_false(clusters(before.table), groups, planted, root)
        grouped = before.table["group"].duplicated(keep=False) & (before.table["reason"] == "")
        kinds = "  ".join(f"{kind} {found[kind]}/{total[kind]}" for kind in KINDS)
        print(f"seed {seed}: {kinds}  | first five {share:.1%} | falsely grouped {false} of {len(originals)}"
              f" | grouped before planting {grouped.sum()} | {seconds:.1f} s")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="real photos, one folder a class")
    parser.add_argument("--copies", type=int, default=240, help="near duplicates to plant")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    if args.photos:
        for seed in args.seeds:
            measure_copies(args.photos, seed, args.copies)


if __name__ == "__main__":
    main()
