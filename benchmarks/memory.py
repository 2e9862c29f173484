"""What does it bring to keep freed memory (`vehicle_nb.core.keep_memory`)?

    python benchmarks/memory.py                                    three architectures (about three minutes)
    python benchmarks/memory.py --archs resnet50:224 --turns 5

Pictures a second of learning and of answering, page faults a picture and the most memory held, with and without, on the CPU.
Each measurement is a process of its own, because there is no way back; both kinds take turns. The pictures are noise: only the
sizes of the tensors count.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from common import RESULTS, command_line, spread, stamp

from vehicle_nb.core import keep_memory, write_json
from vehicle_nb.models.cnn import create_model
from vehicle_nb.training.dist import share_threads
from vehicle_nb.training.config import choose_precision


def rate(model: torch.nn.Module, xb: torch.Tensor, bf16: bool, learn: bool, seconds: float) -> dict:
    "Pictures a second, and page faults a picture."
    model.train(learn)

    def step():
        with torch.set_grad_enabled(learn), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            answers = model(xb).float()
        if learn:
            answers.square().mean().backward()

    for _ in range(3):  # warms up; the heap grows to its size
        step()
    faults, start, steps = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    pictures = steps * len(xb)
    took, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return {"rate": pictures / took, "faults": (after - faults) / pictures}


def work(task: dict):
    "Measure one architecture, and print."
    share_threads(0)
    if task["kept"]:
        keep_memory()
    torch.manual_seed(0)
    model = create_model(task["arch"], 20)
    xb = torch.randn(task["batch_size"], 3, task["size"], task["size"]).contiguous(memory_format=torch.channels_last)
    bf16 = choose_precision("auto", task["arch"], torch.device("cpu")) == "bf16"
    found = {what: rate(model, xb, bf16, what == "learn", task["seconds"]) for what in ("answer", "learn")}
    print(json.dumps(found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def compare(arch: str, size: int, args: argparse.Namespace) -> dict:
    "Both kinds in turns."
    task = {"arch": arch, "size": size, "batch_size": args.batch_size, "seconds": args.seconds}
    runs = {"as it comes": [], "kept": []}
    for _ in range(args.turns):
        for name, values in runs.items():
            command = [sys.executable, __file__, "--worker", json.dumps(task | {"kept": name == "kept"})]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            values.append(json.loads(out))
    pairs = list(zip(runs["as it comes"], runs["kept"], strict=True))
    ratios = {what: [kept[what]["rate"] / plain[what]["rate"] for plain, kept in pairs] for what in ("learn", "answer")}
    told = ", ".join(f"{what} {spread(values, 2)} times as fast" for what, values in ratios.items())
    peaks = " and ".join(f"{statistics.mean(run['peak_mb'] for run in values):,.0f}" for values in runs.values())
    print(f"{arch} at {size}: {told}; {peaks} MB", flush=True)
    return {"arch": arch, "size": size, "ratios": ratios, "runs": runs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=["vehicle_cnn:128", "mobilenet_v2:224", "resnet18:224"], metavar="ARCH:SIZE")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--batch_size", type=int, default=32)
    args, head = parser.parse_args(), stamp(command_line("memory.py"))
    rows = [compare(arch, int(size), args) for arch, size in (name.split(":") for name in args.archs)]
    write_json(RESULTS / "memory.json", head | {"rows": rows})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
