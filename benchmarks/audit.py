"""Which changed copies, planted by this program, does the audit find, and how long does the search for them take?

    python benchmarks/audit.py --photos FOLDER                what it finds
    python benchmarks/audit.py --search 10000 30000 100000    time and memory of the search

FOLDER holds one folder of photos a class. Nothing is written to it: the planted set is made of hard links and new files in a
temporary folder.
"""

import os
import random
import resource
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from common import parser, save, table
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from vehicle_nb.data import duplicates
from vehicle_nb.data.audit import audit
from vehicle_nb.data.verify import describe
from vehicle_nb.data.images import read_image
from vehicle_nb.data.sources import list_images


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


def rotated(img, rng):
    "Turned by any angle; the corners become black."
    return img.rotate(rng.uniform(-180, 180), Image.Resampling.BICUBIC), {}


def quarter(img, rng):
    "Upside down, or turned by 90, 180 or 270 degrees."
    turns = [Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]
    return img.transpose(rng.choice(turns)), {}


def letterboxed(img, rng):
    "In the middle of a black or white square."
    return ImageOps.pad(img, (640, 640), color=rng.choice(["black", "white"])), {}


def cropped_much(img, rng):
    "A window of 60 to 85 % of the area."
    side = rng.uniform(0.6, 0.85) ** 0.5
    x, y = rng.uniform(0, 1 - side) * img.width, rng.uniform(0, 1 - side) * img.height
    return img.crop((round(x), round(y), round(x + side * img.width), round(y + side * img.height))), {}


def recoloured(img, rng):
    "Another hue, grey, or a colour filter."
    if rng.random() < 0.3:
        return ImageOps.grayscale(img).convert("RGB"), {}
    if rng.random() < 0.5:
        return Image.blend(img, Image.new("RGB", img.size, rng.choice(["orange", "blue", "green"])), 0.3), {}
    hue, rest = img.convert("HSV").getchannel("H"), img.convert("HSV").split()[1:]
    shift = rng.choice([-25, -18, 18, 25])
    return Image.merge("HSV", (hue.point(lambda value: (value + shift) % 256), *rest)).convert("RGB"), {}


def blurred(img, rng):
    "Out of focus, by 1 to 2.5 pixels."
    return img.filter(ImageFilter.GaussianBlur(rng.uniform(1, 2.5))), {}


def noisy(img, rng):
    "With the noise of a dark room."
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(10, 25), (img.height, img.width, 3))
    return Image.fromarray(np.clip(np.asarray(img) + noise, 0, 255).astype(np.uint8)), {}


def covered(img, rng):
    "Three black boxes, each a sixth of the width and the height."
    img = img.copy()
    for _ in range(3):
        x, y = rng.randrange(img.width), rng.randrange(img.height)
        img.paste(0, (x, y, min(img.width, x + img.width // 6), min(img.height, y + img.height // 6)))
    return img, {}


def sheared(img, rng):
    "Sheared by up to 0.3."
    k = rng.uniform(-0.3, 0.3)
    return img.transform(img.size, Image.Transform.AFFINE, (1, k, -k * img.height / 2, 0, 1, 0), Image.Resampling.BICUBIC), {}


def several(img, rng):
    "Turned by up to 20 degrees, cropped, recoloured, and mirrored or not."
    img = recoloured(cropped_much(img.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC), rng)[0], rng)[0]
    return (ImageOps.mirror(img) if rng.random() < 0.5 else img), {}


CHANGES = {
    f.__name__: f
    for f in (
        reencode, resized, brighter, cropped, watermarked, mirrored,
        rotated, quarter, letterboxed, cropped_much, recoloured, blurred, noisy, covered, sheared, several,
    )
}  # fmt: skip


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
    "Write `count` changed copies, equally many of each change, beside their originals: {copy: (change, original)}."
    planted = {}
    for n, (_, path) in enumerate(rng.sample(originals, count)):
        change = list(CHANGES)[n % len(CHANGES)]
        img, options = CHANGES[change](read_image(path), rng)
        copy = path.parent / f"{rng.getrandbits(64):016x}.jpg"
        img.save(copy, **{"quality": 88, **options})
        planted[copy] = (change, path)
    return planted


def count_false(before: dict, after: dict, planted: dict, root: Path) -> int:
    "Originals that share a group with an original that they did not share one with before planting."
    copies, members = {copy.relative_to(root).as_posix() for copy in planted}, defaultdict(list)
    for path, group in after.items():
        if path not in copies:
            members[group].append(before[path])
    return sum(len(groups) - Counter(groups).most_common(1)[0][1] for groups in members.values())


def find_copies(photos: Path, seed: int, count: int) -> dict:
    "Plant near-duplicates; how many are grouped with their original, for each change?"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "raw"
        originals = link(photos, root)
        before = audit(root, quiet=True).table
        planted = plant_copies(originals, count, random.Random(seed))
        after = audit(root, quiet=True).table
        groups, old = (dict(zip(rows["path"], rows["group"], strict=True)) for rows in (after, before))
        group_of = lambda path: groups[path.relative_to(root).as_posix()]  # noqa: E731
        total = Counter(change for change, _ in planted.values())
        found = Counter(change for copy, (change, original) in planted.items() if group_of(copy) == group_of(original))
        false = count_false(old, groups, planted, root)
    return {"seed": seed} | {change: f"{found[change]}/{total[change]}" for change in CHANGES} | {"grouped wrongly": false}


def fake_rows(n: int, seed: int = 0) -> np.ndarray:
    "`n` descriptions of drawn clouds (1/f noise), each with keypoints of its own; a tenth of them are copies of others."
    rng, size = np.random.default_rng(seed), 96
    waves = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size) ** 2
    waves[0, 0] = 1
    drawn = []
    for _ in range(min(n, 500)):
        grey = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * waves**-0.6).real
        drawn.append(describe(Image.fromarray(np.clip(128 + 50 * grey / grey.std(), 0, 255).astype(np.uint8)).convert("RGB")))
    rows = np.stack(drawn)[np.arange(n) % len(drawn)]
    for at in range(len(drawn), n, 1000):  # the others: 40 of the 128 bits of each keypoint are changed, so that no two match
        part = rows["codes"][at : at + 1000]
        part ^= np.packbits(rng.random((*part.shape[:2], 128)) < 0.3, axis=2).view("<u8")
    rows[n - n // 10 :] = rows[: n // 10]
    return rows


def search(count: int) -> dict:
    "Processor time of the whole search, and the most memory of this process."
    rows, start = fake_rows(count), time.process_time()
    groups, _ = duplicates.near_duplicates(rows)
    assert len(set(groups.tolist())) == count - count // 10
    seconds = time.process_time() - start
    return {"images": count, "processor seconds": seconds, "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def main():
    parse = parser(__doc__)
    parse.add_argument("--photos", type=Path, help="real photos, one folder a class")
    parse.add_argument("--copies", type=int, default=480, help="near-duplicates to plant, equally many of each change")
    parse.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parse.add_argument("--search", type=int, nargs="*", default=[], help="numbers of images")
    args = parse.parse_args()
    results = {
        "copies": [find_copies(args.photos, seed, args.copies) for seed in args.seeds if args.photos],
        "search": [search(count) for count in args.search],
    }
    for rows in filter(None, results.values()):
        table(rows)
    save(args.name, **results)


if __name__ == "__main__":
    main()
