"""What the audit finds and how long it takes, measured on faults that this script plants itself.

    python benchmarks/audit.py --photos FOLDER [--weights FILE] [--seeds 0 1 2]     found and missed
    python benchmarks/audit.py --search 10000 30000 100000                          time of the near-duplicate search
    python benchmarks/audit.py --files 100000                                       time and memory of a whole audit

Without arguments: the search. FOLDER holds one folder of photos a class. Nothing is written to it: the planted set is made of
hard links and new files in a temporary folder.
"""

import argparse
import json
import os
import random
import resource
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from common import command_line, stamp

from vehicle_nb.data import duplicates
from vehicle_nb.core import write_json
from vehicle_nb.data.images import read_image
from vehicle_nb.data.sources import list_images
from vehicle_nb.data.audit import audit
from vehicle_nb.data.duplicates import close_pairs
from vehicle_nb.data.label_issues import extract_features, find_suspects, pretrained

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
    for n, (_, path) in enumerate(rng.sample(originals, count)):
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


def measure_copies(photos: Path, seed: int, count: int) -> dict:
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
        print(f"seed {seed}: {kinds} | all but mirrored {share:.1%} | falsely grouped {false} of {len(originals)}"
              f" | in groups before planting {grouped.sum()} | {seconds:.1f} s", flush=True)  # fmt: skip
        return {"seed": seed, "planted": dict(total), "found": dict(found), "false": false, "of": len(originals),
                "grouped_before": int(grouped.sum()), "seconds": seconds}  # fmt: skip


def plant_labels(root: Path, originals, share: float, rng) -> set[str]:
    "Move a share of the photos into another class folder: their new paths."
    names, moved = sorted({name for name, _ in originals}), set()
    for name, path in rng.sample(originals, round(share * len(originals))):
        target = root / rng.choice([other for other in names if other != name]) / path.name
        path.rename(target)
        moved.add(target.relative_to(root).as_posix())
    return moved


def measure_suspects(photos: Path, weights: str, seeds: list[int]) -> dict:
    "Plant 3 % wrong labels; how many are among the first 3, 6 and 10 % of the suspects? Features are computed once."
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "raw"
        link(photos, root)
        rows = audit(root, show_progress=False)
        start = time.perf_counter()
        features = extract_features(rows.paths(rows.usable.index), pretrained(weights))
        seconds = time.perf_counter() - start
    by_sha = dict(zip(rows.usable["sha256"], features, strict=True))
    results = {"feature_seconds": seconds, "runs": []}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "raw"
            moved = plant_labels(root, link(photos, root), 0.03, random.Random(seed))
            table = audit(root, show_progress=False).usable
        start = time.perf_counter()
        order = find_suspects(table, np.stack([by_sha[sha] for sha in table["sha256"]]))["path"].tolist()
        moved &= set(order)  # a copy that came under two classes is set aside already
        found = {f"{share:.0%}": len(moved & set(order[: round(share * len(order))])) / len(moved) for share in (0.03, 0.06, 0.1)}
        results["runs"].append({"seed": seed, "planted": len(moved), **found, "seconds": time.perf_counter() - start})
        print(f"seed {seed}: {len(moved)} wrong labels; share of them among the first suspects: "
              + ", ".join(f"{share} {value:.0%}" for share, value in found.items()), flush=True)  # fmt: skip
    return results


def fake_rows(n: int, seed: int = 0) -> np.ndarray:
    "`n` rows like those of `tiny`, with the spectrum of natural pictures (1/f); a tenth of them are copies of others."
    rng, size = np.random.default_rng(seed), duplicates.THUMB
    waves = np.fft.fftfreq(size)[:, None] ** 2 + np.fft.fftfreq(size) ** 2
    waves[0, 0] = 1
    rows = np.full((n, size * size + 2 * duplicates.CHROMA**2), 128, np.uint8)
    for at in range(0, n, 1000):
        noise = rng.normal(size=(min(1000, n - at), size, size))
        grey = np.fft.ifft2(np.fft.fft2(noise) * waves**-0.6).real
        grey /= grey.std((1, 2), keepdims=True)
        rows[at : at + len(grey), : size * size] = np.clip(128 + 50 * grey, 0, 255).reshape(len(grey), -1)
    rows[n - n // 10 :] = rows[: n // 10]
    return rows


def measure_search(sizes: list[int]) -> list[dict]:
    "Processor seconds (which other programs cannot spoil) of the search, of comparing all with all, and of all the work."
    results = []
    for n in sizes:
        rows = fake_rows(n)
        grey = rows[:, : duplicates.THUMB**2].reshape(n, duplicates.THUMB, duplicates.THUMB)
        hashes = duplicates.hash_views(grey)
        times = [time.process_time()]
        pairs = sum(int((i < j).sum()) for i, j in close_pairs(hashes, hashes))
        times.append(time.process_time())
        groups, _ = duplicates.near_duplicates(rows)
        times.append(time.process_time())
        brute = sum(int((duplicates.bit_count(hashes[i + 1 :] ^ hashes[i]) <= duplicates.RADIUS).sum()) for i in range(n))
        times.append(time.process_time())
        assert pairs == brute and len(set(groups.tolist())) == n - n // 10
        search, near, naive = np.diff(times).tolist()
        results.append({"hashes": n, "pairs": pairs, "search_cpu_s": search, "all_with_all_cpu_s": naive,
                        "near_duplicates_cpu_s": near, "peak_mb": peak_mb()})  # fmt: skip
        print(f"{n:8,} hashes: search {search:6.2f} s, all with all {naive:7.2f} s, whole near-duplicate work {near:6.1f} s, "
              f"{pairs:,} close pairs, peak memory {peak_mb():,} MB", flush=True)  # fmt: skip
    return results


def peak_mb() -> int:
    "The most memory that this process and its largest child ever held, in megabytes."
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (own + child) // 1024


def measure_files(n: int) -> dict:
    "A whole audit of `n` small JPEG files of ten classes: time and memory of this process and its largest worker."
    with tempfile.TemporaryDirectory() as folder:
        root, rng = Path(folder) / "raw", np.random.default_rng(0)
        base = fake_rows(2000)[:, : duplicates.THUMB**2].reshape(2000, duplicates.THUMB, duplicates.THUMB)
        for i in range(n):  # each is another one: base pictures in other orders, side by side
            a, b = rng.integers(0, 1800, 2)
            path = root / f"class_{i % 10}" / f"{i:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.hstack([base[a], base[b]])).convert("RGB").save(path, quality=70)
        start = time.perf_counter()
        found = audit(root, show_progress=True)
        seconds = time.perf_counter() - start
    result = {"files": n, "seconds": seconds, "usable": len(found.usable), "groups": len(found.groups()), "peak_mb": peak_mb()}
    print(f"{n:,} files: {seconds:.0f} s, {n / seconds:.0f} files/s, peak memory {peak_mb():,} MB", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="real photos, one folder a class")
    parser.add_argument("--copies", type=int, default=240, help="near duplicates to plant, in equal parts of each kind")
    parser.add_argument("--weights", help="a torchvision weights file (or imagenet): plant wrong labels, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--search", type=int, nargs="*", help="numbers of hashes")
    parser.add_argument("--files", type=int, help="how many files to audit")
    parser.add_argument("--results", type=Path, help="a JSON file to add the figures to")
    args = parser.parse_args()
    results = {}
    if args.photos:
        results["copies"] = [measure_copies(args.photos, seed, args.copies) for seed in args.seeds]
        if args.weights:
            results["suspects"] = measure_suspects(args.photos, args.weights, args.seeds)
    if args.files:
        results["files"] = measure_files(args.files)
    if args.search is not None or not (args.photos or args.files):
        results["search"] = measure_search(args.search or [10_000, 30_000, 100_000])
    if args.results:
        kept = json.loads(args.results.read_text()) if args.results.exists() else {}
        head = stamp(command_line("audit.py")) | {"seeds": args.seeds}
        write_json(args.results, kept | {name: {**head, "measured": value} for name, value in results.items()})


if __name__ == "__main__":
    main()
