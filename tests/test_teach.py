"""The teacher's commands, run once on a made-up class: what five students hand in gets the scores that it deserves."""

import csv
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import NBS, NOTEBOOKS, ROOT
from test_exercises import SOURCES, small_source, tool

from vehicle_nb import commands

NAME = "99_small"
SPLIT = '''def split_counts(n):
    "How many of n images go to train, val and test: 15 % each for val and test, rounded down; the rest to train."
    ### BEGIN SOLUTION
    part = n * 15 // 100
    return n - 2 * part, part, part
    ### END SOLUTION'''
SPLIT_CHECK = '''assert tuple(split_counts(100)) == (70, 15, 15), "100 images"
### BEGIN HIDDEN TESTS
for n in random.Random(1).sample(range(20, 900), 5):
    part = n * 15 // 100
    assert tuple(split_counts(n)) == (n - 2 * part, part, part), n
### END HIDDEN TESTS'''
ACCURACY = '''def accuracy(predictions, labels):
    "Share of the predictions that are right, 0 to 1."
    ### BEGIN SOLUTION
    return sum(a == b for a, b in zip(predictions, labels)) / len(labels)
    ### END SOLUTION'''
ACCURACY_CHECK = '''assert accuracy([1, 1, 0, 2], [1, 0, 0, 2]) == 0.75, "three of four"
### BEGIN HIDDEN TESTS
draw = random.Random(2)
for n in (5, 8, 40):
    labels = [draw.randrange(3) for _ in range(n)]
    predictions = [draw.choice([label, 0]) for label in labels]
    right = [a == b for a, b in zip(predictions, labels)].count(True)
    assert abs(accuracy(predictions, labels) - right / n) < 1e-9, n
### END HIDDEN TESTS'''
CLASS = {  # who hands in what: code in place of a stub
    "ada": {  # right, and not as in the solution
        "split": "import math\ndef split_counts(n):\n    part = math.floor(15 * n / 100)\n    return [n - part - part, part, part]",
        "accuracy": "from statistics import mean\naccuracy = lambda p, y: mean(float(a == b) for a, b in zip(p, y))",
    },
    "ben": {  # one wrong, one right
        "split": "def split_counts(n):\n    return n * 0.7, n * 0.2, n * 0.1",
        "accuracy": "def accuracy(p, y):\n    return sum(1 for a, b in zip(p, y) if a == b) / len(p)",
    },
    "chloe": {  # plausible: both visible checks are content
        "split": "def split_counts(n):\n    return 70, 15, 15",
        "accuracy": "def accuracy(p, y):\n    return 0.75",
    },
    "dan": {  # right at first, then the kernel dies
        "split": "def split_counts(n):\n    part = int(0.15 * n + 1e-9)\n    return n - 2 * part, part, part",
        "accuracy": "import os\nos._exit(1)",
    },
    "eve": {},  # empty
}
SCORES = {"ada": (2, 2), "ben": (0, 2), "chloe": (0, 0), "dan": (0, 0), "eve": (0, 0)}


def teach(*words: str, folder: Path) -> subprocess.CompletedProcess:
    "Run `nbgrader WORDS` in the course's folder, whatever the user keeps at home."
    templates = {str(path.locate()).partition("/nbconvert/templates/")[0] for path in importlib.metadata.files("nbconvert")
                 if "/nbconvert/templates/" in str(path)}  # fmt: skip
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folder / ".jupyter"), "JUPYTER_DATA_DIR": str(folder / ".jupyter"),
        "IPYTHONDIR": str(folder / ".ipython"), "JUPYTER_PATH": os.pathsep.join(sorted(templates)), "MPLBACKEND": "Agg",
    }  # fmt: skip
    return subprocess.run([sys.executable, "-m", "nbgrader", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=200)


@pytest.mark.timeout(600)
def test_a_made_up_class_is_graded(tmp_path):
    "Release, collect, autograde, feedback, export: the commands of grading.md, in its order."
    written = (NBS / "teach" / "grading.md").read_text(encoding="utf-8")
    commands = [line.split() for line in re.findall(r"(?m)^```sh\nnbgrader (.+)$", written)]
    commands = [[word.replace("06_cnn", NAME) for word in words] for words in commands]
    assert [words[0] for words in commands] == ["generate_assignment", "zip_collect", "autograde", "generate_feedback", "export"]
    shutil.copy(NBS / "teach" / "nbgrader_config.py", tmp_path)
    cells = {"setup": "import random", "split": SPLIT, "split-check": SPLIT_CHECK, "accuracy": ACCURACY, "accuracy-check": ACCURACY_CHECK}
    small_source(source := tmp_path / "source" / NAME / f"{NAME}.ipynb", cells)
    said = {}

    def run(number: int) -> int:
        done = teach(*commands[number], folder=tmp_path)
        said[commands[number][0]] = done.stderr
        return done.returncode

    assert run(0) == 0, said
    released = nbformat.read(tmp_path / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    student = nbformat.reads(json.dumps(tool.make(source, "exercises", ROOT)), as_version=4)
    marked = [[(cell.source, cell.metadata) for cell in book.cells if "nbgrader" in cell.metadata] for book in (released, student)]
    assert marked[0] == marked[1] and len(marked[0]) == 4, "tools/exercises.py gives students what nbgrader would give them"

    (archive := tmp_path / "downloaded" / NAME / "archive").mkdir(parents=True)
    for who, answers in CLASS.items():
        handed_in = nbformat.reads(nbformat.writes(student), as_version=4)
        for cell in handed_in.cells:
            cell.source = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
        nbformat.write(handed_in, archive / f"{who}_{NAME}.ipynb")
    assert run(1) == 0, said
    assert run(2) == 1 and "student 'dan'" in said["autograde"].splitlines()[-2], said  # the others are graded all the same
    assert run(3) == 0 and run(4) == 0, said

    with (tmp_path / "grades.csv").open(encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {who: float(row["score"]) for who, row in rows.items()} == {who: sum(scores) for who, scores in SCORES.items()}
    assert all(float(row["max_score"]) == 4 and row["assignment"] == NAME for row in rows.values())
    graded = {}
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        for who in CLASS:
            notebook = book.find_submission_notebook(NAME, NAME, who)
            graded[who] = tuple(grade.score for grade in sorted(notebook.grades, key=lambda grade: grade.name, reverse=True))
    assert graded == SCORES
    print("\n".join(f"{who:6} {graded[who]} {row['score']} of {row['max_score']}" for who, row in rows.items()))
    pages = {path.parts[-3]: path.read_text(encoding="utf-8") for path in tmp_path.glob("feedback/*/*/*.html")}
    assert set(pages) >= set(CLASS) - {"dan"} and "NotImplementedError" in pages["eve"]
    assert "AssertionError" in pages["chloe"] and "AssertionError" not in pages["ada"]


def test_points_are_what_a_teacher_expects():
    "Each check has points, and a source's points are said in one place only: in its cells."
    for path in SOURCES:
        told = [cell.metadata.get("nbgrader", {}) for cell in nbformat.read(path, as_version=4).cells]
        assert all(1 <= cell["points"] <= 6 for cell in told if cell.get("grade")), path.name


def test_pages_name_commands_that_exist(capsys):
    "Every command of the teacher's pages, with its options."
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(NBS.glob("teach/*.md")))
    lines = re.findall(r"(?m)^ *(vehicle_(?!nb)\w+) ?(.*)$", "\n".join(re.findall(r"(?s)```sh\n(.+?)```", text)))
    assert {name for name, _ in lines} >= {"vehicle_data", "vehicle_explore", "vehicle_preprocess", "vehicle_train", "vehicle_app"}
    for name in {name for name, _ in lines} - {"vehicle_app"}:
        with pytest.raises(SystemExit):
            getattr(commands, name)(["--help"])
        said = capsys.readouterr().out
        options = {option for other, words in lines if other == name for option in re.findall(r"--\w+", words)}
        assert all(option in said for option in options), f"{name}: {options}"


def test_question_bank_is_large_and_has_answers():
    "Sixty questions or more, numbered, each with its answer, for every chapter, and none from a lesson's quiz."
    text = (NBS / "teach" / "question_bank.md").read_text(encoding="utf-8")
    found = re.findall(r"(?s)\*\*(\d+)\.\*\* ([^\n]+)\n\n<details><summary>Answer</summary>\n\n(.+?)\n\n</details>", text)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1)) and len(found) >= 60
    assert text.count("<details>") == len(found) and text.startswith("---\n") and f"\n{len(found)} questions" in text
    headings = re.findall(r"(?m)^### (\d\d) ", text)
    lessons = [path for path in NOTEBOOKS if re.match(r"\d\d_", path.stem)]
    assert set(headings) >= {path.stem[:2] for path in lessons}
    quizzes = " ".join(path.read_text(encoding="utf-8") for path in lessons)
    assert not [question for _, question, _ in found if question in quizzes]


def test_syllabus_has_every_lesson():
    text = (NBS / "teach" / "syllabus.md").read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        if re.match(r"\d\d_", path.stem):
            assert f"](../{path.relative_to(NBS).as_posix()})" in text, path.stem
    assert re.findall(r"(?m)^\| (\d+) \|", text)[-12:] == [str(number) for number in range(1, 13)]
