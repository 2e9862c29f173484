"""Programs as processes of their own that start at once: forked from one that has imported torch and much else already."""

import atexit
import ctypes
import importlib.machinery
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else None)
# Importing all this takes longer than most of what a test asks of a process.
OURS = ("data.explore", "distributed", "evaluation.calibration", "evaluation.ood", "serving.hub", "training.loop")
THEIRS = ("ipykernel.kernelapp", "matplotlib.pyplot", "torch._dynamo", "torch.utils.tensorboard", "torchvision")
FORKS.set_forkserver_preload([*THEIRS, *(f"vehicle_nb.{name}" for name in OURS)])
atexit.register(lambda: [process.kill() for process in multiprocessing.active_children()])  # of tests that failed


def enter_network(name: str):
    "Go to a machine of `ip netns`, as `ip netns exec` does."
    with open(f"/run/netns/{name}") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def be(module: str, words: list[str], env: dict, cwd: str, network: str, files: list[Path]):
    "Be `python -m MODULE WORDS`: with this environment, in this folder, and with files for all that it prints."
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # it is asked for again: the environment may name another
    os.chdir(cwd)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    if network:
        enter_network(network)
    sys.argv, sys.path[:0] = [module, *words], [cwd, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.modules.pop(module, None)  # it runs as the main program, whoever has imported it
    ours = importlib.machinery.PathFinder.find_spec("vehicle_nb")
    if ours and ours.origin != sys.modules["vehicle_nb"].__file__:  # another copy of the package
        for name in [name for name in sys.modules if name.split(".")[0] == "vehicle_nb"]:
            del sys.modules[name]
    if "MPLBACKEND" in env:
        sys.modules["matplotlib"].rcParams["backend"] = env["MPLBACKEND"]  # as matplotlib does when it is imported
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


class Forked:
    "`python -m MODULE WORDS`, with what tests call of `Popen`; `stdout` names a pipe for what it prints."

    stdin = stdout = stderr = None

    def __init__(self, module: str, *words, cwd: Path | None = None, env: dict | None = None, network="", stdout: Path | None = None):
        self.folder = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        files = [stdout or self.folder / "out", self.folder / "err"]
        call = (module, [str(word) for word in words], dict(os.environ if env is None else env), str(cwd or Path.cwd()), network, files)
        self.process = FORKS.Process(target=be, args=call)
        self.process.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    poll = returncode.fget

    def send_signal(self, number: int):
        os.kill(self.pid, number)

    def terminate(self):
        self.process.terminate()

    def kill(self):
        self.process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        "Wait for its end; returns what it has printed."
        self.wait(timeout)
        out, err = (file.read_text() if (file := self.folder / name).exists() else "" for name in ("out", "err"))
        shutil.rmtree(self.folder)
        return out, err


def run(module: str, *words, **options) -> subprocess.CompletedProcess:
    "`python -m MODULE WORDS`, to its end."
    process = Forked(module, *words, **options)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess([module, *words], process.returncode, out, err)
