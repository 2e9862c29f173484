"""Write README.md from nbs/index.ipynb and README.fr.md from nbs/accueil.ipynb, without Quarto.

    python tools/readme.py

`nbdev_readme` does the same through Quarto, a program that many machines lack, knows one README only, and leaves links
that only work inside nbs/. Here nbconvert turns each notebook into Markdown, and the links are made to work from the
top of the repository. tests/test_docs.py fails when a README is not what this script writes.
"""

import configparser
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "index.ipynb", "README.fr.md": "accueil.ipynb"}  # what is written, from which notebook of nbs/
NOTE = "<!-- Written by tools/readme.py from nbs/{source}: edit that, not this. -->\n\n"
HIDDEN = re.compile(r"^\s*#\|\s*(hide|default_exp)\b", re.MULTILINE)
BUTTON = re.compile(r"(\[[^\]]*\]\([^)]*\))\{\.btn[^}]*\}")  # how the docs site draws a link; GitHub would show the words in braces
DIRECTIVE = re.compile(r"^\s*#\|.*\n?", re.MULTILINE)


def from_the_top(link: str, repo_url: str) -> str:
    "Turn a link that works in nbs/ into one that works at the top of the repository."
    if link.startswith(repo_url):  # the site must link to files outside nbs/ by their address; a README need not
        return link.removeprefix(repo_url)
    if link.startswith("../"):
        return link.removeprefix("../")
    if re.match(r"[a-z]+:|#|/", link):
        return link
    name, _, anchor = link.partition("#")
    for readme, source in PAGES.items():  # one landing page leads to the other, and one README to the other
        if name == source:
            return f"{readme}#{anchor}" if anchor else readme
    return f"nbs/{link}"


def make_readme(name: str = "README.md", root: Path = ROOT) -> str:
    "The text of a README: the cells of its notebook that are not hidden."
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(root / "settings.ini", encoding="utf-8")
    repo_url = f"{settings['DEFAULT']['git_url']}/blob/{settings['DEFAULT']['branch']}/"

    notebook = nbformat.read(root / "nbs" / PAGES[name], as_version=4)
    # A raw cell holds what only the docs site reads, such as the page's language.
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type != "raw" and not HIDDEN.search(cell.source)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = DIRECTIVE.sub("", cell.source)
    text, _ = MarkdownExporter().from_notebook_node(notebook)

    pattern = re.compile(r"(\]\(|\b(?:src|href)=\")([^)\"\s]+)")
    text = pattern.sub(lambda match: match[1] + from_the_top(match[2], repo_url), text)
    text = BUTTON.sub(r"**\1**", text)
    return NOTE.format(source=PAGES[name]) + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    for name in PAGES:
        (ROOT / name).write_text(make_readme(name), encoding="utf-8")
        print(f"Wrote {ROOT / name}.", file=sys.stderr)
