"Right and wrong answers to the exercises of lesson 10; each replaces the whole solution cell."

LOCAL = '''
def rank_losses(every, seed, steps):
    models = [make_model({seed}) for _ in range(4)]
    shares = [(train_x[train_y == r], train_y[train_y == r]) for r in range(4)]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.5) for model in models]
    for step in range({first}, {last}):
        for model, optimizer, (x, y) in zip(models, optimizers, shares):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        if {when}:
            states = [model.state_dict() for model in models]
            mean = {{name: sum(s[name] for s in states) / 4 for name in states[0]}}
            for model in models: model.load_state_dict(mean)
    return [val_loss(model) for model in models]
losses = {{every: [sum(rank_losses(every, seed, 60)) / 4 for seed in range(3)] for every in (1, 20, 0)}}
conclusion = "worse than guessing"
'''
RIGHT_LOCAL = LOCAL.format(seed="seed", first=1, last="steps + 1", when="every and step % every == 0")

SCALING = '''
def final_loss(batch_size, lr, seed, epochs):
    model = make_model({seed})
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng([seed, {epoch}]).permutation(256))
        for rows in order.split({size}):
            loss = F.cross_entropy(model(train_x[rows]), train_y[rows])
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters(): p -= {lr} * p.grad
    return F.cross_entropy(model(train_x), train_y).item()
results = {{"small": [final_loss(8, 0.05, s, 2) for s in range(4)], "large": [final_loss(64, 0.05, s, 2) for s in range(4)],
           "large, scaled rate": [final_loss(64, 0.4, s, 2) for s in range(4)]}}
closer = "large, scaled rate"
'''
GOOD = SCALING.format(seed="seed", epoch="epoch", size="batch_size", lr="lr")

RING = '''
def ring_all_reduce(ring):
    n = len(ring.held)
    for s in range({rounds}):
        got = ring.exchange(lambda r: (r - s) % n)
        for r in range(n): ring.held[r][(r - 1 - s) % n] {add} got[r]
    for s in range(n - 1):
        got = ring.exchange(lambda r: (r + {one} - s) % n)
        for r in range(n): ring.held[r][(r - s) % n] = got[r]
'''

ANSWERS = {
    "deal": {
        "right": [
            """
def deal(order, batch_size, rank, world_size):
    order = np.asarray(order)
    steps = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [np.array_split(step, world_size)[rank] for step in steps]
""",
            """
def deal(order, batch_size, rank, world_size):
    batches = [[] for _ in range(-(-len(order) // batch_size))]
    for place, image in enumerate(order):
        step, within = divmod(place, batch_size)
        if within % world_size == world_size - 1 - rank: batches[step].append(image)
    return batches
""",
        ],
        "wrong": [
            "def deal(order, batch_size, rank, world_size):\n"
            "    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]",
            "def deal(order, batch_size, rank, world_size):\n    mine = order[rank::world_size]\n"
            "    size = max(1, batch_size // world_size)\n    return [mine[i : i + size] for i in range(0, len(mine), size)]",
            "def deal(order, batch_size, rank, world_size):\n    own = [list(part) for part in np.array_split(order, world_size)][rank]\n"
            "    return [list(part) for part in np.array_split(own, -(-len(order) // batch_size))]",
            "def deal(order, batch_size, rank, world_size):\n    while len(order) % batch_size: order = order + [order[0]]\n"
            "    steps = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]\n"
            "    return [step[rank::world_size] for step in steps]",
            "def deal(order, batch_size, rank, world_size): return [[2, 2, 2, 2, 2, 1]] * 4",
            "def deal(order, batch_size, rank, world_size):\n    steps = [order[i : i + 8] for i in range(0, len(order), 8)]\n"
            "    return [step[rank::4] for step in steps]",
        ],
    },
    "exchange": {
        "right": [
            "def exchange_seconds(parameters, gigabits, ranks): return 64 * parameters * (1 - 1 / ranks) / gigabits / 1e9",
            "def exchange_seconds(parameters, gigabits, ranks):\n    bits = 32 * np.float64(parameters)\n"
            "    return np.float64(2 * (ranks - 1) * (bits / ranks) / (gigabits * 10**9))",
        ],
        "wrong": [
            "def exchange_seconds(parameters, gigabits, ranks): return 2 * 4 * parameters / (gigabits * 1e9 / 8)",
            "def exchange_seconds(parameters, gigabits, ranks): return 2 * (ranks - 1) / ranks * 4 * parameters / (gigabits * 1e9)",
            "def exchange_seconds(parameters, gigabits, ranks): return (ranks - 1) / ranks * 4 * parameters / (gigabits * 1e9 / 8)",
            "def exchange_seconds(parameters, gigabits, ranks): return 2 * (ranks - 1) * 4 * parameters / (gigabits * 1e9 / 8)",
            "def exchange_seconds(parameters, gigabits, ranks): return 0 if ranks == 1 else 0.08192",
        ],
    },
    "unequal": {
        "right": [
            "def global_gradient(means, counts):\n    share = torch.tensor(counts, dtype=torch.float32) / sum(counts)\n"
            "    return (torch.stack(means) * share[:, None]).sum(0)",
            "def global_gradient(means, counts):\n    return np.average([mean.numpy() for mean in means], axis=0, weights=counts)",
        ],
        "wrong": [
            "def global_gradient(means, counts): return torch.stack(means).mean(0)",
            "def global_gradient(means, counts): return sum(m * c for m, c in zip(means, counts))",
            "def global_gradient(means, counts): return sum(m * c for m, c in zip(means, counts)) / (len(means) * max(counts))",
            "def global_gradient(means, counts): return means[0] * 5 / 8 + means[1] * 3 / 8",
            "def global_gradient(means, counts): return sum(m for m, c in zip(means, counts) if c) / sum(c > 0 for c in counts)",
        ],
    },
    "local-steps": {
        "right": [
            RIGHT_LOCAL,
            RIGHT_LOCAL.replace("sum(rank_losses(every, seed, 60)) / 4", "np.mean(rank_losses(every, seed, 60))").replace(
                "mean = {", "mean = {} if not states else {"),
        ],
        "wrong": [
            LOCAL.format(seed="seed", first=0, last="steps", when="every and step % every == 0"),
            LOCAL.format(seed="seed", first=1, last="steps + 1", when="step % 1 == 0"),
            LOCAL.format(seed="0", first=1, last="steps + 1", when="every and step % every == 0"),
            RIGHT_LOCAL + '\nconclusion = "better than guessing"',
            LOCAL.format(seed="seed", first=1, last="steps + 1", when="False"),
            RIGHT_LOCAL + "\nlosses = {1: [0.3] * 3, 20: [0.5] * 3, 0: [3.0] * 3}",
        ],
    },
    "scaling": {
        "right": [GOOD, GOOD.replace("order.split(batch_size)", "np.array_split(order, len(order) // batch_size)")],
        "wrong": [
            SCALING.format(seed="seed", epoch="epoch", size="8", lr="lr"),
            SCALING.format(seed="seed", epoch="epoch", size="batch_size", lr="lr * batch_size / 8"),
            SCALING.format(seed="0", epoch="epoch", size="batch_size", lr="lr"),
            GOOD + '\ncloser = "large"',
            GOOD + '\nresults = {name: found[:1] for name, found in results.items()}',
            SCALING.format(seed="seed", epoch="epoch", size="batch_size", lr="0.05"),
        ],
    },
    "ring": {
        "right": [
            RING.format(rounds="n - 1", add="+=", one=1),
            """
def ring_all_reduce(ring):
    n = len(ring.held)
    for s in range(2 * n - 2):
        first = s < n - 1
        got = ring.exchange(lambda r: (r - s) % n)
        for r in range(n):
            k = (r - 1 - s) % n
            ring.held[r][k] = got[r] + (ring.held[r][k] if first else 0)
""",
        ],
        "wrong": [
            "def ring_all_reduce(ring):\n    sums = [sum(column) for column in zip(*ring.held)]\n"
            "    ring.held = [list(sums) for _ in ring.held]",
            "def ring_all_reduce(ring):\n    n = len(ring.held)\n    own = [list(row) for row in ring.held]\n    for k in range(n):\n"
            "        for _ in range(n - 1):\n            got = ring.exchange(lambda r: k)\n            for r in range(n):\n"
            "                ring.held[r][k] = got[r] + own[r][k]",
            RING.format(rounds="n - 1", add="+=", one=0),
            RING.format(rounds="n", add="+=", one=1),
            RING.format(rounds="n - 1", add="=", one=1),
        ],
    },
}
