"""A run of two processes that is killed twenty times, at random moments, is the same run in the end."""

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from runs import same_run

from vehicle_nb.training.checkpoints import list_checkpoints


def start(options: str) -> subprocess.Popen:
    "Start a run of two processes."
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "vehicle_nb.train"]
    env = os.environ | {"PYTHONUNBUFFERED": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen([*launch, *options.split()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)


def kill(run: subprocess.Popen, wait: float):
    "Kill all processes of a run without warning, so many seconds after its first line, which it prints before its first step."
    assert run.stdout.readline(), "it printed nothing"
    with suppress(subprocess.TimeoutExpired):
        run.wait(wait)
        pytest.fail("the run ended before it was killed: it needs more epochs")
    launcher = psutil.Process(run.pid)
    ranks = launcher.children(recursive=True)
    for process in (launcher, *ranks):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    run.wait()
    psutil.wait_procs(ranks, timeout=30)


@pytest.mark.timeout(3600)
def test_a_run_that_is_killed_twenty_times_ends_with_the_very_same_weights(processed_set, tmp_path: Path, request):
    if "slow" not in request.config.getoption("--flags"):
        pytest.skip("twenty starts of two processes take ten minutes (test_training.py kills once): --flags slow")
    size = "--input_size 32 --batch_size 8 --precision fp32 --num_threads 1"
    new = f"--data {processed_set} --output {tmp_path} --epochs 60 --checkpoint_every 1 {size}"
    begin = time.monotonic()
    assert start(f"{new} --run_name whole").communicate()[0] and (tmp_path / "whole" / "model.safetensors").is_file()
    longest = (time.monotonic() - begin) / 20  # so that it is not at its end before the last kill
    moments = random.Random(0)
    for _ in range(20):
        resume = f"--output {tmp_path} --run_name broken --resume"
        kill(start(resume if list_checkpoints(tmp_path / "broken") else f"{new} --run_name broken"), moments.uniform(0, longest))
    assert list_checkpoints(tmp_path / "broken"), "it never came to a checkpoint"
    assert start(f"--output {tmp_path} --run_name broken --resume").communicate()[0]
    same_run(tmp_path / "whole", tmp_path / "broken")
