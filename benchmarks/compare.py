"""How much faster is a training step, or a prediction, with one thing changed? One batch in memory, alternating, on the best device.

    python benchmarks/compare.py bf16                                          bf16 against float32, forward and backward
    python benchmarks/compare.py fold                                          batch norms folded into convolutions, against not
    python benchmarks/compare.py memory                                        freed memory kept, against given back (CPU)
    python benchmarks/compare.py bf16 --archs resnet50 vit_b_16 --side 224 --batch_size 128 --repeats 3

`bf16`: the table that the default precision follows. `fold`: a pretrained network as it is fine-tuned, its statistics and the
first two layer groups frozen. `memory`: each measurement is a process of its own, because there is no way back.
"""

import json
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from common import parser, save, spread, table

from vehicle_nb.core import best_device, tune_malloc
from vehicle_nb.models.registry import create_model
from vehicle_nb.models.finetune import freeze_bn, param_groups
from vehicle_nb.models.folding import fold_bn
from vehicle_nb.training.config import choose_precision
from vehicle_nb.training.dist import use_cpu, set_num_threads

ARCHS = {
    "bf16": "vehicle_cnn resnet18 resnet50 vgg11 densenet121 squeezenet1_1 mobilenet_v2 mobilenet_v3_small efficientnet_b0 mnasnet1_0 "
            "shufflenet_v2_x1_0 regnet_y_400mf convnext_tiny vit_b_16",
    "fold": "mobilenet_v2 mobilenet_v3_small efficientnet_b0 mnasnet1_0 shufflenet_v2_x1_0 resnet18 resnet50",
    "memory": "vehicle_cnn mobilenet_v2 resnet18",
}  # fmt: skip


def network(what: str, arch: str, device: torch.device, changed: bool) -> torch.nn.Module:
    "A network, always with the same weights."
    torch.manual_seed(0)
    model = create_model(arch, 20).to(device).train()
    if what == "fold":
        param_groups(model, lr=1e-3, freeze_groups=2)
        freeze_bn(model)
        if changed:
            fold_bn(model)
    return model


def seconds(model: torch.nn.Module, xb: torch.Tensor, bf16: bool, learn: bool) -> float:
    "One step without the optimizer, or one prediction."
    start = time.perf_counter()
    with torch.set_grad_enabled(learn), torch.autocast(xb.device.type, torch.bfloat16, enabled=bf16):
        logits = model(xb).float()
    if learn:
        F.cross_entropy(logits, torch.zeros(len(xb), dtype=torch.long, device=xb.device)).backward()
        model.zero_grad()
    if xb.device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


def measure(task: dict, device: torch.device, models: dict[bool, torch.nn.Module]) -> dict[bool, list[float]]:
    "Seconds with and without the change, alternating; the first repeat warms up and is left out."
    shape = (task["batch_size"], 3, task["side"], task["side"])
    xb = (torch.rand(shape, device=device) * 2 - 1).contiguous(memory_format=torch.channels_last)
    auto = choose_precision(task["arch"], device) == "bf16"
    times = {changed: [] for changed in models}
    for _ in range(task["repeats"] + 1):
        for changed, model in models.items():
            times[changed].append(seconds(model, xb, changed if task["what"] == "bf16" else auto, task["learn"]))
    return {changed: values[1:] for changed, values in times.items()}


def compare(task: dict, device: torch.device) -> dict[bool, list[float]]:
    "Both sides of a comparison."
    if task["what"] != "memory":
        return measure(task, device, {changed: network(task["what"], task["arch"], device, changed) for changed in (False, True)})
    times = {}
    for changed in (False, True):
        command = [sys.executable, __file__, "--worker", json.dumps(task | {"changed": changed})]
        times[changed] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return times


def work(task: dict):
    "The process of one measurement of `memory`."
    set_num_threads(0)
    if task["changed"]:
        tune_malloc()
    print(json.dumps(measure(task, torch.device("cpu"), {True: network("memory", task["arch"], torch.device("cpu"), True)})[True]))


def main():
    parse = parser(__doc__)
    parse.add_argument("what", choices=ARCHS)
    parse.add_argument("--archs", nargs="+")
    parse.add_argument("--side", type=int, default=224)
    parse.add_argument("--batch_size", type=int, default=32)
    parse.add_argument("--repeats", type=int, default=8)
    args = parse.parse_args()
    set_num_threads(0)
    if args.what != "memory":
        tune_malloc()
    device = torch.device("cpu") if args.what == "memory" or use_cpu() else best_device()
    rows, measured = [], []
    for arch in args.archs or ARCHS[args.what].split():
        for learn in (True,) if args.what == "bf16" else (True, False):
            task = {name: getattr(args, name) for name in ("what", "side", "batch_size", "repeats")} | {"arch": arch, "learn": learn}
            times = compare(task, device)
            ratios = [before / after for before, after in zip(times[False], times[True], strict=True)]
            rows.append({"arch": arch, "step": "train" if learn else "predict", "without, ms": 1e3 * statistics.median(times[False]),
                         "with, ms": 1e3 * statistics.median(times[True]), "times as fast": spread(ratios)})  # fmt: skip
            measured.append(task | {"without": times[False], "with": times[True], "ratios": ratios})
            print(rows[-1], flush=True)
    table(rows)
    save(f"{args.what}" if args.name == "compare" else args.name, device=device.type, rows=measured)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
