"""Take the screenshots of the lesson on the app again: python tests/make_screenshots.py

It needs a trained and evaluated demo model, and Chromium.

The pictures on them are drawn, so nobody's photo gets into the docs. Writes nbs/images/app_*.webp.
"""

import argparse
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from browser import FLAGS, find_browser
from conftest import ROOT
from PIL import Image
from playwright.sync_api import sync_playwright
from test_app import APP, stop

from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle

IMAGES = ROOT / "nbs" / "images"


def draw(label: str, seed: int) -> dict:
    "A drawing as an upload."
    file = io.BytesIO()
    draw_vehicle(label, seed).save(file, "JPEG", quality=92)
    return {"name": f"{label}-{seed % 1000}.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}


def save(tab, name: str, width: int):
    "Screenshot of what is seen, as a small WebP."
    tab.mouse.move(2, 2)
    tab.wait_for_timeout(1500)
    tab.wait_for_selector(".stApp[data-test-script-state=notRunning]")  # charts are drawn last
    image = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    image.thumbnail((width, 10_000), Image.Resampling.LANCZOS)
    image.save(IMAGES / f"{name}.webp", quality=82, method=6)
    print(name, image.size, (IMAGES / f"{name}.webp").stat().st_size // 1024, "KB")


def open_tab(browser, url: str, width: int, height: int, **options):
    options.setdefault("locale", "en-US")
    options |= {"viewport": {"width": width, "height": height}, "device_scale_factor": 1.5, "reduced_motion": "reduce"}
    tab = browser.new_context(**options).new_page()
    tab.set_default_timeout(180_000)
    tab.goto(url)
    tab.wait_for_selector(".st-key-examples_cell11 img", timeout=90_000)
    return tab


def take(browser, url: str):
    "One picture, the model, several, and a phone."
    tab = open_tab(browser, url, 1280, 760)
    tab.set_input_files("input[type=file] >> nth=0", [draw("helicopter", 1_000_000_003)])
    tab.wait_for_selector(".sign")
    tab.get_by_text("Show where it looked").click()
    tab.wait_for_selector(".st-key-image img >> nth=1")
    save(tab, "app_one", 1200)
    tab.get_by_role("link", name="The model").click()
    tab.wait_for_selector(".classes img")
    tab.set_viewport_size({"width": 1280, "height": 1320})
    save(tab, "app_about", 1100)
    tab = open_tab(browser, url, 1280, 900)
    tab.set_input_files("input[type=file] >> nth=0", [draw(label, 1_000_000_030) for label in DEMO_CLASSES])
    tab.wait_for_selector(".st-key-gallery_cell17 img")
    save(tab, "app_many", 1200)
    tab = open_tab(browser, url, 390, 844, locale="fr-FR", color_scheme="dark", has_touch=True, is_mobile=True)
    tab.set_input_files("input[type=file] >> nth=0", [draw("bicycle", 1_000_000_041)])
    tab.wait_for_selector(".sign")
    save(tab, "app_phone", 585)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default=str(ROOT / "models"), help="folder with a trained and evaluated demo model")
    args = parser.parse_args()
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = {**os.environ, "VEHICLE_RUNS": str(Path(args.runs).resolve()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "streamlit", "run", APP, "--server.headless=true", f"--server.port={port}"]
    with tempfile.TemporaryFile() as log, sync_playwright() as play:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.3)
            browser = play.chromium.launch(executable_path=find_browser(), args=FLAGS)
            take(browser, url)
            browser.close()
        finally:
            stop(server)


if __name__ == "__main__":
    main()
