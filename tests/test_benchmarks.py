"""Benchmarks are not run here, but they can be: all names that they import are there, and all options that they give."""

import contextlib
import importlib
import io
import re
import sys

import pytest
from conftest import ROOT

from vehicle_nb.commands import vehicle_train

PROGRAMS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
LAUNCHER = {"--standalone", "--nproc_per_node", "--worker"}


@pytest.fixture(scope="module")
def options() -> set[str]:
    "The options of vehicle_train."
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit):
        vehicle_train(["--help"])
    return set(re.findall(r"--[\w-]+", said.getvalue()))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_benchmark_fits_the_package_of_today(name, options, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    if {"train_once", "start_training"} & vars(module).keys():
        code = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8").replace(module.__doc__, "")
        given = set(re.findall(r"(?<!\S)--[a-z][\w-]*", code.replace('"', " ")))
        own = set(re.findall(r'add_argument\("(--[\w-]+)', code)) | LAUNCHER
        assert not given - options - own, f"vehicle_train has no {given - options - own}"


def test_each_result_is_linked_and_each_program_is_named():
    "A file that no page links is a figure that nobody reads."
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(results/([\w.-]+)\)", page))
    assert linked == {path.name for path in (ROOT / "benchmarks" / "results").iterdir()}
    assert set(re.findall(r"(?m)^\| `(\w+)\.py", page)) == set(PROGRAMS) - {"common"}
