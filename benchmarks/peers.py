"""How do we compare with the scripts that people use, on the same images, the same cores and the same network?

    python benchmarks/peers.py data/processed                       both questions, see below (about 35 minutes)
    python benchmarks/peers.py data/processed --minutes 0           the rate alone
    python benchmarks/peers.py data/processed --minutes 0 --raw data/raw    the rate where peers get the photos as found
    python benchmarks/peers.py data/processed --rate --minutes 2 --arch mobilenet_v2 --weights FILE     accuracy, pretrained
    python benchmarks/peers.py data/processed --minutes 0 --device cuda --peer_bf16 --batch 128         the rate on one GPU

The peers, each with its usual recipe: loops like torchvision's references and Accelerate's cv_example; timm; fastai. Each is a
process of its own, on the same device, with the same number of threads. It reads the set's JPEGs, which preprocessing has made
small; with `--raw` the photos that these were made of, which is what such scripts are usually started with. A peer has no loading
processes or one a thread, whichever a short trial found to be faster for it (beside a GPU: one a thread). Ours is vehicle_train
as it is, so beside a GPU with whatever it chooses there. `--rate NAME:SIZE … --repeats 1 --seconds 3` fits into a short visit.

1. Rate: images a second of real training at one image size, alternating; the first steps (ours: epochs) warm up and are left out.
2. Accuracy: as many epochs as fit into the minutes, the schedule as long as they. Ours is started with `--max_minutes` alone, which
   counts validation, too; a peer gets as many epochs as a trial of its rate says, and its clock stops before it is evaluated. With
   `--weights` all begin with the same pretrained features, and peers with the recipe that their makers show for that.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module, util
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from common import images_per_second, parser, save, spread, table, train_once
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, SequentialLR
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from vehicle_nb.data.augment import normalize_batch
from vehicle_nb.data.dataset import list_split, read_config
from vehicle_nb.features import ImageNetNormalize
from vehicle_nb.models.registry import create_model
from vehicle_nb.parallel import cpu_count

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODULES = {"timm": "timm", "fastai": "fastai.vision.all"}  # what a peer needs besides our own requirements


class Stop(Exception):
    "The time is up."


@dataclass(frozen=True)
class Task:
    "What one process has to do."

    name: str  # ours, or a peer
    processed: str
    arch: str
    size: int  # side of the network's input; 0: the default, which ours alone has
    threads: int
    batch: int
    seed: int
    workers: int = 0  # loading processes
    epochs: int = 0  # 0: only measure the rate
    seconds: float = 0.0  # rate: measure at least so long; accuracy: end by then
    bf16: bool = False  # peers: the arithmetic that ours uses
    weights: str = ""  # file of pretrained weights
    photos: str = ""  # peers: folder with the training photos as they were found, instead of the set's images
    device: str = "cpu"  # or "cuda"


class Run:
    "The clock of one peer."

    def __init__(self, task: Task):
        self.task, self.epochs = task, task.epochs or 1000  # a rate needs no end but the clock's
        self.device, self.gpu = torch.device(task.device), task.device == "cuda"
        self.classes = read_config(task.processed)["classes"]
        self.folder = Path(task.photos or task.processed)  # where a peer finds its images
        self.ticks, self.model, self.look, self.cut = [(0.0, 0)], None, 1.0, False
        self.warm = max(4, 2 * task.workers)  # steps that the rate leaves out: as many batches as are prepared ahead
        self.start = time.perf_counter()

    def network(self, build=None) -> nn.Module:
        "The network that peers train, for images normalised as ImageNet's; in PyTorch's default memory format."
        torch.manual_seed(self.task.seed)
        model = build() if build else create_model(self.task.arch, len(self.classes), self.task.weights or None)
        model = model[1] if isinstance(model, nn.Sequential) else model  # leaves our normalisation out
        self.model = model.to(self.device, memory_format=torch.channels_last if self.task.bf16 else torch.contiguous_format)
        if self.task.bf16:
            plain = model.forward

            def forward(x):
                with torch.autocast(self.task.device, torch.bfloat16, enabled=model.training):  # evaluation stays exact
                    return plain(x).float()

            model.forward = forward
        return self.model

    def step(self, images: int):
        "Note that so many images were trained on; end the run when the time is up."
        waits = (len(self.ticks) - self.warm) % 16 == 0  # a GPU lags behind what it was told: wait for it now and then
        if self.gpu and waits:
            torch.cuda.synchronize()
        self.ticks.append((time.perf_counter() - self.start, images))
        times = [at for at, _ in self.ticks]
        if self.task.epochs:  # end before the step that would pass the limit
            self.cut = 2 * times[-1] - times[-2] > self.task.seconds
        elif len(times) > self.warm + 8 and (waits or not self.gpu):
            self.cut = times[-1] - times[self.warm] >= self.task.seconds
        if self.cut:
            raise Stop("The time is up.")

    def result(self) -> dict:
        "Rate, and accuracy if the run had epochs."
        times, counts = zip(*self.ticks, strict=True)
        found = {"rate": sum(counts[self.warm + 1 :]) / (times[-1] - times[self.warm]) if len(times) > self.warm + 1 else None}
        if self.task.epochs:
            model = nn.Sequential(ImageNetNormalize(), self.model)
            found |= {f"{split}_accuracy": accuracy(model, self.task, split, self.look) for split in ("val", "test")}
        return found | {"cut": self.cut, "epochs": self.task.epochs, "minutes": times[-1] / 60, "workers": self.task.workers}


@torch.no_grad()
def accuracy(model: nn.Module, task: Task, split: str, look: float) -> float:
    "Accuracy of a network that takes [-1, 1] and looks at the middle `look` of each side."
    files, labels = list_split(task.processed, split, read_config(task.processed)["classes"])
    images = torch.from_numpy(np.stack([Image.open(path).convert("RGB") for path in files]))
    edge = round(images.shape[1] * (1 - look) / 2)
    images = images[:, edge : images.shape[1] - edge, edge : images.shape[2] - edge]
    model.eval()
    logits = torch.cat([model(normalize_batch(batch.to(task.device), task.size)).cpu() for batch in images.split(64)])
    return (logits.argmax(1) == torch.from_numpy(labels)).float().mean().item()


def torchvision_style(run: Run):
    "torchvision's references/classification: SGD, warm-up and cosine, label smoothing; 0.5 for 1,024 images a step."
    t = run.task
    usual = 0.001 / 4 if t.weights else 0.5 / 1024  # for each image in a step; PyTorch's tutorial fine-tunes with 0.001 for four
    crop = [T.RandomResizedCrop(t.size, antialias=True), T.RandomHorizontalFlip(), T.PILToTensor()]
    tfms = T.Compose([*crop, T.ConvertImageDtype(torch.float), T.Normalize(MEAN, STD)])
    data = ImageFolder(run.folder / "train", tfms)
    loader = DataLoader(data, t.batch, shuffle=True, num_workers=t.workers, pin_memory=run.gpu)
    model, run.look = run.network(), 0.875  # its evaluation resizes to 256 and cuts out 224
    optimizer = torch.optim.SGD(model.parameters(), lr=usual * t.batch, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    total = run.epochs * len(loader)
    warm = max(1, total // 18)  # 5 of 90 epochs; in steps, because there may be only a few epochs
    parts = [LinearLR(optimizer, 0.01, total_iters=warm), CosineAnnealingLR(optimizer, max(1, total - warm))]
    schedule = SequentialLR(optimizer, parts, milestones=[warm])
    for _ in range(run.epochs):
        model.train()
        for image, target in loader:
            loss = criterion(model(image.to(run.device)), target.to(run.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            run.step(len(target))


def timm_style(run: Run):
    "timm: its loader, its model, AdamW without decay for biases and norms, cosine with warm-up, label smoothing."
    import timm
    from timm import data, optim, scheduler
    from timm.loss import LabelSmoothingCrossEntropy

    t, classes = run.task, len(run.classes)
    images = data.create_dataset("", root=run.folder, split="train", is_training=True)
    options = {"color_jitter": 0.4, "interpolation": "random", "num_workers": t.workers, "device": run.device}
    loader = data.create_loader(images, (3, t.size, t.size), t.batch, is_training=True, **options)
    known = t.arch in timm.list_models() and not t.weights
    model = run.network((lambda: timm.create_model(t.arch, num_classes=classes)) if known else None)
    run.look = 0.875  # its crop_pct
    optimizer = optim.create_optimizer_v2(model, opt="adamw", lr=3e-4 if t.weights else 1e-3, weight_decay=0.05)
    steps = {"step_on_epochs": False, "updates_per_epoch": len(loader), "warmup_epochs": run.epochs / 18}
    schedule, _ = scheduler.create_scheduler_v2(optimizer, "cosine", run.epochs, **steps)
    criterion, updates = LabelSmoothingCrossEntropy(0.1), 0
    for _ in range(run.epochs):
        model.train()
        for image, target in loader:
            loss = criterion(model(image), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            updates += 1
            schedule.step_update(num_updates=updates)
            run.step(len(target))


def fastai_style(run: Run):
    "fastai: its book's recipe for a ResNet from scratch (chapter 14), one cycle up to 0.003."
    from fastai.vision import all as fv

    t = run.task
    fv.default_device(run.gpu)
    tfms = [*fv.aug_transforms(size=t.size, min_scale=0.5), fv.Normalize.from_stats(*fv.imagenet_stats)]
    # The set's images have one size; photos need one to make a batch.
    alone = fv.Resize(round(t.size * 8 / 7)) if t.photos else None
    options = {"item_tfms": alone, "batch_tfms": tfms, "bs": t.batch, "num_workers": t.workers, "device": run.device}
    dls = fv.ImageDataLoaders.from_folder(run.folder, train="train", valid="val", **options)

    class Clock(fv.Callback):
        "Counts steps; leaves out fastai's own validation."

        def after_batch(self):
            run.step(len(self.y))

        def before_validate(self):
            raise fv.CancelValidException

    model = run.network()
    parts = (lambda m: [list(m.features.parameters()), list(m.classifier.parameters())]) if t.weights else fv.trainable_params
    learn = fv.Learner(dls, model, loss_func=nn.CrossEntropyLoss(), splitter=parts, cbs=Clock())
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, fv.Recorder | fv.ProgressCallback)])
    if t.weights and t.epochs:  # the rate is that of all layers
        learn.fine_tune(max(1, run.epochs - 1), 2e-3)  # an epoch for the head alone, then all layers
    else:
        learn.fit_one_cycle(run.epochs, 3e-3)


def accelerate_style(run: Run):
    "Accelerate's cv_example: a crop, Adam, one cycle; from scratch 0.003, because its 0.03 is for a last layer alone."
    t = run.task
    accelerator = Accelerator(cpu=not run.gpu)
    tfms = T.Compose([T.RandomResizedCrop((t.size, t.size), scale=(0.5, 1.0)), T.ToTensor()])
    data = ImageFolder(run.folder / "train", tfms)
    loader = DataLoader(data, shuffle=True, batch_size=t.batch, num_workers=t.workers)
    mean, std = (torch.tensor(values, device=run.device)[None, :, None, None] for values in (MEAN, STD))
    model, lr = run.network(), (3e-2 if t.weights else 3e-3)
    if t.weights:
        model.features.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr / 25)
    schedule = OneCycleLR(optimizer, max_lr=lr, epochs=run.epochs, steps_per_epoch=len(loader))
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    for _ in range(run.epochs):
        model.train()
        for image, label in loader:
            loss = cross_entropy(model((image - mean) / std), label)
            accelerator.backward(loss)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            run.step(len(label))


STYLES = {"torchvision": torchvision_style, "timm": timm_style, "fastai": fastai_style, "accelerate": accelerate_style}


def ours(task: Task) -> dict:
    "vehicle_train, as a user starts it."
    options = f"--arch {task.arch} --batch_size {task.batch} --num_threads {task.threads} --seed {task.seed}"
    options += f" --weights {task.weights}" if task.weights else ""
    if task.epochs:
        run = train_once(task.processed, f"{options} --max_minutes {task.seconds / 60}", env=environment(task))
        seconds = sum(float(row["seconds"]) for row in run["history"])
        found = {name: run["metrics"][name] for name in ("val_accuracy", "test_accuracy")} | {"minutes": seconds / 60}
    else:
        run = train_once(task.processed, f"{options} --input_size {task.size} --no_progressive --epochs 3", env=environment(task))
        found = {"rate": images_per_second(run, task.processed)}
    return found | {"cut": False, "workers": 0} | {name: run["settings"][name] for name in ("input_size", "precision", "epochs")}


def environment(task: Task) -> dict:
    "A device and a number of threads for a process."
    hidden = {} if task.device == "cuda" else {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    return os.environ | {"OMP_NUM_THREADS": str(task.threads)} | hidden


def work(path: Path):
    "What a peer's process does: read the task, train, leave the result in the place of the task."
    task = Task(**json.loads(path.read_text()))
    if task.name in MODULES:
        import_module(MODULES[task.name])  # before the clock starts
    torch.set_num_threads(task.threads)
    run = Run(task)
    with suppress(Stop):
        STYLES[task.name](run)
    path.write_text(json.dumps(run.result() | {"input_size": task.size, "precision": "bf16" if task.bf16 else "fp32"}))


def do(task: Task) -> dict:
    "Do a task in a process of its own."
    if task.name == "ours":
        return ours(task)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        path.write_text(json.dumps(asdict(task)))
        subprocess.run([sys.executable, __file__, "--worker", path], env=environment(task), check=True)
        return json.loads(path.read_text())


def with_workers(task: Task) -> tuple[Task, float]:
    "The task with the number of loading processes that is faster for this peer, and its rate."
    if task.name == "ours":  # reads packed pixels in the training process
        return task, 0.0
    numbers = {0, task.threads} if task.device == "cpu" else {task.threads}
    trials = {workers: do(replace(task, workers=workers, epochs=0, seconds=0))["rate"] for workers in numbers}
    best = max(trials, key=trials.get)
    return replace(task, workers=best), trials[best]


def measure_rate(tasks: list[Task], repeats: int) -> list[dict]:
    "Images a second of all, alternating."
    tasks = [with_workers(task)[0] for task in tasks]
    rates = {task.name: [] for task in tasks}
    for repeat in range(repeats):
        first = repeat % len(tasks)  # so that none is always the first
        for task in tasks[first:] + tasks[:first]:
            rates[task.name].append(do(task)["rate"])
    return [{"network": f"{task.arch} at {task.size}", "": task.name, "workers": task.workers, "images/s": spread(rates[task.name], 1),
             "ours / it": spread([a / b for a, b in zip(rates["ours"], rates[task.name], strict=True)]), "rates": rates[task.name]}
            for task in tasks]  # fmt: skip


def measure_accuracy(task: Task, minutes: float) -> dict:
    "Train for so many minutes."
    images = sum(read_config(task.processed)["counts"]["train"].values())
    task, rate = with_workers(task)
    # A little less than fits: what the rate does not know (starting, checkpoints) takes time, too.
    task = replace(task, seconds=60 * minutes, epochs=max(1, int(0.93 * 60 * minutes * rate / images)))
    result = do(task)
    while result["cut"] and task.epochs > 1:  # a wrong guess must not cost the end of the schedule
        task = replace(task, epochs=max(1, int(0.9 * task.epochs)))
        result = do(task)
    return {"network": task.arch, "": task.name} | result


def as_found(processed: str, raw: Path, folder: Path) -> str:
    "A folder of folders with the photos of the training split as they were found, as the peers' scripts want them."
    manifest = pd.read_csv(Path(processed) / "manifest.csv", keep_default_na=False)
    for row in manifest[(manifest["split"] == "train") & (manifest["source"] == "")].itertuples():
        target = folder / "train" / manifest.at[row.Index, "class"] / f"{row.id}{Path(row.path).suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((raw / row.path).resolve(strict=True))
    (folder / "val").symlink_to((Path(processed) / "val").resolve())  # fastai looks at it, although it is not measured
    return str(folder)


def pair(text: str) -> tuple[str, int]:
    "A name and a number, as in resnet18:224."
    name, number = text.split(":")
    return name, int(number)


def main():
    parse = parser(__doc__, processed=True)
    parse.add_argument("--peers", nargs="+", choices=STYLES, default=list(STYLES))
    rate = [("resnet18", 224), ("vehicle_cnn", 128)]
    parse.add_argument("--rate", nargs="*", type=pair, default=rate, metavar="ARCH:SIZE", help="nothing: leave it out")
    parse.add_argument("--raw", type=Path, help="the folder that PROCESSED was made of: for the rate, peers read its photos")
    parse.add_argument("--repeats", type=int, default=3)
    parse.add_argument("--seconds", type=float, default=10, help="of a peer's repeat, at least (and 8 steps)")
    parse.add_argument("--minutes", type=float, default=3, help="of each training (0: leave accuracy out)")
    parse.add_argument("--arch", default="resnet18", help="whose accuracy is measured")
    parse.add_argument("--weights", default="", help="file of pretrained weights for it (an arch with features and classifier)")
    parse.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parse.add_argument("--num_threads", type=int, default=cpu_count())
    parse.add_argument("--batch", type=int, default=32)
    parse.add_argument("--seed", type=int, default=42)
    parse.add_argument("--peer_bf16", action="store_true", help="peers in bf16 and channels-last: compares the rest")
    args = parse.parse_args()
    here = [name for name in args.peers if name not in MODULES or util.find_spec(name)]
    if missing := [name for name in args.peers if name not in here]:
        print(f"{' and '.join(missing)} not installed, so not compared with. Install: pip install -e '.[peers]'")

    def tasks(arch: str, size: int, **more) -> list[Task]:
        same = {"threads": args.num_threads, "batch": args.batch, "seed": args.seed, "seconds": args.seconds, "device": args.device}
        return [Task(name, args.processed, arch, size, bf16=args.peer_bf16, **same, **more) for name in ("ours", *here)]

    with tempfile.TemporaryDirectory() as folder:
        photos = as_found(args.processed, args.raw, Path(folder)) if args.raw else ""
        rates = [row for arch, size in args.rate for row in measure_rate(tasks(arch, size, photos=photos), args.repeats)]
    size = 128 if args.arch == "vehicle_cnn" else 224
    found = [measure_accuracy(task, args.minutes) for task in tasks(args.arch, size, weights=args.weights) if args.minutes]
    for rows in filter(None, (rates, found)):
        table([{name: cell for name, cell in row.items() if not isinstance(cell, list)} for row in rows])
    save(args.name, rate=rates, accuracy=found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]))
    else:
        main()
