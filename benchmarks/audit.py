"""Which changed copies, planted by this program, does the audit find, and how long does the search for them take?

    python benchmarks/audit.py --photos FOLDER                what it finds
    python benchmarks/audit.py --search 10000 30000 100000    time and memory of the search

FOLDER holds one folder of photos a class. Nothing is written to it: the planted set is made of hard links and new files in a
temporary folder. With `pip install imagededup` its hashes, at their defaults, are the peers on the first seed's set (its CNN
needs weights from the network).
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from vehicle_nb.data import duplicates
from vehicle_nb.data.audit import audit
from vehicle_nb.data.verify import DESCRIPTION, describe
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


def our_groups(root: Path, journal: Path) -> dict[str, str]:
    "The group of each image, by path; images that an earlier run has described are not described again."
    rows = audit(root, quiet=True, journal=journal).table
    return dict(zip(rows["path"], rows["group"], strict=True))


def peer_groups(root: Path, method: str) -> dict[str, int]:
    "The same by one of imagededup's hashes: everything that it calls a duplicate, directly or through others, is one group."
    from imagededup import methods

    found = getattr(methods, method)(verbose=False).find_duplicates(image_dir=root, recursive=True)
    places = {path: n for n, path in enumerate(sorted(found))}
    groups = duplicates.UnionFind(len(places))
    for path, others in found.items():
        for other in others:
            groups.union(places[path], places[other])
    return {path: groups.find(n) for path, n in places.items()}


def find_copies(photos: Path, seeds: list[int], count: int, peers: list[str]) -> list[dict]:
    "Plant near-duplicates; how many are grouped with their original, for each change and method?"
    rows, methods = [], {"vehicle_nb": our_groups} | {name: lambda root, _, name=name: peer_groups(root, name) for name in peers}
    with tempfile.TemporaryDirectory() as folder:
        before = {}
        for seed in seeds:
            root = Path(folder) / f"raw{seed}"
            originals = link(photos, root)
            for name, find in methods.items():
                before[name] = before.get(name) or find(root, Path(folder) / "journal.jsonl")
            planted = plant_copies(originals, count, random.Random(seed))
            total = Counter(change for change, _ in planted.values())
            for name, find in methods.items():
                after = find(root, Path(folder) / "journal.jsonl")
                group_of = lambda path: after[path.relative_to(root).as_posix()]  # noqa: B023, E731
                found = Counter(change for copy, (change, original) in planted.items() if group_of(copy) == group_of(original))
                false = count_false(before[name], after, planted, root)
                joined = len(before[name]) - len(set(before[name].values()))
                row = {"method": name, "seed": seed} | {change: f"{found[change]}/{total[change]}" for change in CHANGES}
                rows.append(row | {"originals joined by copies": false, "originals joined before": joined})
            methods = {"vehicle_nb": our_groups}  # the peers see the first set only
    return rows


FAMILY, SHARED = 10, 30  # images of one catalogue; keypoints that they share


def flips(rng, shape: tuple[int, ...], share: float) -> np.ndarray:
    "Codes that change this share of the 128 bits."
    return np.packbits(rng.random((*shape, 128)) < share, axis=-1).view("<u8")


def fake_rows(n: int, seed: int = 0) -> np.ndarray:
    "`n` descriptions of drawn clouds (1/f noise) in catalogues of ten, which share keypoints; a tenth are copies of others."
    rng, size = np.random.default_rng(seed), 96
    waves = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size) ** 2
    waves[0, 0] = 1
    drawn = []
    for _ in range(min(n, 500)):
        grey = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) * waves**-0.6).real
        drawn.append(describe(Image.fromarray(np.clip(128 + 50 * grey / grey.std(), 0, 255).astype(np.uint8)).convert("RGB")))
    drawn, rows = np.stack(drawn), np.zeros(n, DESCRIPTION)
    for at in range(0, n, 1000):
        part = rows[at : at + 1000]
        part[:] = drawn[np.arange(at, at + len(part)) % len(drawn)]
        part["codes"] ^= flips(rng, part["codes"].shape[:2], 0.3)  # 40 of the 128 bits of each keypoint: no two match
        for k in range(0, len(part), FAMILY):  # what a catalogue shares: nearly the same codes at nearly the same places
            family = part[k : k + FAMILY]
            family["codes"][:, :SHARED] = family["codes"][0, :SHARED] ^ flips(rng, (len(family), SHARED), 0.06)
            family["places"][:, :SHARED] = family["places"][0, :SHARED]
            family["places"][:, :SHARED, :2] += rng.integers(0, 4, (len(family), SHARED, 2), dtype=np.uint8)
    rows[n - n // 10 :] = rows[: n // 10]
    return rows


def search_here(count: int) -> dict:
    "Processor time of the whole search, its looks at pairs, and the most memory of this process."
    rows, looks = fake_rows(count), Counter()
    for name in ("first_look", "verify_pair"):
        setattr(duplicates, name, counted(getattr(duplicates, name), looks, name))
    start = time.process_time()
    groups, _ = duplicates.near_duplicates(rows)
    seconds = time.process_time() - start
    planted = groups[: count // 10] == groups[count - count // 10 :]
    memory = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
    return {
        "images": count, "processor seconds": round(seconds, 1), "memory, MB": memory,
        "first looks": looks["first_look"], "closer looks": looks["verify_pair"],
        "copies found": f"{planted.sum()}/{count // 10}", "false": count - count // 10 - len(set(groups.tolist())),
    }  # fmt: skip


def counted(func, calls: Counter, name: str):
    "`func`, which also counts its calls."
    def call(*args):
        calls[name] += 1
        return func(*args)

    return call


def search(count: int) -> dict:
    "The search in a process of its own, without PyTorch's memory."
    code = f"import json, audit; print(json.dumps(audit.search_here({count})))"
    return json.loads(subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, stdout=-1).stdout)


def main():
    from common import parser, save, table  # imports PyTorch: its memory is not the search's

    parse = parser(__doc__)
    parse.add_argument("--photos", type=Path, help="real photos, one folder a class")
    parse.add_argument("--copies", type=int, default=480, help="near-duplicates to plant, equally many of each change")
    parse.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parse.add_argument("--search", type=int, nargs="*", default=[], help="numbers of images")
    peers = ["PHash", "DHash", "WHash", "AHash"] if find_spec("imagededup") else []
    parse.add_argument("--peers", nargs="*", default=peers, help="hashes of imagededup, if it is installed")
    args = parse.parse_args()
    results = {
        "copies": find_copies(args.photos, args.seeds, args.copies, args.peers) if args.photos else [],
        "search": [search(count) for count in args.search],
    }
    for rows in filter(None, results.values()):
        table(rows)
    save(args.name, **results)


if __name__ == "__main__":
    main()
