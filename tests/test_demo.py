"""The demo set from outside: in a script without a guard, killed in the middle, on the smallest images."""

import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vehicle_nb.core import VehicleError
from vehicle_nb.demo.make import DEMO_CLASSES, contact_sheet, draw_vehicle, make_demo, make_shot
from vehicle_nb.demo.scenery import SCENES, render, stream
from vehicle_nb.demo.shapes import VEHICLES, Mesh


def test_the_twenty_classes():
    names = """airplane ambulance bicycle boat bus car fire_truck helicopter hovercraft jet_ski kayak motorcycle
               rickshaw scooter segway skateboard tractor truck unicycle van"""
    assert names.split() == DEMO_CLASSES


@pytest.mark.parametrize("name", DEMO_CLASSES)
def test_each_class_is_drawn_in_each_place(name):
    for seed, scene in enumerate(SCENES):
        image = render(replace(make_shot(name, seed, 64), scene=scene))
        assert image.mode == "RGB" and max(image.size) == 64
        assert np.asarray(image).std() > 4, f"{name} in {scene}: nothing to be seen"


@pytest.mark.parametrize("name", DEMO_CLASSES)
def test_vehicles_are_sound_solids(name):
    for seed in range(30):
        mesh = Mesh(VEHICLES[name].build(stream(name, seed, "vehicle")))
        assert np.isfinite(mesh.points).all() and np.isfinite(mesh.normal).all()
        assert np.ptp(mesh.points, axis=0).max() < 45, "metres, not centimetres"
        assert -0.1 < mesh.low[:, 2].min() < 0.25, "it stands on the ground"
        assert (mesh.colour >= 0).all() and (mesh.colour <= 255).all()


def test_same_seed_same_bytes_in_another_process():
    code = "import zlib; from vehicle_nb.demo.make import draw_vehicle as d; print(zlib.crc32(d('boat', 9, 96).tobytes()))"
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    answers = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout for _ in range(2)}
    assert answers == {f"{zlib.crc32(draw_vehicle('boat', 9, 96).tobytes())}\n"}


def test_workers_do_not_run_the_caller_again(tmp_path):
    "A script without `if __name__ == ...` works, and its workers import nothing of it."
    script = tmp_path / "plain.py"
    script.write_text(
        "print('once')\nfrom vehicle_nb.demo.make import make_demo\n"
        f"make_demo({str(tmp_path / 'set')!r}, 20, size=32, workers=2, classes=['car'], quiet=True)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "once\n"
    assert len(list((tmp_path / "set" / "car").iterdir())) == 20


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that cannot be caught")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_while_drawing_leaves_no_set(tmp_path, workers):
    target = tmp_path / "raw"
    code = f"from vehicle_nb.demo.make import make_demo\nmake_demo({str(target)!r}, 200, workers={workers}, quiet=True)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(tmp_path.rglob("*.jpg")):
        time.sleep(0.05)
    assert any(tmp_path.rglob("*.jpg")), "no image within a minute"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    assert not target.exists()
    make_demo(target, 1, size=32, workers=1, classes=["bus"], quiet=True)  # and what is left over is not in the way
    assert [path.name for path in target.rglob("*.jpg")] == ["bus_0000.jpg"]


def test_mistakes_are_told(tmp_path):
    with pytest.raises(VehicleError, match="no demo class 'tank'"):
        make_demo(tmp_path / "set", classes=["bus", "tank"])
    with pytest.raises(VehicleError, match="at least"):
        make_demo(tmp_path / "set", per_class=0)
    with pytest.raises(VehicleError, match="no demo class 'Bus'"):
        draw_vehicle("Bus", 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [0, -1, 2**63, 10**30])
def test_any_whole_number_is_a_seed(seed):
    assert draw_vehicle("van", seed, 48).size == draw_vehicle("van", seed, 48).size


def test_sizes():
    assert max(draw_vehicle("kayak", 3, 16).size) == 16
    assert max(draw_vehicle("kayak", 3, 640).size) == 640


def test_contact_sheet_has_a_row_a_class():
    sheet = contact_sheet(["bus", "car", "van"], per_class=2, size=40, names=False)
    assert isinstance(sheet, Image.Image) and sheet.size == (2 + 2 * 42, 2 + 3 * 42)
