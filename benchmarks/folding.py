"""What does it bring to let convolutions do the work of fixed normalisation (`vehicle_nb.models.cnn.fold_norms`)?

    python benchmarks/folding.py                               some architectures, on the best device that is there
    python benchmarks/folding.py --archs resnet50 --batch_size 128

Forward and backward of one batch in memory as a borrowed network learns (the statistics fixed, the first two of five bands
frozen), and its answers, in turns without folding and with it; the ratio of times (above 1: folding is faster).
"""

import statistics
import time

import torch
from common import each_arch, spread

from vehicle_nb.models.cnn import create_model, fold_norms, freeze_norms, param_groups
from vehicle_nb.training.config import choose_precision

ARCHS = ["mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "mnasnet1_0", "shufflenet_v2_x1_0", "resnet18", "resnet50"]


def seconds(model: torch.nn.Module, xb: torch.Tensor, bf16: bool, learn: bool) -> float:
    "One step without the optimizer, or one batch of answers."
    start = time.perf_counter()
    with torch.set_grad_enabled(learn), torch.autocast(xb.device.type, torch.bfloat16, enabled=bf16):
        answers = model(xb).float()
    if learn:
        answers.square().mean().backward()
        model.zero_grad()
    if xb.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def borrowed(arch: str, device: torch.device) -> torch.nn.Module:
    "A network as it learns after it was borrowed; always with the same weights."
    torch.manual_seed(0)
    model = create_model(arch, 20).to(device).train()
    param_groups(model, lr=1e-3, frozen=2)
    freeze_norms(model)
    return model


def compare(arch: str, device: torch.device, side: int, batch_size: int, turns: int) -> dict:
    "Times of both kinds, turn by turn, and their ratios."
    models = {kind: borrowed(arch, device) for kind in ("plain", "folded")}
    fold_norms(models["folded"])
    xb = (torch.rand(batch_size, 3, side, side, device=device) * 2 - 1).contiguous(memory_format=torch.channels_last)
    precision, row = choose_precision("auto", arch, device), {"arch": arch, "side": side}
    for what in ("learn", "answer"):
        job = {"xb": xb, "bf16": precision == "bf16", "learn": what == "learn"}
        taken = [{kind: seconds(model, **job) for kind, model in models.items()} for _ in range(turns + 1)]
        ratios = [times["plain"] / times["folded"] for times in taken[1:]]  # the first turn warms up
        row[what] = {"ratios": ratios, "seconds": taken[1:]}
        middle = {kind: statistics.median(times[kind] for times in taken[1:]) for kind in models}
        told = f"{1e3 * middle['plain']:7.1f} ms, folded {1e3 * middle['folded']:7.1f}: {spread(ratios, 2)} times as fast"
        print(f"{arch:20} {precision} {what:6} {told}", flush=True)
    return row | {"precision": precision}


if __name__ == "__main__":
    each_arch("folding.py", __doc__, compare, ARCHS, side=224, batch_size=32, turns=8)
