"""Make the students' notebooks and the solutions from one source.

    python tools/exercises.py                  # writes what is out of date
    python tools/exercises.py --check          # only says what is out of date; exit code 1 if anything is
    python tools/exercises.py 06_cnn --rerun   # executes these solutions again although their source is the same

From nbs/teach/source/06_cnn/06_cnn.ipynb come nbs/exercises/06_cnn.ipynb, where nbgrader's own steps have replaced each
solution by a stub and taken out the hidden checks, and nbs/solutions/06_cnn.ipynb, which is executed.
A student's notebook that somebody has worked in is never overwritten: the script says so and ends with exit code 2.
CONTRIBUTING.md says how a source is written.
"""

import argparse
import copy
import hashlib
import json
import re
import sys
from pathlib import Path

import nbformat
from colab import settings, with_colab
from nbclient import NotebookClient
from nbdev.clean import clean_nb
from nbgrader.preprocessors import CheckCellMetadata, ClearHiddenTests, ClearOutput, ClearSolutions, ComputeChecksums, LockCells

ROOT = Path(__file__).resolve().parent.parent
# As `nbgrader generate_assignment` does it, without its database.
STEPS = [LockCells, ClearSolutions, ClearOutput, CheckCellMetadata, ClearHiddenTests, ComputeChecksums]
# nbdev_test leaves a notebook with this cell out: it would stop at the first stub.
NOT_EXECUTED = {"cell_type": "raw", "id": "not-executed", "metadata": {}, "source": "---\nskip_exec: true\n---"}
STUDENT = (
    "Work in a copy of this notebook, so that an update of the course cannot touch your answers. Replace each "
    "`raise NotImplementedError()` by your code, then run the check below it. The check says what is wrong; it says nothing "
    "if all is well. Possible answers: [solutions](../solutions/{name}.ipynb)."
)
SOLUTION = (
    "Possible answers, executed; yours may look different and be as good. Try the [exercises](../exercises/{name}.ipynb) "
    "first. A check here has also the part that the exercise hides."
)


def sources(root: Path = ROOT) -> list[Path]:
    "The source notebooks, in the order of the lessons."
    return sorted(path for path in root.glob("nbs/teach/source/*/*.ipynb") if path.stem == path.parent.name)


def student_cells(source: nbformat.NotebookNode) -> list[dict]:
    "The cells of a source without its solutions and hidden checks, marked for nbgrader."
    notebook, resources = copy.deepcopy(source), {}
    for step in STEPS:
        notebook, resources = step().preprocess(notebook, resources)
    return notebook.cells


def solution_cells(source: nbformat.NotebookNode) -> list[dict]:
    "The cells of a source as one reads them: without nbgrader's marks."
    cells = copy.deepcopy(source.cells)
    for cell in cells:
        cell.metadata = {}
        cell.source = re.sub(r"(?m)^[ \t]*#+ *(BEGIN|END) SOLUTION.*\n?|^[ \t]*#+ *END HIDDEN TESTS.*\n?", "", cell.source)
        cell.source = re.sub(r"(?m)^([ \t]*)#+ *BEGIN HIDDEN TESTS.*", r"\1# Hidden in the exercise:", cell.source).rstrip("\n")
    cells[0].source = cells[0].source.replace(": exercises", ": solutions", 1)
    return cells


def digest(notebook: dict) -> str:
    "A fingerprint of what stands in the cells, whatever they have printed."
    text = json.dumps([[cell["cell_type"], "".join(cell["source"])] for cell in notebook["cells"]], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def clean(notebook: nbformat.NotebookNode, told) -> dict:
    "The notebook as nbdev_clean would leave it."
    plain = json.loads(nbformat.writes(notebook))
    clean_nb(plain, False, told["allowed_metadata_keys"].split(), told["allowed_cell_metadata_keys"].split())
    return plain


def make(path: Path, kind: str, root: Path = ROOT) -> dict:
    "What a source becomes, not executed; `kind` is `exercises` or `solutions`."
    source, told, name = nbformat.read(path, as_version=4), settings(root), path.stem
    student = kind == "exercises"
    cells = student_cells(source) if student else solution_cells(source)
    note = nbformat.v4.new_markdown_cell((STUDENT if student else SOLUTION).format(name=name), id="how-to-use")
    cells = [*([nbformat.from_dict(NOT_EXECUTED)] if student else []), *cells[:2], note, *cells[2:]]
    kernel = {"display_name": "python3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    made = with_colab(clean(notebook, told), f"{kind}/{name}.ipynb", told)
    return made | {"metadata": made["metadata"] | {"made_from": digest(made)}}


def execute(notebook: dict, folder: Path, root: Path = ROOT) -> dict:
    "The same notebook with what its cells print and draw."
    node = nbformat.from_dict(copy.deepcopy(notebook))
    for cell in node.cells:
        cell.source = "".join(cell.source)
    client = NotebookClient(node, timeout=900, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": str(folder)}})
    client.execute()
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.metadata = {}
    return clean(node, settings(root)) | {"metadata": notebook["metadata"]}


def read(path: Path) -> dict | None:
    "A notebook as JSON, or None where there is none."
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def somebodys_work(notebook: dict | None, wanted: dict) -> bool:
    "Does it hold other cells than those that this script has written?"
    return notebook is not None and digest(notebook) not in (notebook["metadata"].get("made_from"), digest(wanted))


def is_current(notebook: dict | None, wanted: dict, kind: str) -> bool:
    "Is it what this script would write, whatever a solution has printed?"
    if notebook is None or kind == "exercises":
        return notebook == wanted
    cells = [cell | {"outputs": []} if cell["cell_type"] == "code" else cell for cell in notebook["cells"]]
    return notebook | {"cells": cells} == wanted


def write(path: Path, notebook: dict):
    "Write a notebook as nbdev_clean would."
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(words: list[str] | None = None, root: Path = ROOT) -> int:
    "Write what is out of date, or say it; returns the exit code."
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, such as 06_cnn")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if anything is out of date")
    parser.add_argument("--rerun", action="store_true", help="execute the solutions again although their source is the same")
    told = parser.parse_args(words)
    paths = [path for path in sources(root) if not told.names or path.stem in told.names]
    if missing := set(told.names) - {path.stem for path in paths}:
        print(f"There is no source for {', '.join(sorted(missing))} in nbs/teach/source.", file=sys.stderr)
        return 2
    code = 0
    for path in paths:
        for kind in ("exercises", "solutions"):
            target = root / "nbs" / kind / path.name
            wanted, there, name = make(path, kind, root), read(target), target.relative_to(root)
            if is_current(there, wanted, kind) and not (told.rerun and kind == "solutions"):
                continue
            if told.check:
                print(f"Out of date: {name}", file=sys.stderr)
                code = max(code, 1)
            elif kind == "exercises" and somebodys_work(there, wanted):
                print(f"{name} holds somebody's work and stays as it is: move it elsewhere and run this again.", file=sys.stderr)
                code = 2
            else:
                target.parent.mkdir(exist_ok=True)
                write(target, wanted if kind == "exercises" else execute(wanted, target.parent, root))
                print(f"Wrote: {name}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
