"""Exercises: the students' notebooks come from their sources, an untouched stub goes red, and each check refuses every
wrong and accepts every right answer of tests/answers.

A source runs once, as a student would who solves one exercise after the other. Before each solution the process forks for
every other answer, so that each answer meets the same names.
"""

import contextlib
import importlib.util
import json
import os
import pickle
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import exercises as tool
import nbformat
import pytest
from conftest import EXERCISES, LESSONS, NBS, ROOT, SOLUTIONS, SOURCES
from forks import FORKS

KINDS = ("recall", "apply", "experiment", "project")
SECONDS = 180  # of CPU for a whole source; the machine may be slower than ours, so the test allows twice that
by_source = pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in SOURCES])


def marks(cell) -> dict:
    return cell.metadata.get("nbgrader", {})


def answers_of(name: str) -> dict[str, dict[str, list[str]]]:
    spec = importlib.util.spec_from_file_location(f"answers_{name}", ROOT / "tests" / "answers" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ANSWERS


def kinds_of(path: Path) -> list[str]:
    "The kind of each exercise, in order."
    text = "\n\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")
    return re.findall(r"(?m)^\*Kind: (\w+) · \d+ minutes\*$", text)


# --- the files --------------------------------------------------------------------------------------------------------


def test_sources_lie_where_nbgrader_looks():
    assert tool.sources() == SOURCES and SOURCES
    for made in (EXERCISES, SOLUTIONS):
        assert [path.name for path in made] == [path.name for path in SOURCES], "a notebook that no source makes"
    assert {path.stem for path in (ROOT / "tests" / "answers").glob("*.py")} == {path.stem for path in SOURCES}


@pytest.mark.parametrize("lesson", [path.stem for path in LESSONS])
def test_each_lesson_has_exercises(lesson):
    "From lesson 05 on, two of them at least are experiments."
    path = NBS / "teach" / "source" / lesson / f"{lesson}.ipynb"
    assert path in SOURCES, f"no exercises for {lesson}"
    assert kinds_of(path).count("experiment") >= 2 or lesson < "05", "fewer than two experiments"


@by_source
def test_source_has_its_form(path):
    "Title, way back and minutes, set-up; then question, solution and check for each exercise, marked for nbgrader."
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    title, intro = (cell.source for cell in notebook.cells[:2])
    assert re.fullmatch(rf"# {path.stem[:2]} [^\n]+: exercises\n\n> [^\n]{{1,100}}", title.strip()), title
    assert re.search(rf"\]\(\.\./(\d_\w+/)?{path.stem}\.ipynb\)", intro) and re.search(r"\*\*Time\*\* \d+ minutes", intro), intro
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in code), "a source is saved without outputs"
    names = [marks(cell)["grade_id"] for cell in code if marks(cell)]
    assert len(names) == len(set(names)) and all(re.fullmatch(r"[a-z][a-z0-9-]*", name) for name in names), names
    last = ""
    for cell in code:
        told = marks(cell)
        if told.get("solution"):
            last = told["grade_id"]
            assert not told["grade"] and not told["locked"], f"{last} is marked as a check"
            assert cell.source.count("BEGIN SOLUTION") == cell.source.count("END SOLUTION") >= 1, last
        elif told.get("grade"):
            assert last and told["grade_id"].startswith(f"{last}-") and told["locked"] and told["points"] > 0, told
            assert re.search(r"\b(assert|test_\w+\()", cell.source), f"a check that asserts nothing:\n{cell.source}"
        else:
            assert not re.search(r"(BEGIN|END) (SOLUTION|HIDDEN)", cell.source), f"not marked for nbgrader:\n{cell.source}"
        assert len(max(cell.source.split("\n"), key=len)) <= 88, f"a line of more than 88 characters:\n{cell.source}"
    solved = [name for name in names if f"{name}-check" in names]
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"(?m)^## (\d+)\. \S", text)
    assert headings == [str(number + 1) for number in range(len(solved))], "an exercise without its check, or its heading"
    assert len(kinds_of(path)) == len(solved) and set(kinds_of(path)) <= set(KINDS), kinds_of(path)


@by_source
def test_notebooks_come_from_the_source(path):
    for kind in ("exercises", "solutions"):
        there = tool.read(NBS / kind / path.name)
        assert tool.is_current(there, tool.make(path, kind), kind), f"run: python tools/exercises.py {path.stem}"


@by_source
def test_students_see_no_solution_and_no_hidden_check(path):
    source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)
    student = (NBS / "exercises" / path.name).read_text(encoding="utf-8")
    shown = "\n".join(cell.source for cell in nbformat.reads(student, as_version=4).cells)
    region = r"(?s)### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END"
    open_lines = set(map(str.strip, re.sub(region, "", source).split("\n")))
    secret = {line.strip() for part in re.findall(region, source) for line in part.split("\n")} - open_lines
    assert len(secret) >= 3 and not secret & set(map(str.strip, shown.split("\n")))
    assert "BEGIN" not in student and "HIDDEN" not in student and '"made_from"' in student
    cells = nbformat.reads(student, as_version=4).cells
    assert all(cell.source.strip() for cell in cells), "a check of which the student sees nothing"
    assert all(("raise NotImplementedError()" in cell.source) == marks(cell)["solution"] for cell in cells if marks(cell))
    assert all("checksum" in marks(cell) for cell in cells if marks(cell)), "nbgrader could not tell whether a check was changed"


@by_source
def test_answers_are_many(path):
    "Several wrong but plausible answers, and several right ones that are not the solution's own."
    names = [marks(cell)["grade_id"] for cell in nbformat.read(path, as_version=4).cells if marks(cell).get("solution")]
    answers = answers_of(path.stem)
    assert list(answers) == names
    for name, told in answers.items():
        assert set(told) == {"right", "wrong"} and len(told["wrong"]) >= 3 and len(told["right"]) >= 2, name
        assert len({*told["right"], *told["wrong"]}) == len(told["right"]) + len(told["wrong"]), f"{name}: the same answer twice"


# --- the checks -------------------------------------------------------------------------------------------------------


def run_cell(source: str, names: dict):
    "Run a cell as Jupyter would, without showing what it draws."
    exec(compile(source, "<cell>", "exec"), names)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def attempt(sources: list[str], names: dict, seconds: int = 120) -> tuple[int, str] | None:
    "Run cells in a fork: the number of the cell that fails and its error, or None if all are content."
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            said = file.read()
        status = os.waitpid(pid, 0)[1]
        return pickle.loads(said) if said else (0, f"ended by itself or after {seconds} seconds (status {status})")
    failed = None
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        for number, source in enumerate(sources):
            try:
                run_cell(source, names)
            except BaseException as error:  # also an answer that calls exit()
                failed = (number, f"{type(error).__name__}: {error}")
                break
        with os.fdopen(writer, "wb") as file:
            pickle.dump(failed, file)
    finally:
        os._exit(0)


def faults(source, student, answers: dict, names: dict) -> list[str]:
    "What is wrong with the stubs and checks of a source, found by running it once; `names` is what its cells share."
    found, cells = [], [cell for cell in source.cells if cell.cell_type == "code"]
    stubs = {marks(cell).get("grade_id"): cell.source for cell in student.cells}
    for number, cell in enumerate(cells):
        if marks(cell).get("solution"):
            name = marks(cell)["grade_id"]
            checks = [after.source for after in cells[number + 1 :] if marks(after).get("grade_id", "").startswith(f"{name}-")]
            stub = attempt([stubs[name], *checks], names)
            if not stub or not stub[1].startswith("NotImplementedError"):
                found.append(f"{name}: an untouched stub gives {stub}")
            for answer in answers[name]["right"]:
                if failed := attempt([answer, *checks], names):
                    found.append(f"{name}: a right answer is refused ({failed[1]}):\n{answer.strip()}")
            for answer in answers[name]["wrong"]:
                failed = attempt([answer, *checks], names)
                if not failed:
                    found.append(f"{name}: a wrong answer is accepted:\n{answer.strip()}")
                elif not failed[0]:
                    found.append(f"{name}: a wrong answer fails before its check ({failed[1]}):\n{answer.strip()}")
        try:
            run_cell(cell.source, names)
        except Exception as error:
            return [*found, f"the solution's notebook fails: {type(error).__name__}: {error}\n{cell.source}"]
    return found


def judge(path: Path, folder: Path, result: Path):
    "Look for faults in a process of its own, in which no thread has run yet."
    import matplotlib.pyplot as plt
    import torch

    torch.set_num_threads(1)  # a fork has none of its parent's threads, and would wait for them
    plt.switch_backend("Agg")
    os.chdir(folder)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        source, student = (nbformat.read(file, as_version=4) for file in (path, NBS / "exercises" / path.name))
        start = time.process_time()
        found = faults(source, student, answers_of(path.stem), {"__name__": "__main__", "display": lambda *objects: None})
        seconds = time.process_time() - start  # of this process: its own pass, without the other answers
    if seconds > 2 * SECONDS:
        found.append(f"{seconds:.0f} seconds of CPU, more than {SECONDS}")
    result.write_text(json.dumps(found), encoding="utf-8")


@by_source
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: the checks were not tried with other answers")
@pytest.mark.timeout(900)
def test_checks_accept_right_and_refuse_wrong_answers(path, tmp_path):
    (work := tmp_path / "work").mkdir()
    process = FORKS.Process(target=judge, args=(path, work, tmp_path / "found.json"))
    process.start()
    process.join(840)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0, f"the run ended with {process.exitcode}"
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert not found, "\n\n".join(found)


SOURCE = {
    "setup": "two = 2",
    "double": "def double(x):\n    ### BEGIN SOLUTION\n    return two * x\n    ### END SOLUTION\nprint(double(1))",
    "double-check": 'assert double(2) == 4, "twice 2"\n### BEGIN HIDDEN TESTS\nassert double(50) == 100\n### END HIDDEN TESTS',
}


def small_source(path: Path, sources: dict[str, str], points: int = 2):
    "Write a source of these code cells: a name with a dash is a check, and `setup` has no mark."
    texts = {"title": "# 99 Small: exercises\n\n> One exercise", "back": "Back to the lesson"}
    cells = [nbformat.v4.new_markdown_cell(text, id=name) for name, text in texts.items()]
    for name, source in sources.items():
        cell = nbformat.v4.new_code_cell(source, id=name)
        if name != "setup":
            check = "-" in name
            told = {"grade": check, "locked": check, "solution": not check, "grade_id": name, "schema_version": 3, "task": False}
            cell.metadata["nbgrader"] = told | ({"points": points} if check else {})
        cells.append(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_faults_are_found(tmp_path):
    "Each fault that a check can have, by example."
    answers = {"double": {"right": ["double = lambda x: x + x"], "wrong": ["double = lambda x: 4", "double = lambda x: x * x"]}}

    def look(answers=answers, **changed):
        small_source(path := tmp_path / "99_small" / "99_small.ipynb", SOURCE | changed)
        source = nbformat.read(path, as_version=4)
        student = nbformat.v4.new_notebook(cells=tool.student_cells(source))
        return [fault.split("\n")[0] for fault in faults(source, student, answers, {})]

    assert not look()
    assert look(**{"double-check": "assert double(2) == 4"}) == ["double: a wrong answer is accepted:"] * 2
    assert "double: a right answer is refused (AssertionError: ):" in look(**{"double-check": "assert double.__name__ == 'double'"})
    assert look(double="### BEGIN SOLUTION\ndef double(x): return 2 * x\n### END SOLUTION") == []
    assert look(double="double = abs\nif 1:\n    pass\ndef idle():\n    ### BEGIN SOLUTION\n    pass\n    ### END SOLUTION",
                **{"double-check": "assert double(2) == 2"})[0] == "double: an untouched stub gives None"  # fmt: skip
    assert "double: a wrong answer fails before its check (NameError: name 'doubel' is not defined):" in look(
        {"double": {"right": [], "wrong": ["doubel(1)"]}}
    )
    assert look(setup="two = 3")[-1].startswith("the solution's notebook fails: AssertionError")


# --- the tool ---------------------------------------------------------------------------------------------------------


def test_tool_writes_once_and_never_over_an_attempt(tmp_path, capsys):
    "Two runs give the same bytes, an old stub is renewed, and a notebook that somebody has worked in stays."
    shutil.copy(ROOT / "settings.ini", tmp_path)
    small_source(source := tmp_path / "nbs/teach/source/99_small/99_small.ipynb", SOURCE)
    student, solution = (tmp_path / "nbs" / kind / "99_small.ipynb" for kind in ("exercises", "solutions"))
    assert tool.main(["--check"], tmp_path) == 1 and not student.exists()
    assert tool.main([], tmp_path) == 0 == tool.main(["--check"], tmp_path)
    before = [path.read_bytes() for path in (student, solution)]
    assert b"NotImplementedError" in before[0] and b"two * x" not in before[0] and b"100" not in before[0]
    assert b'"2\\n"' in before[1] and b"double(50)" in before[1] and b"nbgrader" not in before[1] and b"Small: solutions" in before[1]
    assert tool.main([], tmp_path) == 0 and before == [path.read_bytes() for path in (student, solution)]

    small_source(source, SOURCE | {"setup": "two = 1 + 1"})
    assert tool.main([], tmp_path) == 0 and b"1 + 1" in student.read_bytes(), "nobody has worked in it: it is renewed"

    attempt = json.loads(student.read_text(encoding="utf-8"))
    next(cell for cell in attempt["cells"] if cell["id"] == "double")["source"] = ["double = max"]
    student.write_text(json.dumps(attempt), encoding="utf-8")
    after = student.read_bytes()
    capsys.readouterr()
    assert tool.main([], tmp_path) == 2 and student.read_bytes() == after
    said = "nbs/exercises/99_small.ipynb holds somebody's work and stays as it is: move it elsewhere and run this again.\n"
    assert capsys.readouterr().err == said
    assert tool.main(["no_such"], tmp_path) == 2
