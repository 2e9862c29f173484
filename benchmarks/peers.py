"""How do we compare with the scripts that people use, on the same pictures, the same cores and the same network?

    python benchmarks/peers.py data/processed                       both questions, see below (about 35 minutes)
    python benchmarks/peers.py data/processed --minutes 0           the rate alone
    python benchmarks/peers.py data/processed --minutes 0 --raw data/raw    the rate where peers get the photos as found
    python benchmarks/peers.py data/processed --rate --minutes 5    accuracy after five minutes alone
    python benchmarks/peers.py data/processed --rate --minutes 2 --arch mobilenet_v2 --weights FILE     with borrowed features
    python benchmarks/peers.py data/processed --minutes 0 --device cuda --peer-bf16 --batch 128         the rate on one GPU

The peers, each with its usual recipe: loops like torchvision's references and Accelerate's cv_example; timm; fastai.
Each contender is a process of its own, on the same device, with the same number of threads; it gets the set's JPEGs, which
preprocessing has made small. With `--raw` peers get the photos that these were made of, which is what their scripts are
usually started with; the seconds of preprocessing are taken, too. The larger the photos, the more that matters: drawn
ones can have any size, `python -c "from vehicle_nb.demo.make import make_demo; make_demo('raw', per_class=40, size=1280)"`.
A peer has no loading processes or one a thread, whichever a short trial found to be faster for it (beside a GPU: one a thread).

1. Rate: pictures a second of real training at one picture size, in turns; the first steps warm up and are left out.
2. Accuracy: as many epochs as fit into the minutes, the schedule as long as they. Ours is started with `--minutes` alone and
   chooses for itself; a peer gets as many as a trial of its rate says. The clock counts loading, training, checkpoints; it
   stands still while a model is evaluated (by the same code for all, in float32), although ours plans its minutes with that.
   Peers deliver their last weights, ours what `train()` leaves. With `--weights` all begin with the same pretrained features,
   and peers with the recipe that their makers show for that.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib import import_module, metadata, util
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, SequentialLR
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

from common import RESULTS, command_line, spread, stamp

from vehicle_nb.training import config
from vehicle_nb.training import loop
import vehicle_nb.train as training
from vehicle_nb.core import VehicleError, end_well, house_style, write_json, write_whole
from vehicle_nb.parallel import cpu_count
from vehicle_nb.data.augment import to_input
from vehicle_nb.data.dataset import list_split, read_config
from vehicle_nb.models.cnn import OWN_ARCH, Rescale, create_model, list_archs, load_bundle, unknown_arch
from vehicle_nb.data.preprocess import preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODULES = {"timm": "timm", "fastai": "fastai.vision.all"}  # what a peer needs besides our own requirements


class Stop(Exception):
    "The time is up."


@dataclass(frozen=True)
class Task:
    "What one process has to do."

    name: str  # the contender
    processed: str
    arch: str
    size: int  # side of the network's input; 0: the default, which ours alone has
    threads: int
    batch: int
    seed: int
    workers: int = 0  # loading processes
    epochs: int = 0  # 0: only measure the rate
    planned: bool = False  # ours: chooses its epochs for these seconds itself
    seconds: float = 0.0  # rate: measure at least so long; accuracy: end by then
    bf16: bool = False  # peers: the arithmetic that ours uses
    progressive: bool = False  # ours: smaller pictures first
    lr: float = 0.0  # peers: instead of the recipe's learning rate
    weights: str = ""  # file of pretrained weights
    photos: str = ""  # peers: folder with the training photos as they were found, instead of the set's pictures
    device: str = "cpu"  # or "cuda"


class Run:
    "The clock of one contender, and what it has shown so far."

    def __init__(self, task: Task):
        self.task, self.epochs = task, task.epochs or 1000  # a rate needs no end but the clock's
        self.device, self.gpu = torch.device(task.device), task.device == "cuda"
        self.classes = read_config(task.processed)["classes"]
        self.folder = Path(task.photos or task.processed)  # where a peer finds its pictures
        self.ticks, self.points, self.model, self.look, self.cut = [], [], None, 1.0, False
        self.warm = max(4, 2 * task.workers)  # steps that the rate leaves out: as many batches as are prepared ahead
        self.start, self.paused = time.perf_counter(), 0.0

    def now(self) -> float:
        "Seconds on the clock."
        return time.perf_counter() - self.start - self.paused

    @contextmanager
    def pause(self):
        "Stop the clock."
        start = time.perf_counter()
        yield
        self.paused += time.perf_counter() - start

    def network(self, build=None) -> nn.Module:
        "The network that peers train, for pictures normalised as ImageNet's; in PyTorch's default memory format."
        torch.manual_seed(self.task.seed)
        model = build() if build else create_model(self.task.arch, len(self.classes), self.task.weights)
        model = model[1] if isinstance(model, nn.Sequential) else model  # leaves `Rescale` out
        self.model = model.to(self.device, memory_format=torch.channels_last if self.task.bf16 else torch.contiguous_format)
        if self.task.bf16:
            plain = model.forward

            def forward(x):
                with torch.autocast(self.task.device, torch.bfloat16, enabled=model.training):  # evaluation stays exact
                    return plain(x).float()

            model.forward = forward
        return self.model

    def step(self, pictures: float):
        "Note that so many pictures were learned; end the run when the time is up."
        waits = (len(self.ticks) + 1 - self.warm) % 16 == 0  # a GPU works behind what it was told: wait for it now and then
        if self.gpu and waits:
            torch.cuda.synchronize()
        times = [0.0, *(tick[0] for tick in self.ticks), self.now()]
        self.ticks.append((times[-1], pictures))
        if self.task.epochs:  # end before the step that would pass the limit
            over = 2 * times[-1] - times[-2] > self.task.seconds
        else:
            enough = len(self.ticks) >= self.warm + 8 and (waits or not self.gpu)
            over = enough and times[-1] - times[self.warm] >= self.task.seconds
        if over and not self.cut:
            self.cut = True
            if self.task.name != "ours" or not self.task.epochs:
                raise Stop("The time is up.")  # fastai wants a message
            signal.raise_signal(signal.SIGINT)  # so a run of ours is asked to end with what it has

    def score(self, split: str) -> float:
        "Accuracy of a peer's model."
        return accuracy(nn.Sequential(Rescale(), self.model), self.task, split, self.task.size, self.look)

    def epoch_end(self, done: int):
        "Evaluate six times in a run."
        if self.task.epochs and done * 6 // self.epochs > (done - 1) * 6 // self.epochs:
            with self.pause():
                self.points.append((self.now(), self.score("val")))


@torch.no_grad()
def accuracy(model: nn.Module, task: Task, split: str, size: int, look: float = 1.0) -> float:
    "Share of right answers of a network that takes [-1, 1] and looks at the middle `look` of each side."
    files, labels = list_split(task.processed, split, read_config(task.processed)["classes"])
    images = torch.from_numpy(np.stack([Image.open(path).convert("RGB") for path in files]))
    edge = round(images.shape[1] * (1 - look) / 2)
    images = images[:, edge : images.shape[1] - edge, edge : images.shape[2] - edge]
    model.eval()
    device = next(model.parameters()).device
    answers = torch.cat([model(to_input(batch.to(device), size)).argmax(1).cpu() for batch in images.split(64)])
    model.train()
    return (answers == torch.from_numpy(labels)).float().mean().item()


def torchvision_style(run: Run):
    "torchvision's references/classification: SGD, warm-up and cosine, label smoothing; 0.5 for 1,024 pictures a step."
    t = run.task
    usual = 0.001 / 4 if t.weights else 0.5 / 1024  # for a picture in a step; PyTorch's tutorial fine-tunes with 0.001 for four
    crop = [T.RandomResizedCrop(t.size, antialias=True), T.RandomHorizontalFlip(), T.PILToTensor()]
    tfms = T.Compose([*crop, T.ConvertImageDtype(torch.float), T.Normalize(MEAN, STD)])
    data = ImageFolder(run.folder / "train", tfms)
    loader = DataLoader(data, t.batch, shuffle=True, num_workers=t.workers, pin_memory=run.gpu)
    model, run.look = run.network(), 0.875  # its evaluation resizes to 256 and cuts out 224
    optimizer = torch.optim.SGD(model.parameters(), lr=t.lr or usual * t.batch, momentum=0.9, weight_decay=1e-4)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    total = run.epochs * len(loader)
    warm = max(1, total // 18)  # 5 of 90 epochs; in steps, because there may be only a few epochs
    parts = [LinearLR(optimizer, 0.01, total_iters=warm), CosineAnnealingLR(optimizer, max(1, total - warm))]
    schedule = SequentialLR(optimizer, parts, milestones=[warm])
    for epoch in range(run.epochs):
        model.train()
        for image, target in loader:
            loss = criterion(model(image.to(run.device)), target.to(run.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            run.step(len(target))
        run.epoch_end(epoch + 1)


def timm_style(run: Run):
    "timm: its loader, its model, AdamW without decay for biases and norms, cosine with warm-up, label smoothing."
    import timm
    from timm import data, optim, scheduler
    from timm.loss import LabelSmoothingCrossEntropy

    t, classes = run.task, len(run.classes)
    pictures = data.create_dataset("", root=run.folder, split="train", is_training=True)
    options = {"color_jitter": 0.4, "interpolation": "random", "num_workers": t.workers, "device": run.device}
    loader = data.create_loader(pictures, (3, t.size, t.size), t.batch, is_training=True, **options)
    known = t.arch in timm.list_models() and not t.weights
    model = run.network((lambda: timm.create_model(t.arch, num_classes=classes)) if known else None)
    run.look = 0.875  # its crop_pct
    optimizer = optim.create_optimizer_v2(model, opt="adamw", lr=t.lr or (3e-4 if t.weights else 1e-3), weight_decay=0.05)
    steps = {"step_on_epochs": False, "updates_per_epoch": len(loader), "warmup_epochs": run.epochs / 18}
    schedule, _ = scheduler.create_scheduler_v2(optimizer, "cosine", run.epochs, **steps)
    criterion, updates = LabelSmoothingCrossEntropy(0.1), 0
    for epoch in range(run.epochs):
        model.train()
        for image, target in loader:
            loss = criterion(model(image), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            updates += 1
            schedule.step_update(num_updates=updates)
            run.step(len(target))
        run.epoch_end(epoch + 1)


def fastai_style(run: Run):
    "fastai: its book's recipe for a ResNet from scratch (chapter 14), one cycle up to 0.003."
    from fastai.vision import all as fv

    t = run.task
    fv.default_device(run.gpu)
    tfms = [*fv.aug_transforms(size=t.size, min_scale=0.5), fv.Normalize.from_stats(*fv.imagenet_stats)]
    # The set's pictures have one size, so that nothing is left to do for each one alone; photos need one to make a batch.
    alone = fv.Resize(round(t.size * 8 / 7)) if t.photos else None
    options = {"item_tfms": alone, "batch_tfms": tfms, "bs": t.batch, "num_workers": t.workers, "device": run.device}
    dls = fv.ImageDataLoaders.from_folder(run.folder, train="train", valid="val", **options)

    class Clock(fv.Callback):
        "Tells our clock of each step; leaves out fastai's own validation, because ours evaluates all."

        def after_batch(self):
            run.step(len(self.y))

        def before_validate(self):
            raise fv.CancelValidException

        def after_epoch(self):
            run.epoch_end(self.epoch + 1)

    model = run.network()
    parts = (lambda m: [list(m.features.parameters()), list(m.classifier.parameters())]) if t.weights else fv.trainable_params
    learn = fv.Learner(dls, model, loss_func=nn.CrossEntropyLoss(), splitter=parts, cbs=Clock())
    learn.remove_cbs([cb for cb in learn.cbs if isinstance(cb, fv.Recorder | fv.ProgressCallback)])
    if t.weights and t.epochs:  # the rate is that of all layers
        learn.fine_tune(max(1, run.epochs - 1), t.lr or 2e-3)  # a round for the head alone, then all layers
    else:
        learn.fit_one_cycle(run.epochs, t.lr or 3e-3)


def accelerate_style(run: Run):
    "Accelerate's cv_example: a crop, Adam, one cycle; from scratch 0.003, because its 0.03 is for a last layer alone."
    t = run.task
    accelerator = Accelerator(cpu=not run.gpu)
    tfms = T.Compose([T.RandomResizedCrop((t.size, t.size), scale=(0.5, 1.0)), T.ToTensor()])
    data = ImageFolder(run.folder / "train", tfms)
    loader = DataLoader(data, shuffle=True, batch_size=t.batch, num_workers=t.workers)
    mean, std = (torch.tensor(values, device=run.device)[None, :, None, None] for values in (MEAN, STD))
    model, lr = run.network(), t.lr or (3e-2 if t.weights else 3e-3)
    if t.weights:
        model.features.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr / 25)
    schedule = OneCycleLR(optimizer, max_lr=lr, epochs=run.epochs, steps_per_epoch=len(loader))
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    for epoch in range(run.epochs):
        model.train()
        for image, label in loader:
            loss = cross_entropy(model((image - mean) / std), label)
            accelerator.backward(loss)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            run.step(len(label))
        run.epoch_end(epoch + 1)


def ours(run: Run) -> dict:
    "`vehicle_nb.train.train`, watched from outside: the clock ticks when PyTorch's optimizer steps."
    t, plain = run.task, loop.predict_split
    pictures = len(list_split(t.processed, "train", run.classes)[0])

    def tick(optimizer, *_):
        # Neither what fits the temperature at the end nor what teaches the last layer alone is a step over pictures.
        if not isinstance(optimizer, torch.optim.LBFGS) and sum(len(group["params"]) for group in optimizer.param_groups) > 2:
            run.step(pictures / math.ceil(pictures / t.batch))  # ours shares the pictures out evenly

    register_optimizer_step_post_hook(tick)

    def predict_split(trainer, split, *args, **kwargs):
        with run.pause():
            logits, labels = plain(trainer, split, *args, **kwargs)
        if split == "val":
            run.points.append((run.now(), (logits.argmax(1) == labels).float().mean().item()))
        return logits, labels

    choose = training.epochs_within

    def epochs_within(trainer):
        epochs = choose(trainer)
        run.ticks.clear()  # what was learned for the plan is thrown away
        return epochs

    loop.predict_split, training.epochs_within = predict_split, epochs_within
    length = {"minutes": t.seconds / 60} if t.planned else {"epochs": run.epochs}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours"
        where = {"processed": str(shadow(t.processed, Path(folder))), "models": folder, "run_name": "ours"}
        size = {"batch_size": t.batch, "input_size": t.size, "progressive": t.progressive, "threads": t.threads}
        result = {}
        with suppress(Stop):
            training.train(**where, **size, arch=t.arch, weights=t.weights, seed=t.seed, quiet=True, **length)
            model, config, _ = load_bundle(path)
            result["test_accuracy"] = accuracy(model, t, "test", config["input_size"])
        settings = json.loads((path / "settings.json").read_text())
    return result | {name: settings[name] for name in ("input_size", "precision", "epochs")}


def shadow(processed: str, folder: Path) -> Path:
    "The same set elsewhere, without packed pixels: packing is on the clock, and nothing is written to the original."
    (folder / "set").mkdir()
    for path in Path(processed).resolve().iterdir():
        if path.name[0] != ".":
            (folder / "set" / path.name).symlink_to(path)
    return folder / "set"


def as_found(processed: str, raw: Path, folder: Path) -> str:
    "A folder of folders with the photos of the training split as they were found, as the peers' scripts want them."
    manifest = pd.read_csv(Path(processed) / "manifest.csv", keep_default_na=False)
    for row in manifest[(manifest["split"] == "train") & (manifest["source"] == "")].itertuples():
        target = folder / "train" / manifest.at[row.Index, "class"] / f"{row.id}{Path(row.path).suffix}"
        if not (raw / row.path).is_file():
            raise VehicleError(f"{raw} has no {row.path}: --raw wants the folder that {processed} was made of.")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((raw / row.path).resolve())
    for name in read_config(processed)["classes"]:  # fastai looks at the pictures to validate on, although it gets no turn
        (folder / "val").mkdir(exist_ok=True)
        (folder / "val" / name).symlink_to((Path(processed) / "val" / name).resolve())
    return str(folder)


def preparing(raw: Path, seed: int) -> float:
    "Seconds of preprocessing."
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        preprocess(raw, Path(folder) / "processed", seed=seed, show_progress=False)
        return time.perf_counter() - start


STYLES = {"torchvision": torchvision_style, "timm": timm_style, "fastai": fastai_style, "accelerate": accelerate_style}


def work(path: Path):
    "What a contender's process does: read the task, train, leave the result in the place of the task."
    task = Task(**json.loads(path.read_text()))
    if task.name in MODULES:
        import_module(MODULES[task.name])  # not on the clock
    torch.set_num_threads(task.threads)
    run, result = Run(task), {"input_size": task.size, "precision": "bf16" if task.bf16 else "fp32"}
    with suppress(Stop):
        result |= ours(run) if task.name == "ours" else STYLES[task.name](run) or {}
    times, counts = zip(*run.ticks, strict=True)
    if task.epochs:
        if task.name != "ours":
            result["test_accuracy"] = run.score("test")
            if run.cut:
                run.points.append((times[-1], run.score("val")))
        result = {"epochs": task.epochs} | result | {"cut": run.cut, "points": run.points}
    else:
        result["rate"] = sum(counts[run.warm :]) / (times[-1] - times[run.warm - 1])
    result |= {"steps": len(times), "pictures": round(sum(counts)), "seconds": times[-1]}
    write_json(path, result | {"workers": task.workers, "threads": torch.get_num_threads()})


def start(task: Task) -> dict:
    "Do a task in a process of its own."
    hidden = {} if task.device == "cuda" else {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    env = os.environ | {"OMP_NUM_THREADS": str(task.threads)} | hidden
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        write_json(path, asdict(task))
        done = subprocess.run([sys.executable, __file__, "--worker", path], env=env, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise VehicleError(f"{task.name} ended with an error: {last}")
        return json.loads(path.read_text())


def try_workers(task: Task) -> tuple[Task, list[dict]]:
    "The task with the number of loading processes that is faster for this peer, and the trials."
    if task.name == "ours":  # reads packed pixels in the training process
        return task, []
    if task.device == "cuda":
        return replace(task, workers=task.threads), []
    trials = [start(replace(task, workers=workers, seconds=0)) for workers in (0, task.threads)]
    shown = ", ".join(f"{x['workers']} loading processes {x['rate']:.1f}" for x in trials)
    print(f"  {task.name}: {shown} pictures a second", flush=True)
    return replace(task, workers=max(trials, key=lambda trial: trial["rate"])["workers"]), trials


def measure_rate(tasks: list[Task], turns: int) -> dict:
    "Pictures a second of all contenders, in turns."
    print(f"{tasks[0].arch} at {tasks[0].size} pixels, pictures a second of training", flush=True)
    chosen = [try_workers(task) for task in tasks]
    found = {task.name: {"workers": task.workers, "trials": trials, "turns": []} for task, trials in chosen}
    for turn in range(turns):
        first = turn % len(tasks)  # so that nobody is always the first
        for task, _ in chosen[first:] + chosen[:first]:
            found[task.name]["turns"].append(start(task))
        shown = ", ".join(f"{name} {x['turns'][-1]['rate']:.1f}" for name, x in found.items())
        print(f"  turn {turn + 1}: {shown}", flush=True)
    for x in found.values():
        x["rates"] = [run["rate"] for run in x["turns"]]
    # A default run from scratch begins with smaller pictures: that is how fast it learns from one, over its whole length.
    small = [start(replace(chosen[0][0], progressive=True)) for _ in range(turns)]
    pairs = zip(small, found["ours"]["rates"], strict=True)
    rates = [whole_run(quick["rate"], rate, tasks[0].size) for quick, rate in pairs]
    found["ours, by default"] = {"workers": 0, "trials": [], "turns": small, "rates": rates}
    for x in found.values():
        x["ours_to_it"] = [mine["rate"] / rate for mine, rate in zip(found["ours"]["turns"], x["rates"], strict=True)]
    return {"arch": tasks[0].arch, "size": tasks[0].size, "contenders": found}


def whole_run(small: float, full: float, size: int) -> float:
    "Pictures a second over a run that begins with smaller pictures."
    share = statistics.mean(config.train_size(size, k / 100) < size for k in range(100))
    return 1 / (share / small + (1 - share) / full)


def plan(task: Task, pictures: int, minutes: float) -> tuple[Task, list[dict]]:
    "The task for so many minutes, and what was measured for it."
    task = replace(task, seconds=60 * minutes, progressive=True)
    if task.name == "ours":
        return replace(task, epochs=1, planned=True), []  # it chooses another number
    task, trials = try_workers(task)
    trials = trials or [start(replace(task, seconds=0))]
    rate = max(trial["rate"] for trial in trials)
    # A little less than fits: what the rate does not know (starting, checkpoints) takes time too.
    return replace(task, epochs=max(1, int(0.93 * 60 * minutes * rate / pictures))), trials


def measure_accuracy(tasks: list[Task], minutes: float) -> dict:
    "Train each contender for so many minutes."
    print(f"{tasks[0].arch}, {minutes:g} minutes each", flush=True)
    pictures, results = sum(read_config(tasks[0].processed)["counts"]["train"].values()), {}
    for task in tasks:
        task, trials = plan(task, pictures, minutes)
        result = start(task)
        while result["cut"] and result["epochs"] > 1:  # nobody shall lose the end of the schedule to a wrong guess
            trials.append(result)
            task = replace(task, epochs=max(1, int(0.9 * result["epochs"])), planned=False)
            result = start(task)
        results[task.name] = {"trials": trials, **result}
        shown = f"{result['pictures'] / pictures:.1f} epochs in {result['seconds'] / 60:.2f} minutes"
        print(f"  {task.name}: {shown}, test accuracy {result['test_accuracy']:.1%}", flush=True)
    return {"arch": tasks[0].arch, "weights": Path(tasks[0].weights).name, "minutes": minutes, "contenders": results}


def tables(results: dict) -> str:
    "The figures as Markdown."
    lines = []
    if prepared := results["prepare_seconds"]:
        lines.append(f"\nPeers read the photos as they were found; ours has prepared them, once, in {spread(prepared, 1)} s.")
    for rate in results["rate"]:
        lines += [f"\n**{rate['arch']} at {rate['size']} pixels** (mean ± standard deviation of the turns)\n"]
        lines += ["| | precision | loading processes | pictures a second | ours / it |", "|---|---|---|---|---|"]
        for name, x in rate["contenders"].items():
            rates = f"{spread(x['rates'], 1)} | {'' if name.startswith('ours') else spread(x['ours_to_it'], 2)}"
            lines.append(f"| {name} | {x['turns'][0]['precision']} | {x['workers']} | {rates} |")
    if found := results["accuracy"]:
        lines += [f"\n**{found['arch']} after {found['minutes']:g} minutes**\n"]
        lines += ["| | pixels | epochs | minutes | val accuracy | test accuracy |", "|---|---|---|---|---|---|"]
        for name, x in found["contenders"].items():
            val = f"{x['points'][-1][1]:.1%}" if x["points"] else "–"
            what = f"{x['input_size']} | {x['epochs']}{' (cut off)' if x['cut'] else ''} | {x['seconds'] / 60:.2f}"
            lines.append(f"| {name} | {what} | {val} | {x['test_accuracy']:.1%} |")
    return "\n".join(lines)


def draw(results: dict, path: Path):
    "Rates as bars, accuracy as curves, in an SVG whose text stays text."
    import matplotlib.pyplot as plt

    house_style()
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "peers"})
    panels = len(results["rate"]) + bool(results["accuracy"])
    fig, axes = plt.subplots(1, panels, figsize=(4.2 * panels, 3.4), squeeze=False)
    colours = {name: f"C{i}" for i, name in enumerate(["ours", *STYLES, "ours, by default"])}
    for ax, rate in zip(axes[0], results["rate"], strict=False):
        for name, x in rate["contenders"].items():
            error = statistics.stdev(x["rates"]) if len(x["rates"]) > 1 else 0
            ax.barh(name, statistics.mean(x["rates"]), xerr=error, color=colours[name])
        ax.invert_yaxis()
        ax.set(title=f"{rate['arch']}, {rate['size']} pixels", xlabel="pictures a second")
    if found := results["accuracy"]:
        for name, x in found["contenders"].items():
            times, shares = [t / 60 for t, _ in x["points"]], [100 * share for _, share in x["points"]]
            label = f"{name} (test {x['test_accuracy']:.0%})"
            axes[0][-1].plot(times, shares, marker=".", color=colours[name], label=label)
        begin = "borrowed features" if found["weights"] else "from scratch"
        axes[0][-1].set(title=f"{found['arch']}\n{begin}", xlabel="minutes", ylabel="val accuracy in %")
        axes[0][-1].legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    with write_whole(path) as file:
        fig.savefig(file, format="svg", metadata={"Date": None})


def choose(peers: list[str] | None) -> list[str]:
    "The contenders: ours, and those peers that are installed."
    missing = [name for name in peers or STYLES if name in MODULES and not util.find_spec(name)]
    if missing:
        message = f"{' and '.join(missing)} not installed, so not compared with. Install: pip install -e '.[peers]'"
        if peers:
            raise VehicleError(message)
        print(message)
    return ["ours", *(name for name in peers or STYLES if name not in missing)]


def pair(text: str) -> tuple[str, float]:
    "A name and a number, as in resnet18:224."
    name, number = text.split(":")
    return name, float(number)


def options() -> argparse.Namespace:
    "The command's arguments."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processed", help="folder that vehicle_preprocess wrote")
    parser.add_argument("--peers", nargs="+", choices=STYLES, help="default: all that are installed")
    rate = [("resnet18", 224), ("vehicle_cnn", 128)]
    parser.add_argument("--rate", nargs="*", type=pair, default=rate, metavar="ARCH:SIZE", help="none: leave it out")
    parser.add_argument("--raw", type=Path, help="the folder that PROCESSED was made of: for the rate, peers read its photos")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of a contender's turn, at least (and 8 steps)")
    parser.add_argument("--minutes", type=float, default=3, help="of each contender's training (0: leave accuracy out)")
    parser.add_argument("--arch", default="resnet18", help="whose accuracy is measured")
    parser.add_argument("--weights", default="", help="file of pretrained weights for it (an arch with features and classifier)")
    parser.add_argument("--size", type=int, default=0, help="of the peers' pictures then; 0: 224 (vehicle_cnn: 128)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--peer-bf16", action="store_true", help="peers in bf16 and channels-last: compares the rest")
    parser.add_argument("--peer-lr", nargs="+", type=pair, default=[], metavar="PEER:LR", help="not the recipe's rate")
    parser.add_argument("--results", type=Path, default=RESULTS / "peers.json")
    return parser.parse_args()


def main(args: argparse.Namespace):
    "Measure, write down, print."
    config = read_config(args.processed)
    folders = sorted(path.name for path in (Path(args.processed) / "train").iterdir() if path.is_dir())
    if folders != config["classes"]:  # the peers number the classes by the folders, we by config.json
        raise VehicleError(f"The folders in {args.processed}/train are not its classes. Run vehicle_preprocess again.")
    for arch in {args.arch, *(arch for arch, _ in args.rate)} - set(list_archs()):
        raise VehicleError(unknown_arch(arch))
    names, lrs = choose(args.peers), dict(args.peer_lr)
    if lrs.keys() - STYLES.keys() or args.turns < 1:
        raise VehicleError(f"Give --peer-lr for {', '.join(STYLES)}, and at least one of --turns.")
    same = {"threads": args.threads, "batch": args.batch, "seed": args.seed, "seconds": args.seconds, "device": args.device}

    def tasks(arch: str, size: int, own_size: int, weights: str = "", photos: str = "") -> list[Task]:
        each = {name: {"bf16": args.peer_bf16, "lr": lrs.get(name, 0.0), "size": size, "photos": photos} for name in names[1:]}
        return [Task(n, args.processed, arch=arch, weights=weights, **same, **each.get(n, {"size": own_size})) for n in names]

    data = {"name": Path(args.processed).name, "counts": config["counts"], "content_hash": config.get("content_hash")}
    results = stamp(command_line("peers.py")) | {"seed": args.seed, "data": data, "rate": [], "accuracy": None}
    results["versions"] |= {name: metadata.version(name) for name in names if name in MODULES}
    with tempfile.TemporaryDirectory() as folder:
        photos = as_found(args.processed, args.raw, Path(folder)) if args.raw else ""
        results["prepare_seconds"] = [preparing(args.raw, args.seed) for _ in range(args.turns)] if args.raw else None
        for arch, size in args.rate:
            results["rate"].append(measure_rate(tasks(arch, int(size), int(size), photos=photos), args.turns))
            write_json(args.results, results)  # what was measured stays, whatever comes
    if args.minutes:
        size = args.size or (128 if args.arch == OWN_ARCH else 224)
        results["accuracy"] = measure_accuracy(tasks(args.arch, size, 0, args.weights), args.minutes)
        write_json(args.results, results)
    draw(results, args.results.with_suffix(".svg"))
    print(tables(results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(Path(sys.argv[2]))
    else:
        end_well(lambda: main(options()), "peers")
