"""Is a run that is killed again and again the same run in the end?

    python benchmarks/kills.py PROCESSED --kills 20

One run goes through undisturbed. Another, with the same seed, is killed with SIGKILL (all its processes at once) at random
moments and resumed each time. In the end both must have the same weights and the same history, to the last bit.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from common import RESULTS, command_line, same_run, stamp

from vehicle_nb.core import write_json
from vehicle_nb.training.checkpoints import list_checkpoints


def start(processes: int, options: str) -> subprocess.Popen:
    "Start a run whose processes can be killed together."
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [*run, "-m", "vehicle_nb.train", *options.split()]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)


def kill_once(process: subprocess.Popen, folder: Path, wait: float) -> dict | None:
    "Let it come to its first step, wait, kill it; None when it had ended by itself."
    for line in process.stdout:  # it speaks before its first step
        if "Everything goes to" in line:
            break
    time.sleep(wait)
    if process.poll() is not None:
        return None
    launcher = psutil.Process(process.pid)
    for one in [launcher, *launcher.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    time.sleep(0.2)
    done = list_checkpoints(folder)
    in_save = bool(list((folder / "checkpoints").glob(".part-*")))
    return {"seconds_after_start": round(wait, 2), "inside_a_save": in_save, "newest_whole": done[-1].stem if done else "none"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processed", help="folder that vehicle_preprocess wrote")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    moments, rows = random.Random(args.seed), []
    with tempfile.TemporaryDirectory() as models:
        new = f"--processed {args.processed} --models {models} --epochs {args.epochs} --input_size 32 --batch_size 16 --save_every 1"
        whole = start(args.processes, f"{new} --run_name whole")
        print(whole.communicate()[0])
        broken = Path(models) / "broken"
        while len(rows) < args.kills:
            resume = f"--models {models} --run_name broken --resume" if list_checkpoints(broken) else f"{new} --run_name broken"
            row = kill_once(start(args.processes, resume), broken, moments.uniform(0.05, 3))
            if row is None:
                sys.exit(f"The run ended after {len(rows)} kills: give more --epochs.")
            rows.append(row)
            print(f"kill {len(rows)}: {row}", flush=True)
        out = start(args.processes, f"--models {models} --run_name broken --resume").communicate()[0]
        outcome = same_run(Path(models) / "whole", broken)
    print(out, "the same weights and history" if outcome else "NOT the same", sep="\n")
    print("| kill | s after start | inside a save | newest whole checkpoint |\n|---:|---:|---|---|")
    for i, row in enumerate(rows):
        print(f"| {i + 1} | {row['seconds_after_start']} | {'yes' if row['inside_a_save'] else 'no'} | {row['newest_whole']} |")
    name = f"kills-{args.processes}.json"
    write_json(RESULTS / name, stamp(command_line("kills.py")) | {"processes": args.processes, "kills": rows, "same_in_the_end": outcome})
    sys.exit(not outcome)


if __name__ == "__main__":
    main()
