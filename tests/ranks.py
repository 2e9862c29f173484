"""One rank that trains and notes what it sees, so that a test can compare the notes of all: `python ranks.py '{"data": …}'`.

`notes` names the folder for the notes; `trouble` what happens to a rank: `{"rank": 0, "epoch": 1, "step": 2, "kind": …}` with
"term" (SIGTERM to itself), "kill" (SIGKILL to itself), "kill in save" (after half of a checkpoint was written) or "disk full".
All other options go to `train`. `argv` instead is what is typed behind
`python -m vehicle_nb.distributed`; `fault` names what `--check` must find.
"""

import errno
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator

from vehicle_nb.training import loop
import vehicle_nb.train as training
from vehicle_nb.core import run_main
from vehicle_nb.data.dataset import DistributedBatchSampler
from vehicle_nb.distributed import distributed, init_distributed
from vehicle_nb.training import dist_check
from vehicle_nb.training.checkpoints import lock_run


def digest(tensors) -> str:
    "A short name for the exact bits of some tensors."
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


class Notes:
    "What a rank has seen."

    def __init__(self, folder: str, trouble: dict):
        self.rank, self.folder, self.trouble = int(os.environ.get("RANK", 0)), Path(folder), trouble
        self.seen, self.pictures, self.weights, self.gradient = [], {}, [], None
        self.average, self.off = None, 0.0  # the moving average by hand, and the largest difference of the run's from it
        self.step, self.end = loop.Trainer.train_step, loop.Trainer.end_epoch

    def is_time(self, state) -> bool:
        "Is this the moment of trouble? It comes once, also where a launcher starts the rank again."
        now = {"rank": self.rank, "epoch": state.epoch, "step": state.step}
        again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
        return not again and {name: value for name, value in self.trouble.items() if name != "kind"} == now

    def train_step(self, trainer, batch, total):
        images, _, index = batch
        if self.is_time(trainer.state):
            self.write()
            make_trouble(self.trouble["kind"])
        self.seen.append([trainer.state.epoch, index.tolist()])
        for i, picture in zip(index.tolist(), trainer.augment(images, index), strict=True):
            self.pictures[f"{trainer.state.epoch} {i}"] = digest([picture])
        if self.gradient is None:
            optimizer, plain = trainer.optimizer, trainer.optimizer.step

            def look(*args, **kwargs):
                self.gradient = torch.cat([p.grad.flatten() for p in trainer.unwrapped.parameters()]).clone()
                optimizer.step = plain
                return plain(*args, **kwargs)

            optimizer.step = look
        sums = self.step(trainer, batch, total)
        self.follow(trainer.ema, trainer.unwrapped)
        return sums

    def follow(self, ema, model):
        "Compute the average by its definition from what the model is now; a resumed run begins with what it found."
        steps, now = int(ema.n_averaged) - 1, {name: value.double() for name, value in model.state_dict().items()}
        keep = min(ema.decay, (1 + steps) / (10 + steps)) if steps else 0.0
        average = {name: value.double() for name, value in ema.module.state_dict().items()}
        if not steps or self.average:
            last = self.average or now
            self.average = {k: v if "num_batches" in k else keep * last[k] + (1 - keep) * v for k, v in now.items()}
            self.off = max(self.off, *(float((average[k] - v).abs().max()) for k, v in self.average.items()))
        else:
            self.average = average

    def end_epoch(self, trainer, bar):
        result = self.end(trainer, bar)
        self.weights.append(digest([*trainer.unwrapped.state_dict().values(), *trainer.ema.state_dict().values()]))
        self.logits = {split: trainer.predict(split)[0] for split in ("val", "test")}
        self.write()
        return result

    def write(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        seen = {"seen": self.seen, "pictures": self.pictures, "weights": self.weights, "off": self.off}
        (self.folder / f"{self.rank}.json").write_text(json.dumps(seen))
        torch.save({"gradient": self.gradient, **getattr(self, "logits", {})}, self.folder / f"{self.rank}.pt")


def make_trouble(kind: str):
    "Let something happen to this process."
    if kind in ("term", "kill"):
        os.kill(os.getpid(), signal.SIGTERM if kind == "term" else signal.SIGKILL)
        return
    whole = torch.save

    def save(thing, file):
        if kind == "disk full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(thing, file)
        file.truncate(file.tell() // 2)
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    torch.save = save


def work(options: dict):
    "Train, and write the notes."
    options = dict(options)
    notes, no_dropout = Notes(options.pop("notes"), options.pop("trouble", {})), options.pop("no_dropout", False)
    loop.Trainer.train_step = lambda *args: notes.train_step(*args)
    loop.Trainer.end_epoch = lambda *args: notes.end_epoch(*args)
    if no_dropout:  # what is left of chance is the same for any number of ranks
        torch.nn.Dropout.forward = lambda self, x: x
    try:
        training.train(num_threads=1, **options)
    finally:
        notes.write()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def break_rank(fault: str, rank: int):
    "Make this process one that `--check` must find."
    deal, step, backward = DistributedBatchSampler.__init__, torch.optim.SGD.step, Accelerator.backward

    def drift(optimizer, *args):
        step(optimizer, *args)
        optimizer.param_groups[0]["params"][0].data[0, 0] += 1e-3

    if fault:
        del dist_check.CHECKS["bandwidth"]  # it takes longest
    if fault == "wrong on all ranks":  # the gradient of each step is twice what it should be
        Accelerator.backward = lambda acc, loss: backward(acc, 2 * loss)
    elif fault == "waits for ever":
        dist_check.check_processes.__defaults__ = (print, 2)
    if rank == 0:
        return
    if fault == "sampler of another rank":
        DistributedBatchSampler.__init__ = lambda self, *args, **options: deal(self, *args, **options | {"rank": 0})
    elif fault == "other weights":
        torch.optim.SGD.step = drift
    elif fault in ("dies", "waits for ever"):
        dist_check.CHECKS["samples"] = lambda acc: os._exit(9) if fault == "dies" else time.sleep(60)


def run(rank: int, count: int, port: int, env: dict, output: Path, options: str):
    "Be one rank, in a process that was forked for it: with this environment, and a file for all that it prints."
    os.environ.clear()
    os.environ.update(env)
    with open(output, "w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)

    def call():
        chosen = json.loads(options)
        if "argv" in chosen:
            break_rank(chosen.get("fault", ""), rank)
            place = [f"--rank={rank}", f"--world_size={count}", f"--master_port={port}", "--num_threads=1"]
            return distributed([*place, *chosen["argv"].split()])
        if count > 1:
            init_distributed(rank, count, master_port=port)
        return work(chosen)

    run_main(call, "ranks")


def hold_store(port: int, joined: bool, ready):
    "Be a rank 0 that opens the store, perhaps joins, and does nothing more."
    store = torch.distributed.TCPStore("127.0.0.1", port, None, True, wait_for_workers=False)
    if joined:
        store.set("size/0", "2")
    ready.set()
    time.sleep(120)


def hold_run(folder: Path, ready):
    "Hold the lock of the run `run`, and do nothing more."
    with lock_run(Accelerator(cpu=True), str(folder), "run", "net", False):
        ready.set()
        time.sleep(120)


if __name__ == "__main__":
    try:
        run_main(lambda: work(json.loads(sys.argv[1])), "ranks")
    except SystemExit as end:
        if end.code:  # otherwise torchrun, which has forked this rank, waits for it to return
            raise
