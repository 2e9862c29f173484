"""Whose folder a run is, what it goes on with, which model answers, and how a command ends when somebody leaves."""

import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from forks import FORKS
from ranks import hold_run
from tiny import coloured, tiny_bundle, tiny_processed

from vehicle_nb.models.bundle import find_bundle, is_finished, list_bundles
from vehicle_nb.training.checkpoints import choose_run, list_checkpoints, lock_run
from vehicle_nb.commands import run_command
from vehicle_nb.core import VehicleError
from vehicle_nb.evaluation.evaluate import evaluate, bundle_data_dir
from vehicle_nb.serving.predictor import predict_images
from vehicle_nb.training.dist import GracefulStop, how_to_resume, check_lone_task
from vehicle_nb.train import train
from vehicle_nb.training.loop import Trainer

QUICK = {"input_size": 32, "batch_size": 8, "precision": "fp32", "num_threads": 1}


@pytest.fixture(scope="module", autouse=True)
def one_process_on_the_cpu():
    "Runs of this module need no GPU, and leave no Accelerator behind."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        AcceleratorState._reset_state(reset_partial_state=True)
        yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    return tiny_processed(tmp_path_factory.mktemp("data") / "processed", each=4)


@pytest.fixture(scope="module")
def finished_run(processed, tmp_path_factory) -> Path:
    "A run of one epoch that has come to its end."
    train(data=str(processed), output=str(tmp_path_factory.mktemp("models")), run_name="done", epochs=1, quiet=True, **QUICK)
    return next(tmp_path_factory.getbasetemp().glob("models*/done"))


def change(file: Path, **values):
    "Give some values of a JSON file others."
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def cut_off(finished: Path, path: Path, seconds: float = 0, **settings) -> Path:
    "The run as it was before its last epoch; its checkpoint was written so many seconds ago."
    shutil.copytree(finished, path)
    change(path / "train_config.json", epochs=2, **settings)
    change(path / "config.json", finished=False)
    for file in [*list_checkpoints(path), path / "model.safetensors"]:
        os.utime(file, (time.time() - seconds,) * 2)
    return path


# --- a folder of its own ---------------------------------------------------------------------------------------------------


def test_runs_that_start_in_one_second_get_a_folder_each(tmp_path, monkeypatch):
    import vehicle_nb.training.checkpoints as module

    class Now:
        now = staticmethod(lambda: module_time(2026, 1, 2, 3, 4, 5))

    module_time = module.datetime
    monkeypatch.setattr(module, "datetime", Now)
    names = [choose_run(str(tmp_path), "", "net", False).name for _ in range(3)]
    assert names == ["net-20260102-030405", "net-20260102-030405-2", "net-20260102-030405-3"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_lives_is_left_alone_and_its_holder_is_named(processed, finished_run, tmp_path, resume):
    acc = Accelerator(cpu=True)
    if resume:
        cut_off(finished_run, tmp_path / "mine")
    before = sorted(p.name for p in tmp_path.rglob("*.pt"))
    with lock_run(acc, str(tmp_path), "mine", "net", resume):
        for _ in range(2):  # the one that is refused takes nothing away from the one that lives: not the lock either
            with pytest.raises(VehicleError, match=f"It is process {os.getpid()} on "):
                train(data=str(processed), output=str(tmp_path), run_name="mine", resume=resume, quiet=True, **QUICK)
    assert sorted(p.name for p in tmp_path.rglob("*.pt")) == before
    with lock_run(acc, str(tmp_path), "mine", "net", resume) as path:  # free again
        assert path == tmp_path / "mine"


def test_the_lock_of_a_run_ends_with_a_killed_process(tmp_path):
    ready = FORKS.Event()
    holder = FORKS.Process(target=hold_run, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(60)
    acc = Accelerator(cpu=True)
    with pytest.raises(VehicleError, match=f"process {holder.pid} on"), lock_run(acc, str(tmp_path), "run", "net", False):
        pass
    holder.kill()
    holder.join()
    with lock_run(acc, str(tmp_path), "run", "net", False) as path:
        (path / "train_config.json").write_text("{}")
    with lock_run(acc, str(tmp_path), "run", "net", False):  # killed before its first checkpoint: it may begin anew
        pass


def test_a_run_that_cannot_begin_leaves_no_folder_behind(tmp_path):
    with pytest.raises(VehicleError), lock_run(Accelerator(cpu=True), str(tmp_path / "new"), "", "net", False):
        raise VehicleError("no pictures")
    assert not list(tmp_path.iterdir())


FOREIGN = {
    "a model of a colleague": ("model", "trained elsewhere"), "a finished run": ("run", "holds a run already. Give another"),
    "other things": ("thesis", "such as thesis.txt"), "a file": ("file", "is not a folder"),
}  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_what_lies_under_a_name_is_not_overwritten(processed, finished_run, tmp_path, what):
    kind, why = FOREIGN[what]
    path = tmp_path / "X"
    if kind == "model":
        tiny_bundle(path)
    elif kind == "run":
        shutil.copytree(finished_run, path)
    elif kind == "thesis":
        path.mkdir()
        (path / "thesis.txt").write_text("years of work")
    else:
        path.write_text("a file")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name[0] != "."}
    with pytest.raises(VehicleError, match=why):
        train(data=str(processed), output=str(tmp_path), run_name="X", epochs=1, quiet=True, **QUICK)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name[0] != "."} == before


@pytest.mark.parametrize(("name", "why"), [("x" * 300, "300 letters"), ("語" * 80, "80 letters"), ("a/b", "slashes"), ("a\nb", "slashes")])
def test_a_name_that_no_folder_can_have(tmp_path, name, why):
    with pytest.raises(VehicleError, match=why):
        choose_run(str(tmp_path), name, "net", False)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_deleted_under_a_run_ends_it_in_a_sentence(processed, tmp_path, monkeypatch):
    end = Trainer.end_epoch

    def end_epoch(trainer, bar):
        shutil.rmtree(trainer.path) if trainer.state.epoch == 1 else None
        return end(trainer, bar)

    monkeypatch.setattr(Trainer, "end_epoch", end_epoch)
    with pytest.raises(VehicleError, match="gone was deleted or renamed"):
        train(data=str(processed), output=str(tmp_path), run_name="gone", epochs=3, quiet=True, **QUICK)
    assert not (tmp_path / "gone").exists()


SRUN = {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
TASKS = {
    "srun": (SRUN, "refused"), "its second task": (SRUN | {"SLURM_PROCID": "1"}, "refused"),
    "little is known": ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, "refused"),
    "srun of one task": (SRUN | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, ""),
    "one task of a larger job": (SRUN | {"SLURM_STEP_NUM_TASKS": "1"}, ""),
    "salloc": ({"SLURM_NTASKS": "4"}, "warned"), "a job's script": ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, "warned"),
    "salloc, whose shell is a step": ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": str(2**32 - 6)}, "warned"),
    "torchrun in srun": (SRUN | {"RANK": "0", "WORLD_SIZE": "2"}, ""), "nothing": ({}, ""),
    "mpirun": ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, "refused"),
}  # fmt: skip


@pytest.mark.parametrize("case", TASKS)
def test_tasks_of_slurm_that_know_nothing_of_each_other_do_not_train_the_same_run(monkeypatch, case):
    given, answer = TASKS[case]
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "PMI_")) or name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    said = []
    with pytest.raises(VehicleError, match="do not know of each other") if answer == "refused" else nullcontext():
        check_lone_task(said.append)
    assert bool(said) == (answer == "warned")


# --- going on --------------------------------------------------------------------------------------------------------------


def test_resume_takes_the_newest_run_that_is_not_finished(finished_run, tmp_path):
    with pytest.raises(VehicleError, match="Start a run without --resume"):
        choose_run(str(tmp_path), "", "net", True)
    shutil.copytree(finished_run, tmp_path / "done")
    with pytest.raises(VehicleError, match="are finished"):
        choose_run(str(tmp_path), "", "net", True)
    cut_off(finished_run, tmp_path / "new", 50)
    cut_off(finished_run, tmp_path / "old", 100)
    for name in ("old", "done"):  # reports are written later, into both
        (tmp_path / name / "report").mkdir()
    assert choose_run(str(tmp_path), "", "net", True) == tmp_path / "new"
    assert choose_run(str(tmp_path), "old", "net", True) == tmp_path / "old"


def test_a_finished_run_is_left_as_it_is(finished_run, capsys):
    before = {p: (p.stat().st_mtime, p.read_bytes()) for p in finished_run.rglob("*") if p.is_file()}
    metrics = train(output=str(finished_run.parent), run_name="done", resume=True)
    assert "is finished: nothing is left to train" in capsys.readouterr().out and metrics["test_images"] == 16
    with pytest.raises(VehicleError, match=r"finished \(epochs planned: 1\)\. .* ignored: --epochs 5"):
        train(output=str(finished_run.parent), run_name="done", resume=True, epochs=5, quiet=True)
    assert {p: (p.stat().st_mtime, p.read_bytes()) for p in finished_run.rglob("*") if p.is_file()} == before


def test_a_run_goes_on_where_its_set_has_moved(processed, finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = cut_off(finished_run, tmp_path / "models" / "cut", data="gone")
    change(run / "config.json", data={"path": "../../gone"})
    with pytest.raises(VehicleError, match=r"no processed set in gone.* --resume --run_name cut --data FOLDER"):
        train(run_name="cut", resume=True, quiet=True)
    with pytest.raises(VehicleError, match=r"no processed set in .*gone.*vehicle_evaluate --bundle models/cut --data FOLDER"):
        evaluate("models/cut")
    other = tiny_processed(tmp_path / "other", each=4, content_hash="another")
    with pytest.raises(VehicleError, match="is not the set that"):
        train(run_name="cut", resume=True, data=str(other), quiet=True)
    shutil.copytree(processed, tmp_path / "elsewhere")
    train(run_name="cut", resume=True, data="elsewhere", quiet=True)
    assert json.loads((run / "train_config.json").read_text())["data"] == "elsewhere" and is_finished(run)
    assert Path(bundle_data_dir(run)).samefile("elsewhere")


def test_a_project_that_was_moved_as_a_whole_goes_on(processed, finished_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = cut_off(finished_run, tmp_path / "project" / "models" / "cut", data=str(tmp_path / "before" / "mine"))
    shutil.copytree(processed, tmp_path / "project" / "mine")
    change(run / "config.json", data={"path": "../../mine"})
    run = run.rename(run.with_name("renamed"))
    train(output="project/models", resume=True, quiet=True)
    assert is_finished(run) and len((run / "history.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("text", ["", "[]", "{\"epochs\": 2", '{"epochs": "two"}', '{"colour": 1}', '{"batch_size": null}'])
def test_broken_settings_are_told_by_name(finished_run, tmp_path, text):
    run = cut_off(finished_run, tmp_path / "cut")
    (run / "train_config.json").write_text(text)
    with pytest.raises(VehicleError, match=r"train_config.json is broken \(.+Start a new run"):
        train(output=str(tmp_path), resume=True, quiet=True)


def test_hints_can_be_typed_as_they_stand(monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    assert how_to_resume(Path("models/cut")) == "Resume with: vehicle_train --resume --run_name cut"
    typed = how_to_resume(Path("/my disk/models/it's mine")).removeprefix("Resume with: ")
    assert shlex.split(typed) == ["vehicle_train", "--resume", "--run_name", "it's mine", "--output", "/my disk/models"]
    assert how_to_resume(Path("m/cut"), 4) == "Restart all ranks with --resume --run_name cut --output m"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert how_to_resume(Path("models/cut")).startswith("Resume with: accelerate launch -m vehicle_nb.train --resume")


# --- which model answers ---------------------------------------------------------------------------------------------------


def test_a_half_trained_or_broken_model_does_not_take_over(tmp_path):
    ages = {"old": 400, "whole": 300, "half": 200, "cut_short": 100, "no_config": 50}
    for name, age in ages.items():
        path = tiny_bundle(tmp_path / name, finished=name != "half")
        if name == "cut_short":
            data = (path / "model.safetensors").read_bytes()
            (path / "model.safetensors").write_bytes(data[: len(data) // 2])
        if name == "no_config":
            (path / "config.json").write_text("{")
        os.utime(path / "model.safetensors", (time.time() - age,) * 2)
    assert [p.name for p in list_bundles(tmp_path)] == ["whole", "old", "half", "no_config", "cut_short"]
    said = []
    assert find_bundle(tmp_path, said.append) == tmp_path / "whole"
    assert [next(name for name in ages if re.search(rf"/{name}[ :]", text)) for text in said] == ["half", "no_config", "cut_short"]
    assert find_bundle(tmp_path / "half", said.append) == tmp_path / "half" and len(said) == 3, "by name, without a word"
    for name in ("old", "whole"):
        shutil.rmtree(tmp_path / name)
    said.clear()
    assert find_bundle(tmp_path, said.append) == tmp_path / "half"
    assert len(said) == 3 and "half is not finished, and there is no finished model" in said[-1]


def test_a_bundle_says_that_its_run_is_finished_only_at_its_end(processed, tmp_path, monkeypatch):
    seen, end = [], Trainer.end_epoch

    def end_epoch(trainer, bar):
        over = end(trainer, bar)
        seen.append(is_finished(trainer.path))
        if trainer.state.epoch == 1 and len(seen) == 1:
            signal.raise_signal(signal.SIGINT)
        return over

    monkeypatch.setattr(Trainer, "end_epoch", end_epoch)
    options = {"data": str(processed), "output": str(tmp_path), "run_name": "run", "quiet": True}
    assert train(**options, epochs=2, **QUICK)["stopped"] and not is_finished(tmp_path / "run")
    assert not train(**options, resume=True)["stopped"] and is_finished(tmp_path / "run")
    assert seen == [False, False]


# --- when somebody leaves --------------------------------------------------------------------------------------------------


def test_ctrl_c_during_the_imports_ends_in_a_word():
    command = subprocess.Popen([sys.executable, "-X", "importtime", "-m", "vehicle_nb.train"], stderr=subprocess.PIPE, text=True)
    for line in command.stderr:
        if "torch" in line:
            break
    command.send_signal(signal.SIGINT)
    rest = command.communicate(timeout=60)[1]
    assert command.returncode == 130 and rest.endswith("stopped.\n") and "Traceback" not in rest


def test_a_closed_terminal_is_a_request_to_stop_but_not_under_nohup():
    with GracefulStop() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.asked == signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with GracefulStop() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_whose_terminal_is_closed_is_saved_and_says_how_to_go_on(processed, tmp_path):
    ours, theirs = pty.openpty()
    options = f"--data {processed} --output {tmp_path} --run_name run --epochs 500 --input_size 32 --batch_size 8 --num_threads 1"
    command = f"exec {sys.executable} -m vehicle_nb.train {options} 2> {tmp_path}/errors.txt"
    process = subprocess.Popen(["bash", "-c", command], preexec_fn=lambda: os.login_tty(theirs))
    os.close(theirs)
    deadline = time.monotonic() + 120
    while not list_checkpoints(tmp_path / "run"):
        assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "errors.txt").read_text()
        time.sleep(0.1)
    os.close(ours)
    assert process.wait(60) == 75
    last = (tmp_path / "errors.txt").read_text().splitlines()[-1]
    assert last == f"vehicle_train: asked to stop; the run is saved. Resume with: vehicle_train --resume --run_name run --output {tmp_path}"


SCRIPT = r"""
import sys
from vehicle_nb.commands import run_command
from vehicle_nb.core import echo
def much(n: int = 1):
    for i in range(n): print("a line \u2013 with \xd7, \xe9 and \u8eca", i)
def work(n: int = 1):
    for i in range(n): echo(f"step {i}")
    print("all the work is done", file=sys.stderr)
    return 3
run_command(globals()[sys.argv.pop(1)])
"""


@pytest.fixture
def script(tmp_path):
    "Starts a small command and returns its exit code, output and errors; without `read` nobody reads its output."

    def start(*options: str, read: bool = True, **env) -> tuple[int, str, str]:
        (tmp_path / "script.py").write_text(SCRIPT)
        command = [sys.executable, tmp_path / "script.py", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | env, text=True)
        if not read:
            process.stdout.close()
            process.stdout = None
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return start


@pytest.mark.parametrize("options", [["much"], ["much", "--n", "99999"], ["much", "--help"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_whose_reader_has_left_says_so_once(script, options, unbuffered):
    code, _, err = script(*options, read=False, PYTHONUNBUFFERED=unbuffered)
    if "--help" in options and unbuffered:  # argparse itself passes over it
        assert not err
        return
    assert code == 141 and err == "vehicle_much: output closed; stopped.\n"


def test_a_training_whose_reader_has_left_goes_on(script):
    code, _, err = script("work", "--n", "9999", read=False)
    assert code == 3 and err.endswith("all the work is done\n") and err.count("\n") == 2


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_json_is_json_in_every_terminal(tmp_path, monkeypatch, encoding):
    bundle = tiny_bundle(tmp_path / "b", classes=["été", "車", "fire_truck", "tractor"])
    coloured("boat", 7).save(tmp_path / "été.png")
    pipe = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", pipe)
    with pytest.raises(SystemExit) as end:
        run_command(predict_images, [str(tmp_path / "été.png"), "--bundle", str(bundle), "--json"])
    (answer,) = json.loads(pipe.buffer.getvalue().decode(encoding))
    assert end.value.code == 0 and answer["label"] == "été" and answer["name"].endswith("été.png")


def test_a_terminal_without_letters_gets_them_spelled_out(script):
    code, out, err = script("much", PYTHONUTF8="0", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="")
    assert code == 0 and out == "a line \\u2013 with \\xd7, \\xe9 and \\u8eca 0\n", err
