"""Installed as users install it: from a clone whose name is the package's own, wherever they stand when they run it."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import copy_repository
from tiny import tiny_processed

pytest.importorskip("pip", reason="pip is not installed here: installing was not tried")
TRAIN = "--epochs 1 --input_size 32 --batch_size 8 --threads 1 --precision fp32 --quiet"
KERNEL = """
import nbformat, sys
from nbclient import NotebookClient
cells = [nbformat.v4.new_code_cell(sys.argv[1])]
notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells), kernel_name="python3").execute()
print("".join(output.text for output in notebook.cells[0].outputs if output.name == "stdout"))
"""


def empty_environment(folder: Path) -> Path:
    "A virtual environment without this package, in which all that it needs is there; its Python."
    venv.create(folder, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    paths = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(own) / "zz_tests.pth").write_text("\n".join(paths), encoding="utf-8")  # its name comes last, and so do the paths
    return python


def run(*command, cwd: Path, timeout: int = 240) -> str:
    "Run a command, which must end well; what it printed."
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "IN_TEST")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def install(python: Path, *what, cwd: Path):
    "`pip install`, with no network and nothing but the package itself."
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    run(python, "-m", "pip", "install", *options, *what, cwd=cwd)


# --- editable, from a clone ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    "The folder above a clone that is in use and was installed from there, the clone, its notebooks, and another folder."
    above = tmp_path_factory.mktemp("above")
    clone = copy_repository(above / "vehicle_nb")
    for name in ("data/raw/bus", "models/run", "models/data"):  # what the commands leave there, and they name no module
        (clone / name).mkdir(parents=True)
    (above / "elsewhere").mkdir()
    install(empty_environment(above / "venv"), "-e", "vehicle_nb", cwd=above)
    return {"above": above, "clone": clone, "nbs": clone / "nbs", "elsewhere": above / "elsewhere"}


def python_of(places) -> Path:
    return places["above"] / ("venv/Scripts/python.exe" if os.name == "nt" else "venv/bin/python")


@pytest.mark.parametrize("place", ["above", "clone", "nbs", "elsewhere"])
def test_the_package_is_found_wherever_one_stands(place, places):
    "Not the clone itself, which has the same name and, once it is used, folders named as modules."
    python, here = python_of(places), places[place]
    code = "import vehicle_nb.data as data, vehicle_nb; print(vehicle_nb.__version__ and data.__file__)"
    wanted = str(places["clone"] / "vehicle_nb" / "data.py")
    assert run(python, "-c", code, cwd=here).strip() == wanted
    assert "usage: vehicle_data" in run(python, "-m", "vehicle_nb.data", "--help", cwd=here)
    assert "usage: vehicle_data" in run(python.parent / "vehicle_data", "--help", cwd=here)
    if place == "above":
        assert run(python, "-c", KERNEL, code, cwd=here).strip() == wanted
        launch = [python, "-m", "torch.distributed.run", "--nproc_per_node", 1, "-m", "vehicle_nb.data", "--help"]
        assert "usage: vehicle_data" in run(*launch, cwd=here)


def test_training_from_the_folder_above(places):
    "As in Colab: clone, `pip install -e vehicle_nb`, run. The epoch was computed and then lost."
    processed = tiny_processed(places["above"] / "processed", each=4)
    launch = [python_of(places), "-m", "accelerate.commands.launch", "-m", "vehicle_nb.train"]
    run(*launch, "--processed", processed, "--models", "models", "--run_name", "first", *TRAIN.split(), cwd=places["above"])
    assert (places["above"] / "models" / "first" / "model.safetensors").is_file()


def test_subpackages_may_be_named_as_folders_of_the_clone(places):
    "A package `vehicle_nb/models/` is found although the clone, and the folder one stands in, have a folder of that name."
    subpackage = places["clone"] / "vehicle_nb" / "models"
    subpackage.mkdir()
    try:
        (subpackage / "__init__.py").touch()
        (subpackage / "run.py").write_text("print(__name__, __file__)\n", encoding="utf-8")
        for here in places.values():
            wanted = f"{subpackage / 'run.py'}\n"
            assert run(python_of(places), "-c", "import vehicle_nb.models.run", cwd=here) == f"vehicle_nb.models.run {wanted}"
            assert run(python_of(places), "-m", "vehicle_nb.models.run", cwd=here) == f"__main__ {wanted}"
    finally:
        shutil.rmtree(subpackage)
