"""Write README.md from nbs/index.ipynb, without Quarto.

    python tools/readme.py

`nbdev_readme` does the same through Quarto, a program that many machines lack, and leaves links that only work inside
nbs/. Here nbconvert turns the notebook into Markdown, and the links are made to work from the top of the repository.
tests/test_docs.py fails when README.md is not what this script writes.
"""

import configparser
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Written by tools/readme.py from nbs/index.ipynb: edit that, not this. -->\n\n"
HIDDEN = re.compile(r"^\s*#\|\s*(hide|default_exp)\b", re.MULTILINE)
DIRECTIVE = re.compile(r"^\s*#\|.*\n?", re.MULTILINE)


def from_the_top(link: str, repo_url: str) -> str:
    "Turn a link that works in nbs/ into one that works at the top of the repository."
    if link.startswith(repo_url):  # the site must link to files outside nbs/ by their address; a README need not
        return link.removeprefix(repo_url)
    if link.startswith("../"):
        return link.removeprefix("../")
    if re.match(r"[a-z]+:|#|/", link):
        return link
    return f"nbs/{link}"


def make_readme(root: Path = ROOT) -> str:
    "The text of README.md: the cells of nbs/index.ipynb that are not hidden."
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(root / "settings.ini", encoding="utf-8")
    repo_url = f"{settings['DEFAULT']['git_url']}/blob/{settings['DEFAULT']['branch']}/"

    notebook = nbformat.read(root / "nbs" / "index.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not HIDDEN.search(cell.source)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = DIRECTIVE.sub("", cell.source)
    text, _ = MarkdownExporter().from_notebook_node(notebook)

    pattern = re.compile(r"(\]\(|\b(?:src|href)=\")([^)\"\s]+)")
    text = pattern.sub(lambda match: match[1] + from_the_top(match[2], repo_url), text)
    return NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    (ROOT / "README.md").write_text(make_readme(), encoding="utf-8")
    print(f"Wrote {ROOT / 'README.md'}.", file=sys.stderr)
