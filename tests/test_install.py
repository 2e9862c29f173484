"""Installed as users install it: from a clone whose name is the package's own, wherever they stand when they run it."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import venv
from email import message_from_bytes
from pathlib import Path
from textwrap import dedent
from zipfile import ZipFile

import pytest
from conftest import ROOT, copy_repository, read_settings, source_files
from test_docs import load_tool

pytest.importorskip("pip", reason="pip is not installed here: installing was not tried")
TRAIN = "--epochs 1 --input_size 32 --batch_size 8 --precision fp32"
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


def run(*command, cwd: Path, **variables) -> str:
    "Run a command, which must end well; what it printed."
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "IN_TEST")}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env | variables, capture_output=True, text=True, timeout=240)
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
    for name in ("data/raw/bus", "models/run", "models/data"):  # what the commands leave there: none of them is a module
        (clone / name).mkdir(parents=True)
    (above / "elsewhere").mkdir()
    install(empty_environment(above / "venv"), "-e", "vehicle_nb", cwd=above)
    return {"above": above, "clone": clone, "nbs": clone / "nbs", "elsewhere": above / "elsewhere"}


def python_of(places) -> Path:
    return places["above"] / ("venv/Scripts/python.exe" if os.name == "nt" else "venv/bin/python")


@pytest.mark.parametrize("place", ["above", "clone", "nbs", "elsewhere"])
def test_the_package_is_found_wherever_one_stands(place, places):
    "Not the clone itself, which has the same name, nor its folders `data` and `models`, which have the names of subpackages."
    python, here, package = python_of(places), places[place], places["clone"] / "vehicle_nb"
    code = "import importlib.util as i, vehicle_nb.data.sources as one; print(one.__file__, i.find_spec('vehicle_nb.models.bundle').origin)"
    wanted = f"{package / 'data' / 'sources.py'} {package / 'models' / 'bundle.py'}"
    assert run(python, "-c", code, cwd=here).strip() == wanted
    assert "usage: vehicle_data" in run(python, "-m", "vehicle_nb.data.sources", "--help", cwd=here)
    assert "usage: vehicle_data" in run(python.parent / "vehicle_data", "--help", cwd=here)
    if place == "above":
        assert run(python, "-c", KERNEL, code, cwd=here).strip() == wanted
        launch = [python, "-m", "torch.distributed.run", "--nproc_per_node", 1, "-m", "vehicle_nb.data.sources", "--help"]
        assert "usage: vehicle_data" in run(*launch, cwd=here)


def test_training_from_the_folder_above(places, processed_set):
    "As in Colab: clone, `pip install -e vehicle_nb`, run. The epoch was computed and then lost. An exported number of threads is kept."
    launch = [python_of(places), "-m", "accelerate.commands.launch", "--cpu", "-m", "vehicle_nb.train", "--data", processed_set]
    options = ["--output", "models", "--run_name", "first", *TRAIN.split()]
    said = run(*launch, *options, cwd=places["above"], OMP_NUM_THREADS="3")
    first = places["above"] / "models" / "first"
    assert (first / "model.safetensors").is_file()
    assert "of 3 threads on cpu" in said and json.loads((first / "train_config.json").read_text())["num_threads"] == 3


def test_the_cell_for_colab_finds_the_package_at_once(tmp_path):
    "It clones, installs and goes into the lessons; what stands in the next cell is found without a restart."
    origin, here = copy_repository(tmp_path / "origin" / "vehicle_nb"), tmp_path / "content"
    here.mkdir()
    told = dict(read_settings()) | {"git_url": origin.as_uri()}
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "--quiet", "-b", told["branch"]], ["add", "--all"], [*who, "commit", "--quiet", "-m", "as it is"]):
        run("git", *command, cwd=origin)
    _, setup = load_tool("colab").colab_cells("1_data/03a_split.ipynb", told)
    install_it = dedent("".join(setup["source"]).partition(":\n")[2])
    use_it = "import vehicle_nb.data.sources, os; print(vehicle_nb.data.sources.__file__, os.getcwd())"
    python = empty_environment(tmp_path / "venv")
    shell = "import sys; from IPython.core.interactiveshell import InteractiveShell as Shell; shell = Shell.instance()\n"
    shell += "for cell in sys.argv[1:]: shell.run_cell(cell).raise_error()"
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_IGNORE_INSTALLED": "1"}  # 0: none
    file, folder = run(python, "-c", shell, install_it, use_it, cwd=here, IPYTHONDIR=str(tmp_path), **pip).split()[-2:]
    assert Path(folder) == here / "vehicle_nb" / "nbs" and Path(file).is_relative_to(tmp_path / "venv")


# --- built, as for PyPI -------------------------------------------------------------------------------------------------


def test_the_wheel_answers(wheel, tmp_path):
    "Installed from the wheel, each command is there, and so is every file of the package."
    wanted = {path.relative_to(ROOT).as_posix() for path in source_files() if path.is_relative_to(ROOT / "vehicle_nb")}
    assert not wanted - set(ZipFile(wheel).namelist()), "the wheel lacks files of the package"
    python = empty_environment(tmp_path / "venv")
    install(python, wheel, cwd=tmp_path)
    for line in read_settings()["console_scripts"].split():
        assert (python.parent / line.split("=")[0]).exists(), line
    assert "usage: vehicle_predict" in run(python.parent / "vehicle_predict", "--help", cwd=tmp_path)
    code = "import vehicle_nb.serving.i18n as t; print(t.__file__, *t.languages())"
    file, *languages = run(python, "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(tmp_path / "venv") and "fr" in languages


def test_the_page_on_pypi_leads_somewhere(wheel):
    "README's links and pictures have whole addresses, and the files that they name are in the repository."
    told = read_settings()
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    targets = re.findall(r"\]\(([^)\s]+)|\b(?:src|href)=\"([^\"]+)", metadata.get_payload(decode=True).decode())
    own = []
    for target in ("".join(groups) for groups in targets):
        assert target.startswith("https://"), f"{target} leads nowhere on PyPI"
        if found := re.fullmatch(rf"{told['git_url']}/(blob|raw)/{told['branch']}/([^#]+).*", target):
            assert (ROOT / found[2]).is_file(), f"{target} is not in the repository"
            assert (found[1] == "raw") == found[2].endswith((".webp", ".svg")), f"{target}: a picture, or a page?"
            own.append(found[2])
    assert {"nbs/images/chapters.svg", "nbs/1_data/01_sources.ipynb", "CONTRIBUTING.md", "LICENSE"} <= set(own)
    assert metadata["Requires-Python"] == f">={told['min_python']}"
    versions = [f"Programming Language :: Python :: {version}" for version in told["python_versions"].split()]
    assert [line for line in metadata.get_all("Classifier") if re.search(r"Python :: 3\.", line)] == versions
    needs = {extra: [] for extra in metadata.get_all("Provides-Extra")}
    for need in metadata.get_all("Requires-Dist"):
        if found := re.fullmatch(r"([\w-]+).*; extra == \"(\w+)\"", need):
            needs[found[2]].append(found[1])
    assert "scikit-learn" in needs["docs"] and {*needs["docs"], *needs["onnx"], *needs["teach"]} < set(needs["dev"])


# --- on each Python -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def resolve(tmp_path_factory):
    "Ask the registry which wheels would be installed on a Python that need not be here (metadata alone, in seconds)."
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if not uv:
        pytest.skip("uv is not installed: which Pythons can install the project was not asked")
    try:
        urllib.request.urlopen("https://pypi.org/simple/pip/", timeout=20).close()
    except OSError:
        pytest.skip("the package registry cannot be reached: which Pythons can install the project was not asked")
    told, cache = read_settings(), tmp_path_factory.mktemp("uv")
    keys = [f"{kind}requirements" for kind in ("", "app_", "course_", "onnx_", "teach_", "dev_")]
    needs = "\n".join(need for key in keys for need in told[key].split())

    def answer(version: str) -> subprocess.CompletedProcess:
        command = [uv, "pip", "compile", "-", "--python-version", version, "--python", sys.executable, "--only-binary", ":all:"]
        command += ["--no-python-downloads", "--cache-dir", str(cache)]
        return subprocess.run(command, input=needs, capture_output=True, text=True, timeout=300, cwd=cache.parent)

    return answer


@pytest.mark.parametrize("version", read_settings()["python_versions"].split())
def test_each_python_that_we_promise_can_install_it(version, resolve):
    done = resolve(version)
    assert done.returncode == 0, done.stderr
    assert re.search(r"(?m)^torch==", done.stdout)


def test_the_oldest_python_is_the_oldest_that_can(resolve):
    "Without this the test above could be content with anything."
    oldest = read_settings()["min_python"]
    major, minor = oldest.split(".")
    done = resolve(f"{major}.{int(minor) - 1}")
    assert done.returncode, "an older Python can install it, too: promise it"
    assert f"Python>={oldest}" in done.stderr, done.stderr
