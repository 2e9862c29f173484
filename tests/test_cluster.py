"""What a cluster needs: processes that are checked before they train, a shell that holds another job's variables, a real Slurm."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT
from runs import free_port, on_the_cpu_below
from test_distributed import FORKS, ended, launch
from tiny import tiny_processed

from vehicle_nb.core import VehicleError, run_main
from vehicle_nb.train import train
from vehicle_nb.training.dist import LAUNCH_VARIABLES, check_leftovers, slurm_place


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu_where_gpus_are_too_few():
    "Two ranks need two GPUs, or none."
    with on_the_cpu_below(2):
        yield


# --- the first thing to run ----------------------------------------------------------------------------------------------

CHECKS = ["devices", "all-reduce", "broadcast", "barrier", "samples", "three steps", "bandwidth"]


def all_is_well(said: str) -> bool:
    "Does the table name two ranks, and did each check end well?"
    rows, found = re.findall(r"(?m)^[01] .*(?:gloo|nccl)", said), re.findall(r"(?m)^(\S+(?: steps)?) +(ok|FAILED) ", said)
    return "World size 2" in said and len(rows) == 2 and found == [(name, "ok") for name in CHECKS]


def test_two_ranks_are_checked_and_it_is_said_once():
    said = ended(launch(2, argv="--check"))
    assert all_is_well(said), said
    before, after = map(float, re.search(r"the loss falls from (\S+) to (\S+)", said).groups())
    assert 0 < after < before < 2, "a network of four classes that knows nothing has a loss of log 4 = 1.39"
    assert all(0 < float(speed) < 1000 for speed in re.findall(r"MB (\S+) GB/s", said)) and said.count("GB/s") == 3


FAULTS = {
    "sampler of another rank": "samples      FAILED  rank 1 was dealt image",
    "other weights": "three steps  FAILED  rank 1 does not hold the weights of rank 0",
    "wrong on all ranks": "three steps  FAILED  rank 0 holds other weights than one process after the same steps",
    "dies": "rank 0: samples stopped", "waits for ever": "rank 0: samples did not come back within 2 s",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rank_that_is_not_as_it_should_be_is_found(fault):
    ranks = launch(2, argv="--check", fault=fault)
    ranks.processes[0].join(120)
    ranks.processes[1].kill()  # it may wait for ever
    said = ended(ranks, None)
    assert ranks.processes[0].exitcode == 1 and said.count(FAULTS[fault]) == 1 and "Traceback" not in said, said


def test_torchrun_and_a_single_command_check_as_well():
    check = "-m vehicle_nb.distributed --check"
    for how in (f"-m torch.distributed.run --nproc_per_node 2 --master_port {free_port()} {check}", check):
        done = subprocess.run([sys.executable, *how.split()], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0 and all_is_well(done.stdout), done.stdout + done.stderr


# --- a shell that holds another job's variables ----------------------------------------------------------------------------

WHOLE = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
LEFT_OVER = {
    "nothing": ({}, ""), "an address": ({"MASTER_ADDR": "10.0.0.1"}, ""), "a launcher": (WHOLE, ""),
    "RANK without WORLD_SIZE": ({"RANK": "3"}, "RANK=3, but not WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT. If they are"),
    "WORLD_SIZE alone": ({"WORLD_SIZE": "4"}, "unset WORLD_SIZE. A launcher"),
    "all but the port": ({name: WHOLE[name] for name in LAUNCH_VARIABLES[:-1]}, "but not MASTER_PORT"),
    "a rank of a larger job": (WHOLE | {"RANK": "4"}, "does not fit together"),
    "no number": (WHOLE | {"RANK": "x"}, "does not fit together"),
}  # fmt: skip


@pytest.fixture
def empty(monkeypatch):
    "An environment without the variables of launchers and of Slurm."
    for name in list(os.environ):
        if name.startswith("SLURM_") or name in LAUNCH_VARIABLES:
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("case", LEFT_OVER)
def test_variables_of_another_job_are_refused_in_a_sentence(empty, tmp_path, case):
    given, told = LEFT_OVER[case]
    for name, value in given.items():
        empty.setenv(name, value)
    if not told:
        return check_leftovers()
    for call in (check_leftovers, lambda: train(output=str(tmp_path / "models"))):
        with pytest.raises(VehicleError, match=re.escape(told)):
            call()
    assert not list(tmp_path.iterdir())


def wait_alone(port: int, output: str):
    "Train in a shell that says that four processes belong together."
    os.environ |= WHOLE | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), 2)
    run_main(lambda: train(ddp_timeout=2), "vehicle_train")


def test_a_whole_set_of_left_over_variables_ends_in_a_sentence(tmp_path):
    process = FORKS.Process(target=wait_alone, args=(free_port(), str(tmp_path / "said")))
    process.start()
    process.join(120)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 2 and "because the environment says RANK=0 and WORLD_SIZE=4" in said and "unset RANK" in said
    assert "Traceback" not in said, said


STEP = {"SLURM_PROCID": "5", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "41007"}


@pytest.mark.parametrize(("nodes", "first"), [("node[07-09,12]", "node07"), ("a100-3,b7", "a100-3"), ("n[2,4]", "n2"), ("alone", "alone")])
def test_srun_says_who_a_task_is(empty, nodes, first):
    for name, value in (STEP | {"SLURM_STEP_NODELIST": nodes}).items():
        empty.setenv(name, value)
    place = {"rank": 5, "world_size": 8, "local_rank": 1, "master_addr": first, "master_port": 21_007}
    assert slurm_place() == place
    empty.setenv("MASTER_ADDR", "10.0.0.1")
    empty.setenv("MASTER_PORT", "4000")
    assert slurm_place() == place | {"master_addr": "10.0.0.1", "master_port": 4000}
    empty.setenv("SLURM_STEP_ID", str(2**32 - 5))  # the script of a job
    empty.setenv("SLURM_PROCID", "0")
    assert slurm_place() == {}


# --- a real Slurm ----------------------------------------------------------------------------------------------------------

SLURM = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=100
PartitionName=main Nodes={host} Default=YES State=UP
"""


@pytest.fixture(scope="module")
def slurm():
    "A Slurm of one machine with two CPUs, as root on loopback; a requeued job waits five seconds there, not two minutes."
    path = f"{os.environ['PATH']}:/usr/sbin"
    if missing := [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=path)]:
        pytest.skip(f"{', '.join(missing)} not installed (apt-get install slurm-wlm munge)")
    if os.geteuid():
        pytest.skip("the test's Slurm runs as root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: a socket's path has at most 108 letters
    host = socket.gethostname().partition(".")[0]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        patch.setenv("PATH", path)
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        (folder / "slurm.conf").write_text(SLURM.format(host=host, folder=folder, port=free_port(), node_port=free_port()))
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        names = {"key-file": "key", "socket": "munge.sock", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "seed"}
        daemons = ["munged --foreground --force " + " ".join(f"--{name}={folder / file}" for name, file in names.items())]
        for number, command in enumerate([*daemons, "slurmctld -D", f"slurmd -D -N {host}"]):
            log = stack.enter_context(open(folder / f"{number}.log", "w"))
            daemon = subprocess.Popen(command.split(), stdout=log, stderr=subprocess.STDOUT)
            stack.callback(daemon.wait, 20)
            stack.callback(daemon.terminate)
        until(lambda: "idle" in asked("sinfo", "--noheader"), 30, lambda: "".join(log.read_text() for log in folder.glob("*.log")))
        stack.callback(asked, "scancel", "--user", "root", "--signal", "KILL")
        yield folder


def asked(*command: str, **env) -> str:
    "What a command of Slurm answers."
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=os.environ | env).stdout


def until(true, seconds: float, why):
    "Wait until something is true."
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def test_a_job_that_is_preempted_is_requeued_resumes_and_learns(slurm, tmp_path):
    data, output, log = tiny_processed(tmp_path / "processed", each=16), tmp_path / "models", tmp_path / "log"
    options = f"--data {data} --epochs 12 --batch_size 16 --input_size 32 --precision fp32 --num_threads 1"
    tasks = f"--nodes=1 --ntasks-per-node=2 --gpus-per-node=0 --cpus-per-task=1 --output={log} --parsable"
    submit = ["sbatch", *tasks.split(), str(ROOT / "configs" / "slurm.sbatch"), *options.split()]
    job = asked(*submit, OUTPUT=str(output)).strip()
    run = output / f"slurm_{job}"

    def state():
        said = log.read_text(errors="replace") if log.exists() else ""  # a letter may be half written
        return said + asked("scontrol", "show", "job", job)

    until(lambda: (run / "history.csv").exists(), 300, state)
    asked("scancel", "--signal=TERM", job)  # as Slurm does before it preempts a job, and 90 s before its time is over
    until(lambda: "JobState=COMPLETED" in state(), 400, state)
    said = state()
    assert "Restarts=1" in said and "goes back into the queue" in said and said.count(f"Resuming {run}") == 1, said
    assert said.count("world size 2.") == 2, said
    history = pd.read_csv(run / "history.csv")
    assert list(history["epoch"]) == list(range(1, 13)) and history["val_accuracy"].iloc[-1] >= 0.9


def test_srun_starts_the_check(slurm):
    def srun(words):
        return subprocess.run(["srun", "-n", "2", sys.executable, "-m", *words.split()], capture_output=True, text=True, timeout=300)

    said, lone = srun("vehicle_nb.distributed --check"), srun("vehicle_nb.train")
    assert said.returncode == 0 and all_is_well(said.stdout), said.stdout + said.stderr
    assert "Slurm started 2 tasks that do not know of each other" in lone.stderr and "srun python -m vehicle_nb.distributed" in lone.stderr
