"""Let every lesson be opened in Google Colab: a badge below its title, and a hidden cell that installs the project there.

    python tools/colab.py           # puts both into each notebook of nbs/ that lacks them
    python tools/colab.py --check   # only says which notebooks lack them; exit code 1 if any does

Outputs stay as they are, and a second run changes nothing. The landing pages have no code, so they get
neither; nor do the sources in nbs/teach, from which tools/exercises.py makes notebooks that have both.
tests/test_docs.py fails when a notebook is not what this script would leave.
"""

import configparser
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LANDING = {"index.ipynb", "accueil.ipynb"}
BADGE = "[![Open this lesson in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({address})"
# Not an editable install: Python would find the package only after a restart. `#| hide` keeps the cell off the docs site.
SETUP = """#| hide
if "google.colab" in str(get_ipython()):
    !git clone --quiet --depth 1 --branch {branch} {git_url}
    %pip install --quiet './{repo}[app]'
    %cd {repo}/nbs"""


def settings(root: Path = ROOT) -> configparser.SectionProxy:
    "Owner, name, branch and address of the repository, as settings.ini tells them."
    config = configparser.ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def colab_cells(name: str, told: configparser.SectionProxy) -> list[dict]:
    "The two cells of a notebook; their ids are the same in every notebook and every run."
    address = f"https://colab.research.google.com/github/{told['user']}/{told['repo']}/blob/{told['branch']}/nbs/{name}"
    badge = {"cell_type": "markdown", "id": "colab-badge", "metadata": {}, "source": [BADGE.format(address=address)]}
    setup = {"cell_type": "code", "id": "colab-setup", "metadata": {}, "execution_count": None, "outputs": []}
    return [badge, setup | {"source": SETUP.format(**told).splitlines(keepends=True)}]


def with_colab(notebook: dict, name: str, told: configparser.SectionProxy) -> dict:
    "The notebook with both cells behind its title cell, and nowhere else."
    own = colab_cells(name, told)
    cells = [cell for cell in notebook["cells"] if cell["id"] not in {cell["id"] for cell in own}]
    title = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "markdown")
    return notebook | {"cells": [*cells[: title + 1], *own, *cells[title + 1 :]]}


def lacking(root: Path = ROOT) -> dict[Path, dict]:
    "The notebooks that are not as they should be, and what they should be."
    told, found = settings(root), {}
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        name = path.relative_to(root / "nbs").as_posix()
        if name not in LANDING and not name.startswith((".", "teach/")):
            notebook = json.loads(path.read_text(encoding="utf-8"))
            if (wanted := with_colab(notebook, name, told)) != notebook:
                found[path] = wanted
    return found


if __name__ == "__main__":
    check, found = "--check" in sys.argv[1:], lacking()
    for path, wanted in found.items():
        if not check:  # as nbdev_clean would write it
            text = json.dumps(wanted, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
        print(f"{'Lacks badge and set-up for Colab' if check else 'Wrote'}: {path.relative_to(ROOT)}", file=sys.stderr)
    sys.exit(check and bool(found))
