"""The command line: made from the text of functions, without importing what is heavy."""

import configparser
import importlib
import inspect
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from conftest import ROOT

from vehicle_nb import commands
from vehicle_nb.commands import REQUIRED, TYPES, Option, make_parser, read_options, run_command
from vehicle_nb.core import VehicleError

COMMANDS = {name: command for name, command in vars(commands).items() if name.startswith("vehicle_")}
HEAVY = ["torch", "torchvision", "pandas", "numpy", "matplotlib", "PIL", "streamlit", "accelerate", "fastcore"]


def options_of(command) -> list[Option]:
    "What a command accepts."
    options = command.keywords.get("options") or read_options(command.args[0])
    return options() if callable(options) else options


def test_the_commands_that_are_installed_are_these():
    settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    lines = settings["DEFAULT"]["console_scripts"].split()
    assert len(COMMANDS) == 8
    assert sorted(lines) == sorted(f"{name}=vehicle_nb.commands:{name}" for name in COMMANDS)


PROBE = """
import sys
sys.modules.update(dict.fromkeys({heavy}))  # `import torch` is an ImportError now
from vehicle_nb import commands
for words in (["--help"], ["--no_such_option", "x"]):
    try: commands.{name}(words)
    except SystemExit as end: print("exit code", end.code)
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_wrong_options_load_nothing_heavy(name):
    code = PROBE.format(heavy=HEAVY, name=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith(f"usage: {name} ") and "exit code 0" in done.stdout and "exit code 2" in done.stdout, done.stderr
    assert f"{name}: error: " in done.stderr and "--no_such_option" in done.stderr and "Traceback" not in done.stderr


def test_help_is_quick():
    "Time of the processor, as other programs may be busy: about 0.25 s; importing torch alone takes 2 s and more."
    code = "from vehicle_nb.commands import vehicle_train; vehicle_train(['--help'])"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "--epochs" in done.stdout, done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_read_from_the_text_is_what_the_function_takes(name):
    "Against the truth: the signature of the function, imported."
    address = COMMANDS[name].args[0]
    module, function = address.split(":")
    real = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    if "options" in COMMANDS[name].keywords:
        assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in real.values()), "it takes any option"
        return
    assert {option.name: option.default for option in read_options(address)} == {key: value.default for key, value in real.items()}
    for key in ("positional", "rest"):
        assert COMMANDS[name].keywords.get(key, next(iter(real))) in real


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name):
    for option in options_of(COMMANDS[name]):
        assert option.help and option.type in TYPES.values(), option
        if option.type is bool and option.default is not False:
            assert option.help.partition(" | ")[2], f"--no_{option.name} says what --{option.name} does"


LIMIT = 0.5


@dataclass
class Everything:
    "One of each."

    path: Path  # a file
    count: int = 3  # how many, 50 % or more
    share: float | None = None  # a share; default: a half
    limit: float = LIMIT  # the limit
    mode: Literal["fast", "exact"] = "fast"  # how
    verbose: bool = False  # print more
    shuffle: bool = True  # shuffle | keep the order
    freeze: bool | None = None  # freeze (default: for small sets) | train all


def parsed(*words: str) -> dict:
    return vars(make_parser("test", "", read_options(Everything)).parse_args(words))


DEFAULTS = {"path": Path("x"), "count": 3, "share": None, "limit": 0.5, "mode": "fast", "verbose": False, "shuffle": True, "freeze": None}
WORDS = {
    "": {},
    "--count 4 --share .25": {"count": 4, "share": 0.25},
    "--count=4": {"count": 4},
    "--verbose --no_shuffle": {"verbose": True, "shuffle": False},
    "--no-shuffle": {"shuffle": False},
    "--freeze": {"freeze": True},
    "--no-freeze": {"freeze": False},
    "--mode exact": {"mode": "exact"},
    "--sha 1": {"share": 1.0},  # short for --share alone
}


@pytest.mark.parametrize("words", WORDS)
def test_words_become_values(words):
    assert parsed("x", *words.split()) == DEFAULTS | WORDS[words]


def test_an_address_is_read_as_an_object_is():
    assert read_options(Everything) == read_options("test_commands:Everything")
    assert read_options(Everything)[0] == Option("path", Path, REQUIRED, "a file", None)


@pytest.mark.parametrize("words", ["--no 1", "--shuffle", "--mode slow", "--count many", "--nothing", ""])
def test_what_cannot_be_is_refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(*(["x"] if words else []), *words.split())
    assert end.value.code == 2 and "test: error: " in capsys.readouterr().err


def test_the_help_names_defaults_and_what_each_flag_does():
    text = " ".join(make_parser("test", "", read_options(Everything)).format_help().split())
    assert "--count COUNT how many, 50 % or more (default: 3)" in text and "--share SHARE a share; default: a half --limit" in text
    assert "--verbose print more" in text and "--no_shuffle keep the order" in text
    assert "--freeze freeze (default: for small sets)" in text and "--no_freeze train all" in text
    assert "--shuffle" not in text


def work(folder: str = "data", options: str = "", many: list[str] = ()):
    "Print the values."
    print(folder, options.split(), many)
    if folder == "nowhere":
        raise VehicleError("There is no folder nowhere.")


RUNS = {
    "photos": (0, "photos [] ()"),
    "--folder photos --server.port 80 --theme.base-color=red": (0, "photos ['--server.port', '80', '--theme.base-color=red'] ()"),
    "--many a b": (0, "data [] ['a', 'b']"),
    "--fodler photos": (2, "unknown option: --fodler photos"),
    "nowhere": (2, "vehicle_work: There is no folder nowhere."),
}


@pytest.mark.parametrize("words", RUNS)
def test_a_command_runs(words, capsys):
    code, said = RUNS[words]
    with pytest.raises(SystemExit) as end:
        run_command(work, words.split(), positional="folder", rest="options")
    out, err = capsys.readouterr()
    assert end.value.code == code and said in out + err


def test_options_may_be_made_by_a_function(capsys):
    with pytest.raises(SystemExit):
        run_command(work, ["--folder", "y"], options=lambda: [Option("folder", str, "x", "a folder")])
    assert capsys.readouterr().out == "y [] ()\n"
