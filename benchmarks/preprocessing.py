"""How fast is preprocessing, and how much memory does it take?

    python benchmarks/preprocessing.py                  12-megapixel photos: ours against plain Pillow; all cores; 10,000 small files
    python benchmarks/preprocessing.py --small 100000   the same with 100,000 small files (about ten minutes more)

1. Photos: JPEGs of 4,000×3,000 pixels, drawn, with camera noise. Plain Pillow is open, convert, resize, save, in one process. Ours
   is the whole of `preprocess` in one process: it reads, hashes, decodes, judges, compares, fits, splits and writes. Both take turns
   on the same files; what counts is processor time, so that other work on the machine does not matter. The first turn warms up and
   is left out.
2. Cores: `preprocess` with one worker a core; processor time over wall time over cores.
3. Small files: time and most memory (of all processes together) of the whole stage.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from common import command_line, stamp

from vehicle_nb.core import write_json
from vehicle_nb.data.sources import list_images
from vehicle_nb.parallel import cpu_count, map_files
from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle
from vehicle_nb.data.preprocess import preprocess


def draw_photo(path: Path) -> None:
    "A drawing blown up to 12 megapixels, with noise as a camera has it: a JPEG of about 3 MB."
    seed = int(path.stem)
    small = draw_vehicle(path.parent.name, seed=seed, size=512).resize((4000, 3000), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(seed).normal(0, 5, (3000, 4000, 1)).astype(np.int8)
    Image.fromarray((np.asarray(small, dtype=np.int16) + noise).clip(0, 255).astype(np.uint8)).save(path, quality=88)


def draw_small(path: Path) -> None:
    "A small picture of coloured patches, unlike all others: 2 kB."
    patches = np.random.default_rng(int(path.stem)).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(patches.repeat(12, 0).repeat(12, 1)).save(path, quality=75)


def make(folder: Path, draw, count: int, classes: list[str]) -> Path:
    "Fill a raw folder with `count` pictures."
    paths = [folder / classes[i % len(classes)] / f"{i}.jpg" for i in range(count)]
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for _ in map_files(draw, paths, desc="drawing"):
        pass
    return folder


def plain_pillow(raw: Path, dest: Path) -> None:
    "What most scripts do."
    for name, path in list_images(raw):
        (dest / name).mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").resize((224, 224)).save(dest / name / f"{path.stem}.jpg")


def processor_time() -> float:
    "Seconds that this process and its ended children have kept a core busy."
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def photos(folder: Path, count: int, turns: int) -> dict:
    "Pictures a second and core: plain Pillow and ours, in turns."
    raw = make(folder / "photos", draw_photo, count, list(DEMO_CLASSES)[:4])
    rates = {"plain": [], "ours": []}
    for turn in range(turns + 1):
        for name in rates:
            start = processor_time()
            if name == "plain":
                plain_pillow(raw, folder / "plain")
            else:
                preprocess(raw, folder / "ours", workers=1, show_progress=False)
            rates[name].append(count / (processor_time() - start))
        if turn:
            print(f"turn {turn}: plain {rates['plain'][-1]:.1f}, ours {rates['ours'][-1]:.1f} pictures a second and core")
    rates = {name: values[1:] for name, values in rates.items()}
    ratios = [ours / plain for plain, ours in zip(rates["plain"], rates["ours"], strict=True)]
    print(f"ours is {np.mean(ratios):.2f} ± {np.std(ratios):.2f} times as fast (n = {turns})")
    return {"photos": count, "rates": rates, "ratios": ratios, "all_cores": all_cores(raw, folder, count)}


def all_cores(raw: Path, folder: Path, count: int, copies: int = 5) -> dict:
    "How busy `preprocess` keeps all cores; each photo comes several times, with other bytes behind its end."
    for name, path in list_images(raw):
        for k in range(1, copies):
            (raw / name / f"{path.stem}-{k}.jpg").write_bytes(path.read_bytes() + bytes([k]))
    load, before, alone, start = os.getloadavg()[0], processor_time(), time.process_time(), time.perf_counter()
    preprocess(raw, folder / "ours", show_progress=False)
    wall, alone = time.perf_counter() - start, time.process_time() - alone
    total = processor_time() - before
    busy, rate = total / wall / cpu_count(), copies * count / wall
    print(f"all {cpu_count()} cores: {rate:.1f} pictures a second, cores {busy:.0%} busy with it (load before: {load:.1f}); ", end="")
    print(f"{alone / total:.0%} of the processor time was not in the workers")  # tells, even on a busy machine, what cannot be shared
    return {"photos": copies * count, "rate": rate, "busy": busy, "load_before": load, "not_in_workers": alone / total}


def watch(process: subprocess.Popen, peak: list[int]) -> None:
    "Note the most memory that a process and its children hold together; shared pages count once."
    while process.poll() is None:
        total = 0
        try:
            children = (Path(f"/proc/{process.pid}/task") / str(process.pid) / "children").read_text().split()
            for pid in [process.pid, *children]:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
        except (OSError, StopIteration):
            pass
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


def small_files(folder: Path, count: int) -> dict:
    "Time and memory of the whole stage on many small files."
    raw, peak = make(folder / "small", draw_small, count, list(DEMO_CLASSES)), [0]
    command = [sys.executable, "-m", "vehicle_nb.data.preprocess", str(raw), "--dest", str(folder / "processed")]
    start, before = time.perf_counter(), processor_time()
    process = subprocess.Popen(command)
    thread = threading.Thread(target=watch, args=(process, peak))
    thread.start()
    process.wait()
    thread.join()
    wall, busy = time.perf_counter() - start, processor_time() - before
    assert process.returncode == 0
    print(f"{count:,} small files: {wall:.0f} s ({busy:.0f} s of processor time), at most {peak[0] / 1e9:.2f} GB of memory")
    return {"files": count, "seconds": wall, "processor_seconds": busy, "peak_bytes": peak[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=24, help="how many 12-megapixel photos (0: leave this part out)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--small", type=int, default=10_000, help="how many small files (0: leave this part out)")
    parser.add_argument("--folder", type=Path, help="where to work (default: the folder for temporary files)")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "preprocessing.json")
    args = parser.parse_args()
    results = stamp(command_line("preprocessing.py")) | {"seeds": "file numbers"}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if args.photos:
            results["photos"] = photos(Path(folder), args.photos, args.turns)
        if args.small:
            results["small"] = small_files(Path(folder), args.small)
    write_json(args.results, results)


if __name__ == "__main__":
    main()
