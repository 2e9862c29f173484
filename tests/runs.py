"""When two runs are the same run, and where processes may meet."""

import socket
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from vehicle_nb.training.checkpoints import HISTORY_METRICS


def same_run(one: Path, other: Path):
    "Both runs have the same weights and the same history, to the last bit."
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    histories = [pd.read_csv(run / "history.csv")[HISTORY_METRICS] for run in (one, other)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def free_port() -> int:
    "A port that nobody uses now."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def on_the_cpu_below(gpus: int):
    "So many ranks need a GPU each, or none."
    with pytest.MonkeyPatch.context() as patch:
        if torch.cuda.device_count() < gpus:
            patch.setenv("ACCELERATE_USE_CPU", "true")
        yield
