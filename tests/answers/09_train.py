"Right and wrong answers to the exercises of lesson 09; each replaces the whole solution cell."

TRAIN = '''
def cosine(t): return 0.5 + 0.5 * np.cos(np.pi * t)
def constant(t): return 1.0
def run(factor, seed, epochs):
    model = small_net({seed})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    total, number = epochs * len(batches(seed, 0)), 0
    for epoch in range(epochs):
        for xb, yb in batches(seed, epoch):
            model.train()
            optimizer.param_groups[0]["lr"] = 0.05 * factor({share})
            loss = F.cross_entropy(model(xb), yb)
            loss.backward(); optimizer.step(); {forget}
            number += 1
    return val_loss(model)
results = {{"constant": [run(constant, s, 4) for s in range(4)], "cosine": [run(cosine, s, 4) for s in range(4)]}}
gain = np.array(results["constant"]) - results["cosine"]
clear = abs(gain.mean()) > 2 * gain.std(ddof=1) / 2
conclusion = ("cosine" if gain.mean() > 0 else "constant") if clear else "cannot tell"
'''
GOOD = TRAIN.format(seed="seed", share="number / total", forget="optimizer.zero_grad()")
SCHEDULER = '''
def cosine(t): return 0.5 + 0.5 * np.cos(np.pi * t)
def constant(t): return 1.0
def run(factor, seed, epochs):
    model, total = small_net(seed), epochs * len(batches(seed, 0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step / total))
    for epoch in range(epochs):
        for xb, yb in batches(seed, epoch):
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(xb), yb).backward()
            optimizer.step()
            scheduler.step()
    return val_loss(model)
results = {name: pd.Series([run(f, s, 3) for s in range(4)]) for name, f in (("constant", constant), ("cosine", cosine))}
gain = results["constant"] - results["cosine"]
clear = abs(gain.mean()) > 2 * gain.std() / 2
conclusion = "cannot tell" if not clear else "cosine" if gain.mean() > 0 else "constant"
'''

AVERAGE = '''
def averaged_loss(decay, seed, epochs):
    model = small_net({seed})
    {before}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for epoch in range(epochs):
        for xb, yb in batches(seed, epoch):
            optimizer.zero_grad()
            F.cross_entropy(model.train()(xb), yb).backward()
            optimizer.step()
            {update}
    return val_loss({asked})
losses = {{decay: [averaged_loss(decay, seed, {epochs}) for seed in range(3)] for decay in (0, 0.8, 0.95, 0.998)}}
order = sorted(losses, key=lambda decay: sum(losses[decay]))
best, worst = order[0], order[-1]
'''
COPY, BOTH = "mean = copy.deepcopy(model)", "zip(mean.state_dict().items(), model.state_dict().items())"
UPDATE = f"""for (name, a), (_, b) in {BOTH}:
                if a.dtype.is_floating_point: a.copy_(decay * a + (1 - decay) * b)"""
BY_HAND = """now = model.state_dict()
            for name in mean:
                if mean[name].is_floating_point(): mean[name] = decay * mean[name] + (1 - decay) * now[name]
        filled = small_net(seed); filled.load_state_dict(mean)"""

RESUME = '''
def save_run(run, path):
    torch.save({{"model": run.model.state_dict(){saved}}}, path)
def load_run(run, path):
    states = torch.load(path, weights_only=True)
    run.model.load_state_dict(states["model"])
    {loaded}
'''
SAVED = ', "optimizer": run.optimizer.state_dict()', ', "scheduler": run.scheduler.state_dict()', ', "generator": run.generator.get_state()'
LOADED = [f'run.{name}.load_state_dict(states["{name}"])' for name in ("optimizer", "scheduler")]
LOADED.append('run.generator.set_state(states["generator"])')


def _resume(*parts):
    "A pair of functions that keeps only these of optimizer (0), schedule (1) and generator (2)."
    return RESUME.format(saved="".join(SAVED[k] for k in parts), loaded="\n    ".join(LOADED[k] for k in parts))


ANSWERS = {
    "train-step": {
        "right": [
            """
def train_step(model, xb, yb, optimizer):
    optimizer.zero_grad()
    loss = nn.CrossEntropyLoss()(model(xb), yb)
    loss.backward()
    optimizer.step()
    return float(loss)
""",
            """
def train_step(model, xb, yb, optimizer):
    loss = -model(xb).log_softmax(1)[range(len(yb)), yb].mean()
    for p, g in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters()))): p.grad = g
    optimizer.step()
    return loss.item()
""",
        ],
        "wrong": [
            "def train_step(model, xb, yb, optimizer):\n    loss = F.cross_entropy(model(xb), yb)\n    loss.backward()\n"
            "    optimizer.step()\n    return loss.item()",
            "def train_step(model, xb, yb, optimizer):\n    loss = F.cross_entropy(model(xb), yb)\n    loss.backward()\n"
            "    optimizer.zero_grad()\n    optimizer.step()\n    return loss.item()",
            "def train_step(model, xb, yb, optimizer):\n    loss = F.cross_entropy(model(xb), yb, reduction='sum')\n    loss.backward()\n"
            "    optimizer.step()\n    optimizer.zero_grad()\n    return loss.item() / len(yb)",
            "def train_step(model, xb, yb, optimizer):\n    F.cross_entropy(model(xb), yb).backward()\n    optimizer.step()\n"
            "    optimizer.zero_grad()\n    return F.cross_entropy(model(xb), yb).item()",
            "def train_step(model, xb, yb, optimizer):\n    loss = F.cross_entropy(model(xb).softmax(1), yb)\n    loss.backward()\n"
            "    optimizer.step()\n    optimizer.zero_grad()\n    return loss.item()",
        ],
    },
    "accumulate": {
        "right": [
            """
def accumulate(model, xb, yb, sizes):
    for images, labels in zip(xb.split(sizes), yb.split(sizes)):
        (F.cross_entropy(model(images), labels) * len(labels) / len(yb)).backward()
""",
            """
def accumulate(model, xb, yb, sizes):
    start = 0
    for size in sizes:
        rows = slice(start, start + size)
        F.cross_entropy(model(xb[rows]), yb[rows], reduction="sum").backward()
        start += size
    for p in model.parameters(): p.grad /= len(yb)
""",
        ],
        "wrong": [
            "def accumulate(model, xb, yb, sizes):\n    for x, y in zip(xb.split(sizes), yb.split(sizes)):\n"
            "        (F.cross_entropy(model(x), y) / len(sizes)).backward()",
            "def accumulate(model, xb, yb, sizes):\n    for x, y in zip(xb.split(sizes), yb.split(sizes)):\n"
            "        F.cross_entropy(model(x), y).backward()",
            "def accumulate(model, xb, yb, sizes):\n    F.cross_entropy(model(xb), yb).backward()",
            "def accumulate(model, xb, yb, sizes):\n    for x, y in zip(xb.chunk(len(sizes)), yb.chunk(len(sizes))):\n"
            "        (F.cross_entropy(model(x), y, reduction='sum') / len(yb)).backward()",
            "def accumulate(model, xb, yb, sizes):\n    for x, y in zip(xb.split(sizes), yb.split(sizes)):\n"
            "        model.zero_grad()\n        (F.cross_entropy(model(x), y, reduction='sum') / len(yb)).backward()",
        ],
    },
    "kept-epoch": {
        "right": [
            """
def kept_epoch(accuracies, num_images):
    figures = np.asarray(accuracies)
    error = np.sqrt(figures.max() * (1 - figures.max()) / num_images)
    return int(np.flatnonzero(figures >= figures.max() - error)[-1]) + 1
""",
            """
def kept_epoch(accuracies, num_images):
    kept = best = 0
    for epoch, value in enumerate(accuracies, 1):
        best = max(best, value)
        if value >= best - (best * (1 - best) / num_images) ** 0.5: kept = epoch
    return kept
""",
            """
def kept_epoch(accuracies, num_images):
    figures = pd.Series(list(accuracies), index=range(1, len(accuracies) + 1))
    best = figures.max()
    return figures[figures >= best - (best * (1 - best) / num_images) ** 0.5].index[-1]
""",
        ],
        "wrong": [
            "def kept_epoch(accuracies, num_images): return int(np.argmax(accuracies)) + 1",
            "def kept_epoch(accuracies, num_images): return len(accuracies)",
            "def kept_epoch(accuracies, num_images):\n    best = max(accuracies); least = best - (best * (1 - best) / num_images) ** 0.5\n"
            "    return max(i for i, a in enumerate(accuracies) if a >= least)",
            "def kept_epoch(accuracies, num_images):\n    best = max(accuracies); least = best - (best * (1 - best) / num_images) ** 0.5\n"
            "    return min(i for i, a in enumerate(accuracies, 1) if a >= least)",
            "def kept_epoch(accuracies, num_images):\n    best = max(accuracies); least = best - (best * (1 - best) / 100) ** 0.5\n"
            "    return max(i for i, a in enumerate(accuracies, 1) if a >= least)",
            "def kept_epoch(accuracies, num_images): return {100: 3 if accuracies[1] == 0.9 else 4}.get(num_images, 2)",
        ],
    },
    "schedule": {
        "right": [GOOD, SCHEDULER],
        "wrong": [
            TRAIN.format(seed="0", share="number / total", forget="optimizer.zero_grad()").replace("batches(seed,", "batches(0,"),
            TRAIN.format(seed="seed", share="epoch / epochs", forget="optimizer.zero_grad()"),
            TRAIN.format(seed="seed", share="0", forget="optimizer.zero_grad()"),
            GOOD + '\nconclusion = {"cosine": "constant", "constant": "cosine", "cannot tell": "cosine"}[conclusion]',
            GOOD + '\nresults = {"constant": [1.0, 1.0, 1.0, 1.0], "cosine": [0.9, 0.9, 0.9, 0.9]}\nconclusion = "cosine"',
            GOOD + '\nresults = {name: losses[:1] for name, losses in results.items()}',
        ],
    },
    "ema-decay": {
        "right": [
            AVERAGE.format(seed="seed", before=COPY, update=UPDATE, asked="mean", epochs=4),
            AVERAGE.format(seed="seed", before="mean = copy.deepcopy(model.state_dict())", update=BY_HAND, asked="filled", epochs=5),
        ],
        "wrong": [
            AVERAGE.format(seed="seed", before=COPY, update=UPDATE, asked="model", epochs=4),
            AVERAGE.format(seed="seed", before=COPY, update=UPDATE.replace("decay * a + (1 - decay) * b", "(1 - decay) * a + decay * b"),
                           asked="mean", epochs=4),
            AVERAGE.format(seed="seed", before=COPY, update=UPDATE, asked="mean", epochs=4) + "\nbest, worst = worst, best",
            AVERAGE.format(seed="seed", before="mean = model", update=UPDATE, asked="mean", epochs=4),
            AVERAGE.format(seed="seed", before=COPY, update=UPDATE, asked="mean", epochs=4) + "\nbest = None",
        ],
    },
    "resume": {
        "right": [
            _resume(0, 1, 2),
            """
def save_run(run, path):
    torch.save([run.model.state_dict(), run.optimizer.state_dict(), run.scheduler.state_dict(), run.generator.get_state()], str(path))
def load_run(run, path):
    model, optimizer, scheduler, generator = torch.load(str(path), weights_only=True)
    run.generator.set_state(generator)
    run.scheduler.load_state_dict(scheduler)
    run.model.load_state_dict(model)
    run.optimizer.load_state_dict(optimizer)
""",
        ],
        "wrong": [
            _resume(),
            _resume(0),
            _resume(0, 1),
            _resume(0, 2),
            _resume(1, 2),
            "kept = {}\ndef save_run(run, path): kept[str(path)] = run\n"
            "def load_run(run, path): run.__dict__.update(kept[str(path)].__dict__)",
        ],
    },
}
