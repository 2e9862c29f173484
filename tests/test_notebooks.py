"""Every notebook of the book is a test of its own name: it runs whole in a real Jupyter kernel, forked (see forks.py).

Exercises and solutions are tested by test_exercises.py.

It runs once, in a copy of the repository, so that the working tree stays as it is, and fails when a cell fails, when it
takes too long, when it changes the copy, or when the outputs saved in it are not those of a whole run.
Cells marked `#| eval: false`, or with one of the `tst_flags` of settings.ini, are left out; `pytest --flags "slow cuda"`
runs the flagged ones too.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from conftest import ALL, NOTEBOOKS, ROOT, copy_repository, page_of, read_settings
from forks import Forked
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbdev.process import extract_directives

# A lesson should take three minutes at most on two cores. A machine under load gets thrice that before we call it hung.
LIMIT = int(os.environ.get("NOTEBOOK_SECONDS", "540"))


def is_skipped(cell, flags: set[str]) -> bool:
    "Would `nbdev_test` leave this cell out? It decides by the directives at its top."
    if cell.cell_type != "code" or not cell.source.strip():
        return True
    directives = extract_directives(cell, remove=False)
    if directives.get("eval:", [""])[0].lower() == "false":
        return True
    return bool(flags & directives.keys())


def shown(outputs) -> set[str]:
    "What kinds of output a reader sees: text, or something displayed. Progress bars and warnings do not count."
    kinds = {"stream" if o.output_type == "stream" else "display" for o in outputs if o.get("name") != "stderr"}
    return kinds


def where(path: Path, nb, index: int) -> str:
    "Tell a person which cell is meant: the notebook, the cell's number and id, and the heading above it."
    heading = ""
    for cell in nb.cells[: index + 1]:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"(?m)^#+ +(.+)$", cell.source) or [heading])[-1]
    return f"{path.name}, cell {index} (id {nb.cells[index].id}), under the heading {heading!r}"


def assert_check_fails(client: NotebookClient, nb, path: Path, solution: int):
    "Before the solution is run, the exercise's check must fail: otherwise it would praise an empty answer."
    index = next(i for i in range(solution, len(nb.cells)) if re.match(r"#\| *check\b", nb.cells[i].source))
    probe = nbformat.v4.new_code_cell(nb.cells[index].source)
    try:
        client.execute_cell(probe, index, store_history=False)
    except CellExecutionError:
        pass
    else:
        pytest.fail(f"{where(path, nb, index)} is content with the exercise's stub:\n\n{probe.source}", pytrace=False)


def run_notebook(path: Path, flags: set[str]) -> list[tuple[int, set[str], set[str]]]:
    "Run all cells; return, for each code cell that ran, its number, the kinds of output saved and the kinds it gave."
    nb = nbformat.read(path, as_version=4)
    end = time.monotonic() + LIMIT
    client = NotebookClient(
        nb,
        kernel_name="python3",
        timeout_func=lambda cell: max(1, int(end - time.monotonic())),
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
    )
    ran = []
    with client.setup_kernel():
        for index, cell in enumerate(nb.cells):
            if is_skipped(cell, flags):
                continue
            saved = shown(cell.outputs)
            if "solution" in extract_directives(cell, remove=False):
                assert_check_fails(client, nb, path, index)
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                trace = re.sub(r"\x1b\[[0-9;]*m", "", str(error.traceback)).strip()
                pytest.fail(f"{where(path, nb, index)} failed:\n\n{cell.source}\n\n{trace}", pytrace=False)
            except CellTimeoutError:
                pytest.fail(
                    f"{where(path, nb, index)} was still running when the notebook's {LIMIT} seconds were over:"
                    f"\n\n{cell.source}",
                    pytrace=False,
                )
            except DeadKernelError:
                pytest.fail(f"{where(path, nb, index)} killed the kernel:\n\n{cell.source}", pytrace=False)
            ran.append((index, saved, shown(cell.outputs)))
    return ran


def contents(root: Path) -> dict[str, tuple[int, int]]:
    "Size and time of each file in the copy, less what Python and its tools keep for themselves."
    own = {"__pycache__", ".ipynb_checkpoints", ".pytest_cache", ".ruff_cache"}
    files = [path for path in root.rglob("*") if path.is_file() and not own & set(path.parts)]
    return {path.relative_to(root).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def mend(root: Path, before: dict) -> list[str]:
    "Make the copy what it was `before`; returns the files that were new, changed or gone."
    now = contents(root)
    wrong = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    for name in wrong:
        (root / name).unlink(missing_ok=True)
        if name in before:
            shutil.copy2(ROOT / name, root / name, follow_symlinks=False)
    return wrong


async def launch_kernel(self: LocalProvisioner, command: list[str], *, cwd: str, env: dict, **_) -> dict:
    "Start a kernel in a fork: to start Python and import torch would take longer than most notebooks run."
    _, _, module, *words = command
    self.cwd = cwd
    self.process = Forked(module, *words, cwd=cwd, env={"MPLBACKEND": "module://matplotlib_inline.backend_inline"} | env)
    self.pid = self.process.pid
    return self.connection_info


@pytest.fixture(scope="session")
def copy(tmp_path_factory) -> Path:
    "The copy of the repository in which one notebook runs after the other."
    return copy_repository(tmp_path_factory.mktemp("notebooks") / "repo")


# The longest first (see `pytest_collection_modifyitems`): a long one that starts last would leave the other cores idle.
LONGEST = ["17_own_images", "10_distributed", "09b_command", "11_evaluate", "11b_explain", "06_cnn", "14_predictor", "13_ood", "08_recipe"]
IN_TURN = sorted(NOTEBOOKS, key=lambda path: LONGEST.index(path.stem) if path.stem in LONGEST else len(LONGEST))


@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("notebook", [pytest.param(path, id=page_of(path)) for path in IN_TURN])
def test_notebook(notebook, copy, tmp_path, monkeypatch, request):
    # The kernel is this very Python, whatever kernels and start-up files the user keeps at home,
    # and imports the package from the copy.
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(copy), os.environ.get("PYTHONPATH")])))
    # `import streamlit` puts MPLBACKEND=Agg into this process; a kernel that inherits it would show no plot.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    if sys.platform == "linux" and notebook.stem != "commands":  # which asks what has been imported: a fork has PyTorch already
        monkeypatch.setattr(LocalProvisioner, "launch_kernel", launch_kernel)
    flags = set(read_settings()["tst_flags"].split()) - set(request.config.getoption("--flags").split())
    before = contents(copy)
    path = copy / notebook.relative_to(ROOT)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a kernel that is killed leaves its own behind
        monkeypatch.setenv("TMPDIR", folder)
        try:
            ran = run_notebook(path, flags)
        finally:
            changed = mend(copy, before)
    assert not changed, f"{notebook.name} changed the repository: {changed[:9]}"
    nb = nbformat.read(path, as_version=4)
    stale = [where(path, nb, i) for i, saved, gave in ran if saved != gave]
    assert not stale, "saved with other outputs than it gives; run the notebook whole and save it:\n" + "\n".join(stale)


def test_no_notebook_is_missed():
    "All that git knows of, in whatever folder; and those that say which module they make have made it, and no others."
    listed = subprocess.run(["git", "ls-files", "nbs/*.ipynb"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0 and listed.stdout:
        assert {path.relative_to(ROOT).as_posix() for path in ALL} >= set(listed.stdout.split())
    assert len(IN_TURN) == len(NOTEBOOKS) > 30 and {path.stem for path in NOTEBOOKS} >= set(LONGEST)
    names = [re.search(r"(?m)^#\| *default_exp +(\S+)", cell.source) for path in NOTEBOOKS
             for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]  # fmt: skip
    made = [f"{found[1].replace('.', '/')}.py" for found in names if found]
    there = [path.relative_to(ROOT / "vehicle_nb").as_posix() for path in (ROOT / "vehicle_nb").rglob("*.py")
             if path.name != "_modidx.py" and path.read_text(encoding="utf-8").count("# AUTOGENERATED!")]  # fmt: skip
    assert sorted(made) == sorted(there)


# --- the test itself is tested ----------------------------------------------------------------------------------------


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_markdown_cell("## A heading"), *map(nbformat.v4.new_code_cell, sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("assert 1 + 1 == 3, 'sums are hard'", "failed:.*assert 1 \\+ 1 == 3.*AssertionError: sums are hard"),
        ("import time\ntime.sleep(60)", "still running when the notebook's 3 seconds were over"),
        ("import os\nos._exit(1)", "killed the kernel"),
    ],
    ids=["error", "hang", "death"],
)
def test_a_failure_names_notebook_and_cell(source, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.LIMIT", 3)
    path = write_notebook(tmp_path / "99_bad.ipynb", "print('fine')", source)
    with pytest.raises(pytest.fail.Exception) as failure:
        run_notebook(path, set())
    message = str(failure.value)
    assert re.match(r"99_bad\.ipynb, cell 2 \(id \w+\), under the heading 'A heading'", message)
    assert re.search(expected, message, re.DOTALL), message
    assert "\x1b" not in message


def test_a_check_must_fail_without_the_solution(tmp_path):
    cells = ["#| exercise\nx = 1", "#| solution\nx = 2", "#| check\nassert x == 2"]
    assert [i for i, *_ in run_notebook(write_notebook(tmp_path / "99_good.ipynb", *cells), set())] == [1, 2, 3]
    path = write_notebook(tmp_path / "99_idle.ipynb", *cells[:2], "#| check\nassert x")
    with pytest.raises(pytest.fail.Exception, match="content with the exercise's stub"):
        run_notebook(path, set())


def test_marked_cells_are_left_out(tmp_path):
    bad = "raise SystemError"
    marks = ["#| eval: false", "#|eval:false", "#| slow", "#| export\n#| eval: false"]
    path = write_notebook(tmp_path / "99_marks.ipynb", *(f"{mark}\n{bad}" for mark in marks), "x = 2\nx", "")
    assert run_notebook(path, {"slow", "cuda"}) == [(5, set(), {"display"})]
    with pytest.raises(pytest.fail.Exception, match=r"cell 3 .*failed"):
        run_notebook(path, {"cuda"})


def test_what_a_notebook_changes_is_seen_and_mended(tmp_path):
    for name in ("ruff.toml", "LICENSE", "CONTRIBUTING.md"):
        shutil.copy2(ROOT / name, tmp_path / name)
    before = contents(tmp_path)
    assert not mend(tmp_path, before)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "left.txt").touch()
    (tmp_path / "ruff.toml").write_text("other")
    (tmp_path / "LICENSE").unlink()
    assert mend(tmp_path, before) == ["LICENSE", "new/left.txt", "ruff.toml"]
    assert contents(tmp_path) == before and not mend(tmp_path, before)
