"""What only a GPU can say about training: is a replayed step the step, how fast is it, and what do larger batches bring?

    bash benchmarks/gpu.sh                            all parts, in under ten minutes on one GPU; exit code 1 where something is wrong
    python benchmarks/gpu.py same PROCESSED           twelve steps, replayed as a graph and not: the same weights to the last bit?
    python benchmarks/gpu.py speed PROCESSED          images a second: one operation at a time, as a graph, compiled; and a bare step
    python benchmarks/gpu.py depthwise PROCESSED      what cuDNN costs and brings for mobilenet_v2: first steps, later steps, passes
    python benchmarks/gpu.py batch PROCESSED          accuracy after equal epochs with larger batches, rate times the root of the factor

`speed` counts as reached what the graph is there for: 0.8 of the bare step, which is compiled and replayed, too, but neither
augments nor averages. The seconds of the first steps say after how many images of one size `--compile on` has paid for itself.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from common import parser, percent, save, spread, table, train_once

from vehicle_nb.models.registry import create_model
from vehicle_nb.training.config import TrainConfig, resolve_defaults
from vehicle_nb.training.graph import WARM_UP
from vehicle_nb.training.loop import Trainer

ARCHS = "vehicle_cnn resnet18 mobilenet_v2 densenet121 squeezenet1_1 vit_b_16 swin_t convnext_tiny"


def trainer(args, path: str, **options) -> Trainer:
    "A trainer in training mode."
    torch.backends.cudnn.deterministic = True  # as in a run
    config = TrainConfig(data=args.processed, epochs=100, progressive=False, **options)
    made = Trainer(resolve_defaults(config, torch.device("cuda", 0)), Path(path), Accelerator())
    made.train_mode()
    return made


def endless(run: Trainer) -> Iterator[tuple]:
    "Batches of one size, epoch after epoch."
    rows = run.sampler.largest()
    for epoch in itertools.count():
        for part in (run.sampler, run.augment, run.mix, run.make_outliers):
            part.set_epoch(epoch)
        yield from (batch for batch in run.loaders["train"] if len(batch[1]) == rows)


def steps(run: Trainer, batches: Iterator[tuple], count: int) -> float:
    "Seconds that so many steps take."
    torch.accelerator.synchronize()
    start = time.perf_counter()
    for batch in itertools.islice(batches, count):
        run.train_step(batch, len(batch[1]))
        run.state.step += 1
    torch.accelerator.synchronize()
    return time.perf_counter() - start


def same(args) -> list[dict]:
    "Weights after a dozen steps, replayed and not."
    rows = []
    for arch in args.archs:
        weights, row = [], {"arch": arch, "recorded": "", "same": ""}
        for how in ("off", "graph"):
            with tempfile.TemporaryDirectory() as path:
                run = trainer(args, path, arch=arch, compile=how, batch_size=8, input_size=224 if arch in ("vit_b_16", "swin_t") else 96)
                steps(run, endless(run), 12)
            weights.append([*run.unwrapped.state_dict().values(), *run.ema.module.state_dict().values()])
        row["recorded"] = "no" if run.graphs.failed or not run.graphs.graphs else "yes"
        row["same"] = "yes" if all(torch.equal(a, b) for a, b in zip(*weights, strict=True)) else "NO"
        rows.append(row)
        print(row, flush=True)
    return rows


def bare(arch: str, side: int, batch: int) -> float:
    "Images a second of forward, backward and optimizer, compiled and replayed; the network and the batch are made once."
    torch.manual_seed(0)
    model = create_model(arch, 20).cuda().train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    xb = torch.randn(batch, 3, side, side, device="cuda").contiguous(memory_format=torch.channels_last)
    yb = torch.zeros(batch, dtype=torch.int64, device="cuda")

    @torch.compile(mode="reduce-overhead")
    def loss_of(xb):
        with torch.autocast("cuda", torch.bfloat16):
            return F.cross_entropy(model(xb).float(), yb)

    for count in (10, 100):  # the first ones warm up
        torch.accelerator.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            loss_of(xb).backward()
            optimizer.step()
            optimizer.zero_grad()
        torch.accelerator.synchronize()
    return 100 * batch / (time.perf_counter() - start)


def speed(args) -> list[dict]:
    "Images a second, and the seconds before."
    rows = []
    for name in args.networks:
        arch, side, batch = name.split(":")
        limit = bare(arch, int(side), int(batch))
        for how in ("off", "graph", "on"):
            with tempfile.TemporaryDirectory() as path:
                run = trainer(args, path, arch=arch, compile=how, batch_size=int(batch), input_size=int(side))
                batches = endless(run)
                first = steps(run, batches, WARM_UP + 2)
                rates = [100 * int(batch) / steps(run, batches, 100) for _ in range(args.repeats)]
            share = max(rates) / limit
            row = {"network": name, "compile": how, "first steps, s": first, "images/s": spread(rates, 0), "of the bare step": share}
            rows.append(row | {"goal of 0.8": "" if how == "off" else "yes" if share >= 0.8 else "no", "rates": rates})
            print(row, flush=True)
            del run, batches
            torch.accelerator.empty_cache()
        graph, on = (rows[i] for i in (-2, -1))
        saved = 1 / max(graph["rates"]) - 1 / max(on["rates"])
        images = (on["first steps, s"] - graph["first steps, s"]) / (saved or 1)
        print(f"{name}: torch.compile {f'pays after {images:,.0f} images' if saved > 0 else 'never pays'}.", flush=True)
    return rows


DEPTHWISE = {"as it is": "", "searching": "torch.backends.cudnn.benchmark = True", "without cuDNN": "torch.backends.cudnn.enabled = False"}


def depthwise_worker(args) -> dict:
    "Seconds of one process, which has met no shape before."
    with tempfile.TemporaryDirectory() as path:
        run = trainer(args, path, arch="mobilenet_v2", freeze_bn=True, freeze_groups=2, batch_size=32, input_size=224)
        exec(DEPTHWISE[args.variant])  # after `trainer`, which sets what a run sets
        batches = endless(run)
        row = {"cuDNN": args.variant, "first step, s": steps(run, batches, 1), "five more, s": steps(run, batches, WARM_UP + 2)}
        row["a step, ms"] = 1000 * steps(run, batches, 30) / 30
        for name, exact in (("bf16 pass, s", False), ("fp32 pass, s", True)):
            start = time.perf_counter()
            run.predict("val", exact)[0].sum().item()
            row[name] = time.perf_counter() - start
    return row


def depthwise(args) -> list[dict]:
    "Each variant in a process of its own: what cuDNN has found once it keeps."
    rows = []
    for variant in DEPTHWISE:
        command = [sys.executable, __file__, "depthwise", args.processed, "--variant", variant]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]))
    return rows


def batch(args) -> list[dict]:
    "Accuracy and seconds of whole runs."
    rows = []
    for size in args.sizes:
        rate = 4e-3 * (size / 32) ** 0.5
        options = f"--batch_size {size} --lr {rate} --epochs {args.epochs} --compile graph"
        runs = [train_once(args.processed, f"--seed {seed} {options}") for seed in args.seeds]
        seconds = [sum(float(epoch["seconds"]) for epoch in run["history"]) for run in runs]
        accuracies = {name: [run["metrics"][name] for run in runs] for name in ("val_accuracy", "test_accuracy")}
        row = {"batch": size, "lr": rate, "epochs": args.epochs, "training, s": spread(seconds, 1)}
        rows.append(row | {name.replace("_", " ") + ", %": percent(values) for name, values in accuracies.items()} | accuracies)
        print(rows[-1], flush=True)
    return rows


def main():
    parse: argparse.ArgumentParser = parser(__doc__)
    parse.add_argument("part", choices=("same", "speed", "depthwise", "batch"))
    parse.add_argument("processed", help="folder that vehicle_preprocess wrote")
    parse.add_argument("--archs", nargs="+", default=ARCHS.split())
    parse.add_argument("--networks", nargs="+", default=["vehicle_cnn:128:32", "resnet50:224:128"], metavar="ARCH:SIZE:BATCH")
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--sizes", type=int, nargs="+", default=[32, 128])
    parse.add_argument("--epochs", type=int, default=12)
    parse.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parse.add_argument("--variant", choices=DEPTHWISE, help="for the processes of `depthwise`")
    args = parse.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py needs a GPU with CUDA.")
    if args.variant:
        return print(json.dumps(depthwise_worker(args)))
    rows = globals()[args.part](args)
    table([{name: cell for name, cell in row.items() if not isinstance(cell, list)} for row in rows])
    save(f"gpu-{args.part}" if args.name == "gpu" else args.name, rows=rows)
    if args.part == "same" and any(row["same"] != "yes" for row in rows):
        sys.exit("A REPLAYED STEP IS NOT THE STEP: see the table.")


if __name__ == "__main__":
    main()
