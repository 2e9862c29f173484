"""Measure the static page of a bundle in a real browser: python tests/measure_web_page.py models/demo IMAGES

Sizes, the time to the first answer, the time an image, how far the answers are from those of Python, and the memory over 500 images.
IMAGES is a folder, at any depth. It needs Chromium, and the extra `onnx`.
"""

import argparse
import base64
import gzip
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from browser import FLAGS, find_browser, static_host
from playwright.sync_api import sync_playwright
from test_web_page import ASK

from vehicle_nb.serving.predictor import Predictor, find_images
from vehicle_nb.serving.web_export import export_web

AGAIN = """async (files) => {
  const { describe, load } = await import("./classify.js");
  window.model ??= await load(await describe());
  const blobs = files.map((file) => new Blob([Uint8Array.from(atob(file), (c) => c.charCodeAt(0))])), times = [];
  for (const blob of blobs) {
    const started = performance.now();
    await window.model.classify(blob);
    times.push(performance.now() - started);
  }
  return times;
}"""


def memory() -> float:
    "MB of all processes of the browser."
    return sum(process.memory_info().rss for process in psutil.Process().children(recursive=True)) / 1e6


def first_answer(tab, url: str) -> float:
    "Seconds from the address to an answer on the screen, with an empty cache."
    started = time.perf_counter()
    tab.goto(url)
    tab.wait_for_selector("[data-ready]")
    tab.locator("#examples button").first.click()
    tab.wait_for_selector(".sign")
    return time.perf_counter() - started


def compare(tab, predictor: Predictor, paths: list[Path]) -> str:
    "The answers and the pixels of browser and Python."
    rows = []
    for start in range(0, len(paths), 50):
        files = [path.read_bytes() for path in paths[start : start + 50]]
        for path, found in zip(paths[start:], tab.evaluate(ASK, [base64.b64encode(data).decode() for data in files]), strict=False):
            wanted, pixels = predictor.predict(path), predictor.prepare(path).astype(int)
            off = np.abs(pixels - np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(pixels.shape))
            apart = np.abs(found["probs"] - wanted.probs).max()
            rows.append((found["label"] == wanted.top[0][0], found["known"] == wanted.known, apart, off.mean(), off.max()))
    same, known, apart, mean, most = map(np.array, zip(*rows, strict=True))
    where = f"largest {apart.max():.4f}, 99 of 100 below {np.quantile(apart, 0.99):.4f}"
    return (
        f"same class {same.sum()} of {len(rows)}, same decision {known.sum()}, probabilities apart: {where}; "
        f"pixels apart: {mean.mean():.3f} on average, {most.max()} at most"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--most", type=int, default=200, help="compare so many images")
    args = parser.parse_args()
    found = find_images([args.images])
    paths = [found[i] for i in np.linspace(0, len(found) - 1, min(args.most, len(found))).astype(int)]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        sizes = export_web(args.bundle, site := Path(folder, "page"))
        packed = {path: len(gzip.compress(path.read_bytes())) for path in site.rglob("*") if path.is_file()}
        small = sum(size for path, size in packed.items() if path.parent.name != "runtime")
        print(f"{sizes} bytes; compressed without the runtime {small / 1e6:.2f} MB, with it {sum(packed.values()) / 1e6:.2f} MB")
        with static_host(site) as url:
            browser = play.chromium.launch(executable_path=find_browser(), args=FLAGS)
            tab = browser.new_page()
            print(f"first answer after {first_answer(tab, url):.2f} s")
            print(compare(tab, Predictor(args.bundle, device="cpu"), paths))
            once = [base64.b64encode(path.read_bytes()).decode() for path in paths[:100]]
            used = []
            for _ in range(5):
                times = tab.evaluate(AGAIN, once)
                used.append(memory())
            print(f"{np.median(times):.1f} ms an image; MB after each {len(once)} images: {', '.join(f'{mb:.0f}' for mb in used)}")
            browser.close()


if __name__ == "__main__":
    main()
