"""What all tests share: where the repository is, throw-away copies of it, and one processed set for all who need any."""

import configparser
import fnmatch
import os
import shutil
import subprocess
import re
import sys
from pathlib import Path

import pytest
from filelock import FileLock

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests that run at the same time get cores of their own, and so do all processes that they start: threads that wait for
    # a core which another test holds would make both slow.
    threads = 1
    if hasattr(os, "sched_setaffinity"):  # not on macOS or Windows
        workers, number = int(os.environ["PYTEST_XDIST_WORKER_COUNT"]), int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        cores = sorted(os.sched_getaffinity(0))
        own = cores[number::workers] or [cores[number % len(cores)]]
        os.sched_setaffinity(0, own)
        threads = len(own)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
ALL = sorted(path for path in NBS.rglob("*.ipynb") if not any(part.startswith(".") for part in path.relative_to(NBS).parts))
# The students' notebooks and the solutions, as tools/exercises.py makes them from the sources.
FOLDERS = ("exercises", "solutions", "teach")
EXERCISES, SOLUTIONS, SOURCES = ([path for path in ALL if path.relative_to(NBS).parts[0] == folder] for folder in FOLDERS)
# The book, in reading order: folders and files are numbered, and an inside (`01a_…`) comes after its lesson (`01_…`).
NOTEBOOKS = [path for path in ALL if path not in {*EXERCISES, *SOLUTIONS, *SOURCES}]
LESSONS = [path for path in NOTEBOOKS if re.match(r"\d\d_", path.stem)]  # the others are insides, lettered, and the parts


def page_of(notebook: Path) -> str:
    "The name of a notebook as the book has it: `1_data/01_sources`."
    return notebook.relative_to(NBS).with_suffix("").as_posix()


def read_settings(folder: Path = ROOT) -> configparser.SectionProxy:
    "The `[DEFAULT]` section of settings.ini, read as setup.py reads it."
    config = configparser.ConfigParser(delimiters=["="])
    config.read(folder / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def source_files() -> list[Path]:
    "The repository's own files: what git tracks or would track, or, without git, all that .gitignore does not name."
    try:
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout.split("\0")  # fmt: skip
    except (OSError, subprocess.CalledProcessError):  # unpacked from a zip, or no git on this machine
        lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
        ignored = [line.strip("/") for line in lines if line and not line.startswith("#")] + [".git"]
        names = [
            str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
            if not any(fnmatch.fnmatch(part, pattern) for part in path.relative_to(ROOT).parts for pattern in ignored)
        ]  # fmt: skip
    return [path for name in sorted(set(names)) if name and (path := ROOT / name).is_file()]


def copy_repository(to: Path) -> Path:
    "Copy the repository's own files to the folder `to`; symbolic links stay links."
    for path in source_files():
        target = to / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    return to


@pytest.fixture
def repo_copy(tmp_path) -> Path:
    "A copy of the repository that the test may change."
    return copy_repository(tmp_path / "repo")


# --- made once a session, for all workers: read these, and copy what you want to change -----------------------------------


def once(folder: Path, make) -> Path:
    "The folder that `make(folder)` writes. The worker that comes first makes it; the others wait."
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # somebody began and failed
            make(part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    "A folder that all workers of this session see."
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def processed_set(shared) -> Path:
    "A processed set that a network learns in seconds: four colours, seven images of each a split."
    from tiny import tiny_processed

    return once(shared / "processed_set", lambda path: tiny_processed(path, each=7))


@pytest.fixture(scope="session")
def wheel(shared) -> Path:
    "The wheel that `python -m build` makes: from the source archive, which it makes first."

    def make(folder: Path):
        copy = copy_repository(folder / "repo")
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
        done = subprocess.run(build, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.rmtree(copy)

    (wheel,) = (folder := once(shared / "built", make)).glob("*.whl")
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return wheel


def pytest_addoption(parser):
    parser.addoption(
        "--flags", default="", metavar="FLAGS",
        help='also run the notebook cells that carry these flags of settings.ini\'s tst_flags, e.g. --flags "slow cuda"',
    )  # fmt: skip


def pytest_collection_modifyitems(items):
    "Notebooks first, as they take longest: what starts late and takes long would leave all other workers waiting for it."
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")  # stable: the rest stays in its order
