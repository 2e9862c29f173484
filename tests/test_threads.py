"""How many cores are ours, and how many threads a run takes: quotas, what the user exported, a trial, and what is written down."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny_processed

from vehicle_nb import parallel as pool
from vehicle_nb.training import dist as processes
from vehicle_nb.files import write_json
from vehicle_nb.parallel import cpu_count, cpu_quota, requested_threads, limit_threads, fastest_num_threads
from vehicle_nb.train import train

QUICK = {"input_size": 32, "batch_size": 8, "epochs": 1, "quiet": True}


# --- quotas --------------------------------------------------------------------------------------------------------------

# What /proc/self/cgroup says, which files lie below /sys/fs/cgroup, and the cores' worth of time that they leave.
GROUPS = {
    "v2 alone": ("0::/\n", {"cpu.max": "200000 100000"}, 2.0),
    "v2 without a limit": ("0::/\n", {"cpu.max": "max 100000"}, math.inf),
    "v2 nested, the upper one is the smaller": ("0::/a/b\n", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 1.5),
    "v2 nested, the lower one is the smaller": ("0::/a/b\n", {"a/cpu.max": "max 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
    "v2 beside another group": ("0::/a\n", {"b/cpu.max": "100000 100000"}, math.inf),
    "v2 from inside a namespace": ("0::/../../pod\n", {"cpu.max": "300000 100000"}, 3.0),
    "v2 in a folder of its own": ("0::/a\n", {"unified/a/cpu.max": "100000 100000"}, 1.0),
    "v1": ("4:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "200000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"}, 2.0),
    "v1 without a limit": ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
    "v1 nested": (
        "2:memory:/m\n1:cpu:/slurm/job/step\n0::/\n",
        {"cpu/slurm/job/cpu.cfs_quota_us": "25000", "cpu/slurm/job/cpu.cfs_period_us": "10000",
         "cpu/slurm/job/step/cpu.cfs_quota_us": "-1", "cpu/slurm/job/step/cpu.cfs_period_us": "100000"}, 2.5,
    ),
    "v1 in a container that sees only its own group": (
        "4:cpuacct,cpu:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1.0,
    ),
    "v1 of memory alone": ("2:memory:/m\n", {"m/cpu.cfs_quota_us": "1", "m/cpu.cfs_period_us": "1"}, math.inf),
    "nonsense": ("0::/\n", {"cpu.max": "many"}, math.inf),
    "no time at all": ("0::/\n", {"cpu.max": "1000 0"}, math.inf),
}  # fmt: skip


@pytest.mark.parametrize("case", GROUPS)
def test_a_quota_is_the_smallest_on_the_way_to_the_root(case, tmp_path, monkeypatch):
    said, files, cores = GROUPS[case]
    (tmp_path / "groups").write_text(said)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cpu_quota(tmp_path / "groups", tmp_path / "fs") == cores
    monkeypatch.setattr(pool, "cpu_quota", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    assert cpu_count() == max(1, math.floor(min(8, cores)))


def test_where_there_are_no_control_groups_all_cores_count(tmp_path):
    assert cpu_quota(tmp_path / "nothing") == math.inf


def test_cores_are_counted_in_one_place():
    files = list(Path(pool.__file__).parent.rglob("*.py"))
    words = ("os.cpu_count", "sched_getaffinity", "process_cpu_count")
    counting = [path.name for path in files if any(word in path.read_text(encoding="utf-8") for word in words)]
    assert len(files) > 40 and counting == ["parallel.py"]


def test_a_command_computes_with_no_more_threads_than_its_quota(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(pool, "cpu_quota", lambda: 1.0)
    torch.set_num_threads(2)
    try:
        limit_threads()
        assert torch.get_num_threads() == 1
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        limit_threads()
        assert torch.get_num_threads() == 2, "what the user says holds"
    finally:
        torch.set_num_threads(before)


# --- what the user said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said, threads", [(None, 0), ("", 0), ("3", 3), (" 3 ", 3), ("4,2", 4), ("many", 0), ("-1", 0)])
def test_an_exported_number_of_threads_is_read(said, threads, monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert requested_threads() == threads


ASK = "import os, subprocess, sys; os.environ.update(OMP_NUM_THREADS={!r}, {}='none'); "
ASK += "subprocess.run([sys.executable, '-c', 'import vehicle_nb.parallel as p; print(p.requested_threads())', *sys.argv[1:]])"


@pytest.mark.parametrize("launcher", ["TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"])
@pytest.mark.parametrize(
    "exported, options, threads", [(None, [], 0), ("1", [], 1), ("3", [], 3), (None, ["--num_cpu_threads_per_process=1"], 1)]
)
def test_what_a_launcher_sets_by_itself_is_not_taken_for_the_users_word(launcher, exported, options, threads):
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env |= {"OMP_NUM_THREADS": exported} if exported else {}
    command = [sys.executable, "-c", ASK.format(exported or "1", launcher), *options]
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(threads)


# --- the trial, and what is written down ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "costs, best",
    [({4: 1.0, 2: 1.5, 1: 3.0}, 4), ({4: 9.0, 2: 1.5, 1: 3.0}, 2), ({4: 20.0, 2: 20.0, 1: 1.0}, 1), ({1: 1.0}, 1), ({3: 1.0, 1: 1.2}, 3)],
    ids=["quiet", "half busy", "busy", "one core", "three cores"],
)
def test_the_quickest_number_of_threads_wins_in_bounded_time(costs, best, monkeypatch):
    now = {"time": 0.0, "threads": max(costs)}

    class Layer:
        def __call__(self, xb):
            now["time"] += costs[now["threads"]] / 100
            return torch.ones(1, requires_grad=True)

    class Clock:
        monotonic = perf_counter = staticmethod(lambda: now["time"])

    monkeypatch.setattr(pool, "time", Clock)
    monkeypatch.setattr(torch.nn, "Conv2d", lambda *_, **__: Layer())
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: now.update(threads=threads))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert fastest_num_threads(max(costs)) == best
    assert now["threads"] == 7 or len(costs) == 1, "what was set before is set again"
    assert now["time"] < 2


@pytest.fixture(scope="module")
def processed(tmp_path_factory) -> Path:
    return tiny_processed(tmp_path_factory.mktemp("data") / "processed", each=4)


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def written(models: Path) -> int:
    return json.loads((models / "run" / "train_config.json").read_text())["num_threads"]


def cut_off(models: Path):
    "Make a finished run one that was stopped just before its end."
    config = models / "run" / "config.json"
    write_json(config, json.loads(config.read_text()) | {"finished": False})


def test_the_trials_number_is_written_and_a_resumed_run_keeps_it(processed, tmp_path, monkeypatch):
    options = {"data": str(processed), "output": str(tmp_path), "run_name": "run", **QUICK}
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes, "cpu_count", lambda: 4)
    monkeypatch.setattr(processes.psutil, "cpu_count", lambda **_: 4)
    monkeypatch.setattr(processes, "fastest_num_threads", lambda most: most - 1)
    train(**options)
    assert written(tmp_path) == torch.get_num_threads() == 3
    monkeypatch.setattr(processes, "fastest_num_threads", lambda most: pytest.fail("a resumed run tries nothing"))
    torch.set_num_threads(1)
    cut_off(tmp_path)
    train(**options, resume=True)
    assert written(tmp_path) == torch.get_num_threads() == 3
    cut_off(tmp_path)
    train(**options, resume=True, num_threads=2)
    assert written(tmp_path) == torch.get_num_threads() == 2, "who says --num_threads means it"


@pytest.mark.parametrize("options, exported, threads", [({"num_threads": 2}, "3", 2), ({}, "3", 3)])
def test_what_was_asked_for_is_not_tried(processed, tmp_path, monkeypatch, options, exported, threads, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", exported)
    monkeypatch.setattr(processes, "fastest_num_threads", lambda most: pytest.fail("nobody asked for a trial"))
    train(data=str(processed), output=str(tmp_path), run_name="run", **QUICK | {"quiet": False}, **options)
    assert written(tmp_path) == torch.get_num_threads() == threads
    assert f"1 process of {threads} threads on cpu" in capsys.readouterr().out
