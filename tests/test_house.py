"""The house is in order: what is generated is up to date, and the rules that keep the code readable are kept."""

import ast
import filecmp
import importlib
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
import yaml
from conftest import EXERCISES, NBS, NOTEBOOKS, ROOT, SOLUTIONS, SOURCES, page_of, read_settings, source_files
from IPython.core.inputtransformer2 import TransformerManager
from nbdev.process import extract_directives
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = ROOT / "vehicle_nb"
# The modules that notebooks are exported to; a package's own `__init__` and the page's script are written by hand.
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("_") and path.parent.name != "web")


def dotted(module: Path) -> str:
    "The name of a module as an import has it: `vehicle_nb.data.sources`."
    return ".".join(module.relative_to(ROOT).with_suffix("").parts)


def program(name: str) -> str:
    "The program `name` that was installed beside this Python."
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is not installed: pip install -e '.[dev]'"
    return found


def run(*command, cwd: Path) -> str:
    "Run a command, which must end well; its output."
    env = {key: value for key, value in os.environ.items() if key != "IN_TEST"}  # nbdev exports nothing when it is set
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def differences(a: Path, b: Path, pattern: str) -> list[str]:
    "Names of the files, among those that match, that are not the same in both folders."
    names = {path.relative_to(folder).as_posix() for folder in (a, b) for path in folder.rglob(pattern)}
    _, other, missing = filecmp.cmpfiles(a, b, names, shallow=False)
    return sorted(other + missing)


# --- what is generated ------------------------------------------------------------------------------------------------


def test_export_is_up_to_date(repo_copy):
    for path in [*MODULES, PACKAGE / "_modidx.py"]:  # so that a module whose notebook is gone shows up too
        (repo_copy / path.relative_to(ROOT)).unlink()
    run(program("nbdev_export"), cwd=repo_copy)
    stale = differences(PACKAGE, repo_copy / "vehicle_nb", "*.py")
    assert not stale, f"run nbdev_export: {stale} are not what the notebooks say"
    run(program("nbdev_export"), cwd=repo_copy)
    assert not differences(PACKAGE, repo_copy / "vehicle_nb", "*.py"), "a second nbdev_export changes what the first wrote"


def test_notebooks_are_clean(repo_copy):
    run(program("nbdev_clean"), cwd=repo_copy)
    dirty = differences(NBS, repo_copy / "nbs", "*.ipynb")
    assert not dirty, f"run nbdev_clean: {dirty} are not clean"


def test_quarto_settings_are_up_to_date(repo_copy):
    committed = (NBS / "nbdev.yml").read_text(encoding="utf-8")
    run(sys.executable, "-c", "from nbdev.quarto import refresh_quarto_yml as f; f()", cwd=repo_copy)
    assert (repo_copy / "nbs" / "nbdev.yml").read_text(encoding="utf-8") == committed, "run nbdev_docs or nbdev_preview"
    assert (repo_copy / "nbs" / "_quarto.yml").is_symlink(), "nbdev replaced the link to _quarto.yml"


def test_quarto_file_is_one_file():
    link = NBS / "_quarto.yml"
    assert link.is_symlink() and os.readlink(link) == "../_quarto.yml"
    assert link.resolve() == ROOT / "_quarto.yml"


# --- notebooks as files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [pytest.param(path, id=page_of(path)) for path in [*NOTEBOOKS, *SOLUTIONS]])
def test_notebook_is_saved_after_a_good_run(path):
    "No errors in it, and outputs where a cell prints or draws (test_notebooks.py compares each cell with a real run)."
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    errors = [cell.source for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not errors, f"saved with an error in: {errors[0]}"
    talks = [cell for cell in cells if re.search(r"(?m)^(print|show_images)\(", cell.source)]
    silent = [cell.source for cell in talks if not cell.outputs and "eval: false" not in cell.source]
    assert not silent, f"saved without the output of: {silent[0]}"
    assert path.stat().st_size < 4_000_000, "too heavy to clone and to read on the web: draw smaller pictures"


@pytest.mark.parametrize("path", [pytest.param(path, id=page_of(path)) for path in NOTEBOOKS])
def test_imports_stand_alone(path):
    "The docs build runs every cell with an import in it, so such a cell may do nothing else."
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or "import" not in cell.source or cell.source.lstrip().startswith(("!", "%")):
            continue
        directives = extract_directives(cell, remove=False)
        if {"export", "exports"} & directives.keys() or directives.get("eval:", [""])[0] == "false":
            continue
        body = ast.parse(cell.source).body
        imports = [isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body]
        assert all(imports) or not any(imports), f"imports and other code in one cell:\n{cell.source}"


@pytest.mark.parametrize("path", [pytest.param(path, id=page_of(path)) for path in [*NOTEBOOKS, *SOURCES]])
def test_notebook_parses_on_the_oldest_python(path):
    "Ruff reads the notebook as the oldest Python that we promise would, and knows every name in it; it asks no more of notebooks."
    minimum = "py" + read_settings()["min_python"].replace(".", "")
    run(program("ruff"), "check", "--isolated", "--no-cache", "--select", "E9,F821", "--target-version", minimum, path, cwd=ROOT)


# --- the package ------------------------------------------------------------------------------------------------------


def test_ruff_is_content():
    run(program("ruff"), "check", "--no-cache", ".", cwd=ROOT)


def module_of(notebook: Path) -> str | None:
    "The module that a notebook is exported to, as an import has it."
    found = re.search(r"#\| *default_exp +([\w.]+)", notebook.read_text(encoding="utf-8"))
    return found and f"vehicle_nb.{found[1]}"


def test_each_module_has_its_notebook():
    "Every notebook is looked at, wherever it lies, and the modules are those that they are exported to."
    tracked = [path for path in source_files() if path.suffix == ".ipynb"]
    assert sorted(tracked) == sorted([*NOTEBOOKS, *EXERCISES, *SOLUTIONS, *SOURCES]) and len(NOTEBOOKS) > 40
    assert sorted(filter(None, map(module_of, NOTEBOOKS))) == sorted(map(dotted, MODULES)), "one notebook a module"


def test_a_module_lies_where_its_notebook_lies():
    "`nbs/1_data/03a_split.ipynb` is exported to `vehicle_nb/data/split.py`: less the numbers and letters, one name for both."
    own = {"vehicle_nb.data.preprocess": "1_data/03b_pipeline", "vehicle_nb.data.dataset": "1_data/04b_loader",
           "vehicle_nb.data.sources": "1_data/01g_get_data", "vehicle_nb.data.explore": "1_data/02g_explore_command",
           "vehicle_nb.models.finetune": "2_models/07b_probe_and_groups", "vehicle_nb.training.schedule": "3_training/08_recipe",
           "vehicle_nb.train": "3_training/09b_command", "vehicle_nb.distributed": "3_training/10c_rendezvous",
           "vehicle_nb.serving.predictor": "5_serving/14d_prediction", "vehicle_nb.serving.hub": "5_serving/16b_export",
           "vehicle_nb.evaluation.evaluate": "4_evaluation/11d_run_evaluation", "vehicle_nb.evaluation.ood": "4_evaluation/13b_detector",
           "vehicle_nb.evaluation.calibration": "4_evaluation/12a_temperature"}  # fmt: skip
    for path in NOTEBOOKS:
        if module := module_of(path):
            chapter, _, name = re.sub(r"(^|/)\d+[a-z]?_", r"\1", page_of(path)).rpartition("/")
            usual = ".".join(filter(None, ["vehicle_nb", *([chapter] if chapter != "parts" else []), name]))
            assert own.get(module, page_of(path)) == page_of(path) and (module in own or module == usual), f"{page_of(path)}: {module}"


def test_chapters_import_only_downwards():
    "The layers in pyproject.toml hold: import-linter reads every import of the package."
    said = run(program("lint-imports"), "--no-cache", cwd=ROOT)
    assert "Contracts: 2 kept, 0 broken." in said


def test_each_public_name_has_one_address():
    "No module offers what another one defines: a name that is imported is not listed again."
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        listed = next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "__all__")
        assert not imported & set(listed), f"{dotted(path)} lists {sorted(imported & set(listed))}, which it imports"


def borrowed_privates(tree: ast.AST) -> set[str]:
    "Names of this package with a leading underscore that the code takes from another module: imported, or as `module._name`."
    found, modules = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "vehicle_nb"):
            found |= {name.name for name in node.names}
            modules |= {name.asname or name.name for name in node.names if name.name in MODULE_NAMES}
        elif isinstance(node, ast.Import):
            modules |= {name.asname for name in node.names if name.asname and name.name.startswith("vehicle_nb.")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.add(node.attr)
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


MODULE_NAMES = {path.stem for path in MODULES}


def test_borrowed_privates_are_found():
    code = "from .data import _a, b as _c\nfrom vehicle_nb import core as c\nc._d(c.__doc__)"
    code += "\nimport vehicle_nb.demo.make as m\nm._e\nimport os\nos._exit"
    assert borrowed_privates(ast.parse(code)) == {"_a", "_d", "_e"}


def test_private_names_stay_in_their_module():
    "What another module needs gets a public name, with a comment for each parameter; only tests may look behind a name."
    for path in source_files():
        if path.suffix == ".py" and path.parent.name != "tests":
            borrowed = borrowed_privates(ast.parse(path.read_text(encoding="utf-8")))
            assert not borrowed, f"{path.relative_to(ROOT)} takes {sorted(borrowed)} from another module"
    for path in [*NOTEBOOKS, *SOURCES]:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":  # lines such as `!git` and `%cd` become Python first, as Jupyter makes them
                borrowed = borrowed_privates(ast.parse(TransformerManager().transform_cell(cell.source)))
                assert not borrowed, f"{path.name} takes {sorted(borrowed)} from another module:\n{cell.source}"


def test_no_module_is_too_long():
    "A module of more than 500 lines does two jobs: CONTRIBUTING.md tells how to give one of them a notebook of its own."
    long = {path.name for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > 500}
    assert not long, f"more than 500 lines: {sorted(long)}"


def test_no_function_is_too_long():
    "A function fits on a screen: 40 lines, without its parameters, which have a line and a comment each."
    long = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.body[0].lineno + 1 > 40:
                long.add(f"{path.stem}.{node.name}")
    assert not long, f"longer than a screen: {sorted(long)}"


def test_package_needs_no_nbdev():
    "A user of the package must not depend on the tool that made it."
    code = "import sys; sys.modules['nbdev'] = None; sys.modules['execnb'] = None\nimport importlib\n"
    code += "".join(f"importlib.import_module('{dotted(path)}')\n" for path in MODULES)
    run(sys.executable, "-c", code, cwd=ROOT)


def test_class_names_live_only_in_the_demo_set():
    "What the classes are called is told by the folders: no code but the demo set's may hold the list."
    from vehicle_nb.demo.make import DEMO_CLASSES

    assert len(DEMO_CLASSES) == 20 and list(DEMO_CLASSES) == sorted(DEMO_CLASSES)
    for path in source_files():
        if path.suffix != ".py" or path.parent == PACKAGE / "demo" or path.name in ("test_demo.py", "_modidx.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.Dict)):
                words = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = set(re.findall(r"\w+", node.value))
            else:
                continue
            known = sorted(set(DEMO_CLASSES) & words)
            assert len(known) < 8, f"{path.relative_to(ROOT)} line {node.lineno} lists the classes {known}"


def test_public_functions_say_what_they_do():
    "Each public function and class has a docstring of one line, and each parameter of a public function a comment."
    for path in MODULES:
        lines = path.read_text(encoding="utf-8").splitlines()
        tree = ast.parse("\n".join(lines))
        assert ast.get_docstring(tree), f"{path.name} has no docstring: give its notebook a subtitle"
        for node in tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
                continue
            doc = ast.get_docstring(node)
            assert doc, f"{path.name}: {node.name} has no docstring"
            assert "\n" not in doc, f"{path.name}: the docstring of {node.name} is longer than a line"
            # The demo set's many small drawing functions serve its own lesson, which shows each; three are for others.
            drawing = path.parent.name == "demo" and node.name not in ("draw_vehicle", "make_demo", "contact_sheet")
            if isinstance(node, ast.FunctionDef) and not drawing:
                for arg in node.args.args + node.args.kwonlyargs:
                    described = arg.arg == "self" or "#" in lines[arg.lineno - 1]  # nbdev's `@patch` writes methods as functions
                    assert described, f"{path.name}: {node.name} does not say what {arg.arg} is"


# Words of our own that stood where the field has a name; the glossary's sentences may use them, names may not.
OUR_OWN = {
    "picture", "pictures", "stranger", "strangers", "familiar", "familiarity", "borrowed", "visitor", "visitors", "visit", "suspect",
    "suspects", "judge", "rough", "remember", "answer", "answers", "answered", "teach", "norms", "tiny", "sketch", "sketches", "likeness",
    "examination", "doubt", "told", "spoken", "round", "rounds", "turns", "seen", "overruled", "rescale", "bands", "litter",
}  # fmt: skip


def public_names(tree: ast.AST) -> set[str]:
    "Functions, classes and constants of a module, their arguments, methods and fields, and the keys of its dictionaries."
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found |= {arg.arg for arg in node.args.args + node.args.kwonlyargs}
        if isinstance(node, ast.ClassDef):
            found |= {field.target.id for field in node.body if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)}
        if isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
            found |= {key for key in keys if key.isidentifier()}
    found |= {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("path", [pytest.param(path, id=dotted(path)) for path in MODULES])
def test_names_are_the_fields(path):
    "An engineer finds things by the names that he knows: no public name, argument, field or key uses a word of our own."
    names = public_names(ast.parse(path.read_text(encoding="utf-8")))
    own = sorted(name for name in names if OUR_OWN & set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")))
    assert not own, own


# --- settings ---------------------------------------------------------------------------------------------------------


def requirements(*kinds: str) -> list[Requirement]:
    "What settings.ini asks for under `requirements` and, without a word, under the extras that the tests install."
    keys = [f"{kind}requirements" for kind in kinds or ("", "app_", "course_", "onnx_", "teach_", "dev_")]
    return [Requirement(text) for key in keys for text in read_settings()[key].split()]


def test_dependency_bounds():
    "Each dependency is named once, is bounded above and below, and the bounds hold for what is installed here."
    names = [canonicalize_name(requirement.name) for requirement in requirements()]
    assert len(names) == len(set(names))
    for requirement in requirements():
        operators = {bound.operator for bound in requirement.specifier}
        # Of the authorities that certifi lists, the newest are right; its version is a date.
        assert operators & {"==", "<", "<="} or requirement.name == "certifi", f"{requirement} has no upper bound"
        installed = importlib.metadata.version(requirement.name)
        assert requirement.specifier.contains(installed), f"{requirement}, but {installed} is installed"
    # All five are needed, or nbdev 2 fails at import although `pip check` finds nothing wrong.
    assert {"nbdev", "execnb", "fastcore", "ghapi", "fastgit"} <= set(names)


DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml",
                 "cv2": "opencv-python-headless"}  # fmt: skip  # where it is not called as its module


def foreign(tree: ast.AST) -> set[str]:
    "The distributions that the code imports, wherever in it, but for this package and what comes with Python."
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    names -= {"vehicle_nb", *sys.stdlib_module_names}
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in names}


def named(*kinds: str) -> set[str]:
    "The distributions that settings.ini names there."
    return {canonicalize_name(requirement.name) for requirement in requirements(*kinds)}


APP = {"vehicle_nb.serving.ui", "vehicle_nb.serving.server", "vehicle_nb.serving.session", "vehicle_nb.serving.api"}  # need the extra `app`


def test_what_the_package_imports_is_required():
    "The core asks for no more than `requirements`, the page for no more than `app`; ONNX and timm are imported where they are asked for."
    for path in source_files():
        if path.suffix == ".py" and (path.is_relative_to(PACKAGE) or path == ROOT / "app.py"):
            page = path.parent.name == "web" or path == ROOT / "app.py" or dotted(path) in APP
            onnx = dotted(path) in ("vehicle_nb.serving.onnx_export", "vehicle_nb.serving.web_export")
            timm = dotted(path) == "vehicle_nb.features"
            kinds = ["", *(["app_"] if page else []), *(["onnx_"] if onnx else []), *(["timm_"] if timm else [])]
            undeclared = foreign(ast.parse(path.read_text(encoding="utf-8"))) - named(*kinds)
            undeclared -= {"ipython"} if dotted(path) == "vehicle_nb.core" else set()  # asked for where a notebook has loaded it
            assert not undeclared, f"{path.relative_to(ROOT)} imports {sorted(undeclared)}: not required"


def test_the_core_runs_without_the_extras():
    "Whoever installs the package alone can import all of it but the page, and use a Predictor."
    extra = sorted({name.replace("-", "_") for name in named("app_", "course_", "onnx_", "timm_") - named("")} | {"sklearn", "IPython"})
    code = f"import sys, importlib\nsys.modules.update(dict.fromkeys({extra!r}))\n"
    code += "".join(f"importlib.import_module({dotted(path)!r})\n" for path in MODULES if dotted(path) not in APP)
    run(sys.executable, "-c", code, cwd=ROOT)


def test_requirements_txt_brings_what_a_student_needs():
    "It installs the package with its page and its lessons, as README's first command does."
    lines = [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert lines == ["-e .[app,course]"]
    assert "pip install -e '.[app,course]' && accelerate launch -m vehicle_nb.train" in (ROOT / "README.md").read_text(encoding="utf-8")
    asked = {"torch", "torchvision", "nbdev", "jupyterlab", "matplotlib", "pillow", "streamlit", "accelerate"}
    assert asked <= named("", "app_", "course_")


def test_what_the_lessons_import_is_required():
    "The extras `course` and `app` bring it, with which the docs site is made, too."
    for path in [*NOTEBOOKS, *SOURCES]:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                code = ast.parse(TransformerManager().transform_cell(cell.source))
                undeclared = foreign(code) - named("", "course_", "app_", "onnx_", "timm_")
                assert not undeclared, f"{path.name} imports {sorted(undeclared)}: not required\n{cell.source}"


def test_what_tests_and_tools_import_is_required():
    "The same, but a few come with a requirement that cannot do without them."
    carried = {"scipy": "scikit-learn", "nbformat": "nbclient", "nbconvert": "jupyterlab", "packaging": "pytest", "setuptools": "torch",
               "fonttools": "matplotlib", "jupyter-client": "nbclient"}  # fmt: skip
    own = {canonicalize_name(path.stem) for path in source_files() if path.suffix == ".py"}
    for path in source_files():
        # A benchmark may ask for a peer to measure itself against.
        if path.suffix == ".py" and not path.is_relative_to(PACKAGE) and path.parts[-2] != "benchmarks":
            for name in foreign(ast.parse(path.read_text(encoding="utf-8"))) - own:
                assert carried.get(name, name) in named(), f"{path.relative_to(ROOT)} imports {name}: not required"


def test_pythons_agree():
    "Every place that promises Pythons promises those of settings.ini."
    settings = read_settings()
    versions = settings["python_versions"].split()
    assert versions[0] == settings["min_python"]
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == versions
    ruff = (ROOT / "ruff.toml").read_text(encoding="utf-8")
    assert f'target-version = "py{versions[0].replace(".", "")}"' in ruff
    for name, to in (("README.md", "to"), ("README.fr.md", "à")):
        promised = re.findall(r"Python (3\.\d+)(?: (\w+) (3\.\d+))?", (ROOT / name).read_text(encoding="utf-8"))
        assert promised == [(versions[0], to, versions[-1])], name
    image = re.search(r"(?m)^FROM python:([\d.]+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert image[1] in versions
    docs = yaml.safe_load((ROOT / ".github/workflows/docs.yml").read_text(encoding="utf-8"))["jobs"]["build"]["steps"]
    assert {step["with"]["python-version"] for step in docs if "python-version" in step.get("with", {})} < set(versions)


def test_commands_exist():
    "Each console script of settings.ini is a function of the package, installed under its name."
    for line in read_settings()["console_scripts"].split():
        name, target = line.split("=")
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function)), line
        assert program(name)


def test_versions_agree():
    version = read_settings()["version"]
    assert f'__version__ = "{version}"' in (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    newest = re.search(r"(?m)^## \[?([\d.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert newest and newest[1] == version, "the newest version in CHANGELOG.md is not that of settings.ini"


def test_configuration_files_parse():
    "Each YAML and JSON file of the repository can be read, and the Accelerate files say how many processes there are."
    for path in source_files():
        if path.suffix in (".yml", ".yaml"):
            assert yaml.safe_load(path.read_text(encoding="utf-8")), path
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    processes = {p.stem: yaml.safe_load(p.read_text(encoding="utf-8"))["num_processes"] for p in ROOT.glob("configs/*.yaml")}
    assert processes == {"cpu2": 2, "gpu4": 4, "nodes2x4": 8}


def test_ci_runs_the_line_of_the_readme():
    "`.ci/run` takes its test command from README.md: it must find one line, and that line must run pytest."
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    extract = re.search(r"(?m)^line=\$\((.+)\)$", script)
    assert extract, ".ci/run no longer sets `line` from README.md"
    line = subprocess.run(["bash", "-c", extract[1]], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert line.count("\n") == 1 and line.rstrip().endswith("&& pytest"), f"README.md's test command: {line!r}"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


# --- nothing private --------------------------------------------------------------------------------------------------


def test_no_private_names():
    "No file tells where its author keeps the repository, nor who the author or the machine is."
    import socket
    import tempfile

    private = {str(Path.home()) + "/", socket.gethostname()}
    private |= {str(ROOT)} if len(ROOT.parts) > 2 else set()
    private = {name for name in private if len(name) > 6 and name != "localhost"}
    pattern = re.compile("|".join([r"/home/(?!user/)\w+/", r"/Users/\w+/", r"[A-Z]:\\+Users\\", *map(re.escape, private)]))
    for path in source_files():
        if path.suffix in (".png", ".webp", ".jpg") or path.name == Path(__file__).name:
            continue
        found = pattern.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)} names {found[0]!r}"
    for path in [*NOTEBOOKS, *SOLUTIONS]:
        for cell in nbformat.read(path, as_version=4).cells:
            outputs = json.dumps(cell.get("outputs", []))
            assert tempfile.gettempdir() + "/" not in outputs, f"{path.name} shows a temporary folder: {cell.source}"
