"""Where is bf16 faster than float32?

    python benchmarks/precision.py                               some architectures, on the best device that is there
    python benchmarks/precision.py --archs resnet50 vit_b_16 --side 224 --batch_size 128

Forward and backward of one batch in memory, both precisions in turns; the ratio of times, float32 over bf16 (above 1: bf16 is
faster). `choose_precision` in lesson 05 follows this table.
"""

import statistics
import time

import torch
import torch.nn.functional as F
from common import each_arch

from vehicle_nb.models.cnn import create_model
from vehicle_nb.training.config import choose_precision

ARCHS = [
    "vehicle_cnn", "resnet18", "resnet50", "vgg11", "densenet121", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small",
    "efficientnet_b0", "mnasnet1_0", "shufflenet_v2_x1_0", "regnet_y_400mf", "convnext_tiny", "vit_b_16",
]  # fmt: skip


def seconds(model, xb, yb, dtype) -> float:
    "One step without the optimizer."
    start = time.perf_counter()
    with torch.autocast(xb.device.type, torch.bfloat16, enabled=dtype == "bf16"):
        loss = F.cross_entropy(model(xb).float(), yb)
    loss.backward()
    model.zero_grad()
    if xb.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(arch: str, device: torch.device, side: int, batch_size: int, turns: int) -> dict:
    "Median times of both precisions, and their ratio."
    torch.manual_seed(0)
    side = 224 if arch.startswith("vit") else side
    model = create_model(arch, 20).to(device).train()
    xb = (torch.rand(batch_size, 3, side, side, device=device) * 2 - 1).contiguous(memory_format=torch.channels_last)
    yb, times = torch.randint(0, 20, (batch_size,), device=device), {"fp32": [], "bf16": []}
    for _ in range(turns + 1):
        for dtype, values in times.items():
            values.append(seconds(model, xb, yb, dtype))
    middle = {dtype: statistics.median(values[1:]) for dtype, values in times.items()}  # the first one warms up
    row = {"arch": arch, "side": side, "chosen": choose_precision("auto", arch, device), "ratio": middle["fp32"] / middle["bf16"]}
    times_told = "   ".join(f"{dtype} {value * 1e3:7.1f} ms" for dtype, value in middle.items())
    print(f"{arch:20} {times_told}   {row['ratio']:.2f}   auto: {row['chosen']}", flush=True)
    return row | {"seconds": {dtype: values[1:] for dtype, values in times.items()}}


if __name__ == "__main__":
    each_arch("precision.py", __doc__, compare, ARCHS, side=128, batch_size=16, turns=5)
