"""How fast is preprocessing of large photos?

    python benchmarks/preprocessing.py                  12-megapixel photos: ours against plain Pillow; all cores

1. Photos: JPEGs of 4,000×3,000 pixels, drawn, with camera noise. Plain Pillow opens, converts, resizes and saves. Ours is the
   whole of `preprocess` in one process: it reads, hashes, decodes, judges, compares, fits, splits and writes. Both alternate on the
   same files; processor time counts, so that other work on the machine does not matter. The first repeat warms up and is left out.
2. Cores: `preprocess` with one worker a core; processor time over wall time over cores.

How time and memory grow with the number of files: scale.py.
"""

import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from common import parser, save, spread, table
from PIL import Image

from vehicle_nb.data.preprocess import preprocess
from vehicle_nb.data.sources import list_images
from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle
from vehicle_nb.parallel import cpu_count, parallel_map


def draw_photo(path: Path):
    "A drawing enlarged to 12 megapixels, with noise as a camera has it: a JPEG of about 3 MB."
    seed = int(path.stem)
    small = draw_vehicle(path.parent.name, seed=seed, size=512).resize((4000, 3000), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, 5, (3000, 4000, 1)).astype(np.int8)
    Image.fromarray((np.asarray(small, dtype=np.int16) + noise).clip(0, 255).astype(np.uint8)).save(path, quality=88)


def make(folder: Path, draw, count: int, classes: list[str]) -> Path:
    "A raw folder with `count` images."
    for name in classes:
        (folder / name).mkdir(parents=True)
    for _ in parallel_map(draw, [folder / classes[i % len(classes)] / f"{i}.jpg" for i in range(count)], desc="drawing"):
        pass
    return folder


def plain_pillow(raw: Path, dest: Path):
    "What most scripts do."
    for name, path in list_images(raw):
        (dest / name).mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").resize((224, 224)).save(dest / name / f"{path.stem}.jpg")


def processor_time() -> float:
    "Seconds that this process and its ended children have kept a core busy."
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def photos(raw: Path, folder: Path, count: int, repeats: int) -> dict:
    "Images a second and core: plain Pillow and ours."
    ours = partial(preprocess, raw, folder / "ours", workers=1, quiet=True)
    ways = {"plain": partial(plain_pillow, raw, folder / "plain"), "ours": ours}
    rates = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            start = processor_time()
            way()
            rates[name].append(count / (processor_time() - start))
    rates = {name: values[1:] for name, values in rates.items()}
    ratios = [ours / plain for plain, ours in zip(rates["plain"], rates["ours"], strict=True)]
    table([{name: f"{spread(values, 1)} images/s and core" for name, values in rates.items()} | {"times as fast": spread(ratios)}])
    return {"photos": count, "rates": rates, "ratios": ratios}


def all_cores(raw: Path, folder: Path, copies: int = 5) -> dict:
    "How busy all cores are; each photo comes several times, with other bytes behind its end."
    for name, path in list_images(raw):
        for k in range(1, copies):
            (raw / name / f"{path.stem}-{k}.jpg").write_bytes(path.read_bytes() + bytes([k]))
    before, alone, start = processor_time(), time.process_time(), time.perf_counter()
    preprocess(raw, folder / "ours", quiet=True)
    wall, alone, total = time.perf_counter() - start, time.process_time() - alone, processor_time() - before
    row = {"cores": cpu_count(), "images/s": len(list_images(raw)) / wall, "busy": total / wall / cpu_count()}
    row["not in workers"] = alone / total
    table([row])
    return row


def main():
    parse = parser(__doc__)
    parse.add_argument("--photos", type=int, default=24, help="how many 12-megapixel photos")
    parse.add_argument("--repeats", type=int, default=5)
    args = parse.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        large = make(work / "photos", draw_photo, args.photos, list(DEMO_CLASSES)[:4])
        results = {"photos": photos(large, work, args.photos, args.repeats), "all_cores": all_cores(large, work)}
    save(args.name, **results)


if __name__ == "__main__":
    main()
