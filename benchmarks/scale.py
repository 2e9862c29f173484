"""How do time and memory of the first chapter grow with the number of files?

    python benchmarks/scale.py                                            2,000, 10,000 and 30,000 files, exact copies alone
    python benchmarks/scale.py --files 2000 10000 --duplicates near       with the search for changed copies
    python benchmarks/scale.py --files 100000 --size 64                   a hundred thousand; 64 pixels spare the disk

JPEGs of 64 to 640 pixels that have nothing to do with each other go through `vehicle_data`, `vehicle_explore`,
`vehicle_preprocess` and the packing, each a process of its own. Of each: seconds, seconds of processor, and the most memory of the
process and all its workers together (PSS: pages that they share count once; the cache of files does not count). The last table says
how much memory another file takes: the slope between the smallest and the largest set.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from common import cpu_seconds, parser, save, table
from PIL import Image

from vehicle_nb.parallel import parallel_map

SIDES, SHARES = (64, 128, 256, 640), (0.6, 0.25, 0.12, 0.03)  # longest sides in pixels; most files are small, as on the web


def draw(path: Path):
    "A field of random colours, unlike all others, at a size of its own."
    rng = np.random.default_rng(int(path.stem))
    side, short = rng.choice(SIDES, p=SHARES), rng.uniform(0.6, 1)
    size = (int(side), int(side * short)) if rng.random() < 0.7 else (int(side * short), int(side))
    colours = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    colours.resize(size, Image.Resampling.BICUBIC).save(path, quality=80)


def draw_set(folder: Path, first: int, count: int, classes: int):
    "Fill a raw folder up to `count` images; the first ones are there."
    for name in range(classes):
        (folder / f"class_{name:02}").mkdir(parents=True, exist_ok=True)
    paths = [folder / f"class_{i % classes:02}" / f"{i}.jpg" for i in range(first, count)]
    for _ in parallel_map(draw, paths, desc="drawing"):
        pass


def memory(process: psutil.Process) -> int:
    "Bytes that a process and all that it started hold together."
    total = 0
    with suppress(psutil.Error):
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    return total


def measure(*command) -> dict:
    "Run Python with these arguments: seconds, seconds of processor, most memory in MB."
    start, cpu, most = time.perf_counter(), cpu_seconds(), 0
    process = psutil.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, memory(process))
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{command} ended with exit code {process.returncode}.")
    return {"seconds": time.perf_counter() - start, "cpu": cpu_seconds() - cpu, "mb": most / 1e6}


def steps(raw: Path, work: Path, size: int, duplicates: str) -> dict[str, tuple]:
    "The commands of the first chapter."
    copied, processed = work / "copied", work / "processed"
    how, pack = ("--duplicates", duplicates, "--quiet"), "from vehicle_nb.data.dataset import make_loaders as m; m({!r}, quiet=True)"
    return {
        "data": ("-m", "vehicle_nb.data.sources", "--from", raw, "--output", copied, "--quiet"),
        "explore": ("-m", "vehicle_nb.data.explore", copied, "--output", work / "audit", *how),
        "preprocess": ("-m", "vehicle_nb.data.preprocess", copied, "--output", processed, "--size", size, *how),
        "pack": ("-c", pack.format(str(processed))),
    }


def main():
    parse = parser(__doc__)
    parse.add_argument("--files", type=int, nargs="+", default=[2_000, 10_000, 30_000])
    parse.add_argument("--classes", type=int, default=20)
    parse.add_argument("--size", type=int, default=64, help="side in pixels of the processed images; memory does not depend on it")
    parse.add_argument("--duplicates", nargs="+", default=["exact"])
    args = parse.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        for before, count in pairwise([0, *sorted(args.files)]):
            draw_set(raw, before, count, args.classes)
            for duplicates in args.duplicates:
                for step, command in steps(raw, Path(folder), args.size, duplicates).items():
                    rows.append({"files": count, "duplicates": duplicates, "step": step, **measure(*command)})
                    print(rows[-1], flush=True)
                for made in ("copied", "audit", "processed"):
                    shutil.rmtree(Path(folder) / made)
    table(rows)
    growth = [grown(rows, duplicates, step) for duplicates in args.duplicates for step in steps(Path(), Path(), 0, "")]
    if len(args.files) > 1:
        table(growth)
    save(args.name, rows=rows, growth=growth)


def grown(rows: list[dict], duplicates: str, step: str) -> dict:
    "What one more file takes: bytes of memory, and milliseconds of processor."
    mine = [row for row in rows if (row["duplicates"], row["step"]) == (duplicates, step)]
    first, last = mine[0], mine[-1]
    more = max(1, last["files"] - first["files"])
    each = {"bytes a file": 1e6 * (last["mb"] - first["mb"]) / more, "ms a file": 1000 * (last["cpu"] - first["cpu"]) / more}
    return {"duplicates": duplicates, "step": step} | each


if __name__ == "__main__":
    main()
