"""Tidy the pages that nbdev has processed, in `_proc`, before Quarto renders them: `pre-render` in _quarto.yml.

nbdev links every name in `code` by a whole address, also inside a link or a signature, and also where no heading stands;
Quarto loses the alt text of a picture that stands alone, and folds the code of a solution without its output. Here links
become relative, lead to headings that exist and never stand inside one another; pictures keep their text; imports and
solutions fold; plots are told from pictures, for the dark theme; and the reference page lists every public name.
"""

import ast
import base64
import configparser
import io
import json
import posixpath
import re
import sys
from pathlib import Path

from PIL import Image
from slides import main as make_slides  # beside this file

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\](?:\([^()\s]*\))?)*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"(?ms)^(```.*?^```)")
READABLE = {
    r"(?m)^def (?=[A-Z])": "class ",
    r":builtin_function_or_method=": ":Callable=",
    r":function=<lambda>": ":Callable=…",
    r":(\w+)=<factory>": r":\1=\1()",
}


def page_name(path: str) -> str:
    "The page that a notebook becomes: `1_data/03a_split.ipynb` → `1_data/split.html`."
    return re.sub(r"(^|/)\d+[a-z]?_(?=[^/]*$)", r"\1", path.rsplit(".", 1)[0]) + ".html"


def own_text(cell: dict) -> list[str]:
    "The Markdown that a cell brings to its page."
    if cell["cell_type"] == "markdown":
        return ["".join(cell["source"])]
    return ["".join(output.get("data", {}).get("text/markdown", "")) for output in cell.get("outputs", [])]


def anchors(notebook: dict) -> set[str]:
    "The names that Pandoc gives to the headings of a page."
    found = set()
    for text in (text for cell in notebook["cells"] for text in own_text(cell)):
        for heading in re.findall(r"(?m)^#{1,6} +(.+?)\s*$", FENCE.sub("", text)):
            if given := re.search(r"\{#([\w-]+)", heading):
                found.add(given[1])
            plain = re.sub(r"\]\([^)]*\)|\{.*\}", "", heading.lower())
            found.add(re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", plain).strip())))
    return found


def relative_link(target: str, page: str, site: str, headings: dict[str, set[str]]) -> str:
    "A link within the site as a way from this page, without an anchor that its page lacks."
    if not target.startswith(site):
        return target
    to, _, anchor = target.removeprefix(site).lstrip("/").partition("#")
    anchor = f"#{anchor}" if anchor in headings.get(to, ()) else ""
    return anchor or posixpath.basename(to) if to == page else posixpath.relpath(to, posixpath.dirname(page)) + anchor


def tidy_links(text: str, page: str, site: str, headings: dict[str, set[str]]) -> str:
    "No link inside a link or inside code; links within the site lead from page to page."

    def mend(match: re.Match) -> str:
        label = LINK.sub(lambda inner: inner[0] if inner.string[inner.start() - 1 : inner.start()] == "!" else inner[1], match[1])
        return f"[{label}]({relative_link(match[2], page, site, headings)})"

    parts = FENCE.split(text)  # every second part is code
    parts[1::2] = [LINK.sub(lambda match: match[1].strip("`"), part) if site in part else part for part in parts[1::2]]
    parts[::2] = [LINK.sub(mend, part) for part in parts[::2]]
    return "".join(parts)


def tidy_pictures(text: str) -> str:
    "A picture alone in its paragraph becomes a figure, which takes its alt text from `fig-alt`."

    def described(match: re.Match) -> str:
        opened, text, file, more, link = (part or "" for part in match.groups())
        attributes = " ".join(['fig-alt="' + text.replace('"', "&quot;") + '"', *more.split()])
        return f"{opened}![]({file}){{{attributes}}}{link}"

    return re.sub(r"(?m)^(\[?)!\[([^\]]+)\]\(([^)\s]+)\)(?:\{(.*?)\})?(\]\([^)\s]+\))?$", described, text)


def readable(signature: str) -> str:
    "A class is shown as a class, and defaults as one would say them."
    for shown, meant in READABLE.items():
        signature = re.sub(shown, meant, signature)
    return signature


def is_plot(png: str) -> bool:
    "A plot is mostly white; a sheet of pictures is not."
    shades = Image.open(io.BytesIO(base64.b64decode(png))).convert("L").histogram()
    return sum(shades[254:]) > 0.7 * sum(shades)


def only_imports(source: str) -> bool:
    "Is there nothing but imports in this cell?"
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    return bool(body) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def tidy_code(cell: dict) -> list[dict]:
    "A code cell with its folds and its outputs' classes; a solution is folded with what it prints."
    source = "".join(cell["source"])
    options = ["#| code-fold: true", '#| code-summary: "Imports"'] if only_imports(source) and "#|" not in source else []
    if any("image/png" in (data := output.get("data", {})) and is_plot("".join(data["image/png"])) for output in cell.get("outputs", [])):
        options.append("#| classes: plot")
    solution = '#| code-summary: "Solution"' in source
    if solution:
        source = re.sub(r"(?m)^#\| (code-fold|code-summary):.*\n", "", source)
    cell["source"] = "\n".join([*options, source])
    if not solution:
        return [cell]
    edges = ['<details class="solution"><summary>Solution</summary>', "</details>"]
    before, after = ({"cell_type": "markdown", "metadata": {}, "source": edge} for edge in edges)
    return [before, cell, after]


def tidy(notebook: dict, page: str, site: str, headings: dict[str, set[str]]) -> dict:
    "A processed notebook as Quarto should get it."
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = tidy_pictures(tidy_links("".join(cell["source"]), page, site, headings))
        for output in cell.get("outputs", []):
            if text := "".join(output.get("data", {}).get("text/markdown", "")):
                output["data"]["text/markdown"] = readable(tidy_links(text, page, site, headings))
        cells += tidy_code(cell) if cell["cell_type"] == "code" else [cell]
    for place in (place for cell in cells for place in [cell, *(output.get("data", {}) for output in cell.get("outputs", []))]):
        for key in {"source", "text/markdown"} & place.keys():
            place[key] = "".join(place[key]).splitlines(keepends=True)  # Quarto drops the line breaks of a string
    notebook["cells"] = cells
    notebook["metadata"]["tidy"] = True  # nbdev_preview comes by again
    return notebook


def public_names(module: Path) -> list[tuple[str, str]]:
    "Each name of a module's `__all__` and the first line of its docstring, without importing it."
    tree = ast.parse(module.read_text(encoding="utf-8"))
    said, exported = {}, []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            said[node.name] = (ast.get_docstring(node) or "").split("\n")[0]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            exported = ast.literal_eval(node.value)
    return [(name, said.get(name, "")) for name in exported]


def reference(package: Path, headings: dict[str, set[str]]) -> str:
    "Every public name of the package, subpackage by subpackage, in the order of the course."
    index = ast.literal_eval(re.search(r"(?s)d = (\{.*\})", (package / "_modidx.py").read_text(encoding="utf-8"))[1])["syms"]
    where = {name: page for names in index.values() for name, (page, _) in names.items()}
    lines, chapter = [], ""
    pages = {module: min(page for page, _ in names.values()).partition("#")[0] for module, names in index.items() if names}
    for module, page in sorted(pages.items(), key=lambda entry: (not entry[1][0].isdigit(), entry[1])):
        names = public_names(package.parent / f"{module.replace('.', '/')}.py")
        if not names:
            continue
        if page.split("/")[0] != chapter:
            chapter = page.split("/")[0]
            lines.append(f"## {chapter.replace('_', ' ').capitalize()}\n")
        lines += [f"### `{module}` {{#{module.removeprefix('vehicle_nb.').replace('.', '-')}}}\n", "| name | what it is |", "|---|---|"]
        for name, said in names:
            to, _, anchor = where.get(f"{module}.{name}", page).partition("#")
            target = f"{to}#{anchor}" if anchor in headings.get(to, ()) else to
            text = said.replace("|", "\\|") or "a constant"
            lines.append(f"| [`{name}`]({target}) | {text} |")
        lines.append("")
    return "\n".join(lines)


def main(folder: Path):
    "Tidy what lies in `_proc`."
    if folder.name != "_proc":
        sys.exit("tools/docs_site.py changes notebooks: it only works in _proc, which nbdev_docs and nbdev_preview make.")
    settings = configparser.ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    site = settings["DEFAULT"]["doc_host"] + settings["DEFAULT"]["doc_baseurl"]
    notebooks = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.ipynb"))}
    pages = {path: page_name(path.relative_to(folder).as_posix()) for path in notebooks}
    headings = {pages[path]: anchors(notebook) for path, notebook in notebooks.items()}
    for path, notebook in notebooks.items():
        if "tidy" not in notebook["metadata"]:
            path.write_text(json.dumps(tidy(notebook, pages[path], site, headings)), encoding="utf-8")
    page = folder / "reference.md"
    text = page.read_text(encoding="utf-8")
    if "<!-- names -->" in text:
        page.write_text(text.replace("<!-- names -->", reference(ROOT / "vehicle_nb", headings)), encoding="utf-8")
    make_slides(folder / "teach" / "slides")


if __name__ == "__main__":
    main(Path.cwd())
