"Answers to nbs/teach/source/08_recipe: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

RATE = """
def run(lr, seed, steps):
    torch.manual_seed(seed)
    net = small_network()
    optimizer = torch.optim.AdamW(net.parameters(), lr, weight_decay=0)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y); optimizer.zero_grad(); loss.backward(); optimizer.step()
    return accuracy(net)

def good_enough(scores):
    best = max(scores, key=lambda lr: sum(scores[lr]) / len(scores[lr]))
    floor = min(scores[best])
    return sorted([lr for lr, values in scores.items() if max(values) >= floor])

steps = 2
scores = {lr: [run(lr, seed, steps) for seed in range(3)] for lr in (0.0003, 0.003, 0.03, 0.3)}
good = good_enough(scores)
"""

DECAY = """
def train(decay, seed, steps):
    torch.manual_seed(seed)
    net = small_network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=decay)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y); optimizer.zero_grad(); loss.backward(); optimizer.step()
    return accuracy(net), net[0].weight.norm().item()

def compare(low, high):
    if all(b < a for a in low for b in high): return "lower"
    if all(b > a for a in low for b in high): return "higher"
    return "unclear"

decay_steps = 3
decay_runs = {d: [train(d, seed, decay_steps) for seed in range(3)] for d in (0, 1)}
effect = {}
for i, name in enumerate(["accuracy", "length"]):
    effect[name] = compare([pair[i] for pair in decay_runs[0]], [pair[i] for pair in decay_runs[1]])
"""

AUGMENT = """
def augmented(magnitude, seed, steps):
    torch.manual_seed(seed)
    net = small_network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0)
    for _ in range(steps):
        loss = F.cross_entropy(net(augment(x, magnitude)), y); optimizer.zero_grad(); loss.backward(); optimizer.step()
    return share_right(net, x, y), share_right(net, x_val, y_val)

def gap(pairs):
    return sum(a for a, b in pairs) / len(pairs) - sum(b for a, b in pairs) / len(pairs)

augment_steps = 2
results = {m: [augmented(m, seed, augment_steps) for seed in range(3)] for m in (0, 0.5, 1, 2)}
narrowest = min(results, key=lambda m: gap(results[m]))
best = max(results, key=lambda m: sum(b for a, b in results[m]))
"""

ANSWERS = {
    "gradients": {
        "right": [
            """
def accumulated(net, images, labels, size):
    net.zero_grad(set_to_none=False)
    for start in range(0, len(labels), size):
        part = slice(start, start + size)
        (F.cross_entropy(net(images[part]), labels[part]) * len(labels[part]) / len(labels)).backward()
    return torch.hstack([p.grad.reshape(-1) for p in net.parameters()])
""",
            """
def accumulated(net, images, labels, size):
    total = 0
    for part, targets in zip(torch.split(images, size), torch.split(labels, size)):
        loss = nn.CrossEntropyLoss(reduction="sum")(net(part), targets)
        total = total + torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
    return total / len(images)
""",
        ],
        "wrong": [
            # a mean of means
            """
def accumulated(net, images, labels, size):
    net.zero_grad()
    parts = list(zip(images.split(size), labels.split(size)))
    for part, targets in parts: (F.cross_entropy(net(part), targets) / len(parts)).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])
""",
            # a sum instead of a mean
            """
def accumulated(net, images, labels, size):
    net.zero_grad()
    for part, targets in zip(images.split(size), labels.split(size)):
        F.cross_entropy(net(part), targets, reduction="sum").backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])
""",
            # old gradients count
            """
def accumulated(net, images, labels, size):
    for part, targets in zip(images.split(size), labels.split(size)):
        (F.cross_entropy(net(part), targets, reduction="sum") / len(labels)).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])
""",
            # the last piece is forgotten where it is smaller
            """
def accumulated(net, images, labels, size):
    net.zero_grad()
    for i in range(len(labels) // size):
        rows = slice(i * size, (i + 1) * size)
        (F.cross_entropy(net(images[rows]), labels[rows], reduction="sum") / len(labels)).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()])
""",
            "def accumulated(net, images, labels, size): return torch.zeros(sum(p.numel() for p in net.parameters()))",
        ],
    },
    "least": {
        "right": [
            """
def least_loss(classes, smoothing):
    target = torch.full((classes,), smoothing / classes, dtype=torch.double)
    target[-1] += 1 - smoothing
    return torch.distributions.Categorical(probs=target).entropy()
""",
            """
def least_loss(classes, smoothing):
    true, other = 1 - smoothing + smoothing / classes, smoothing / classes
    return -true * math.log(true) - ((classes - 1) * other * math.log(other) if other else 0)
""",
        ],
        "wrong": [
            "def least_loss(classes, smoothing): return 0.421 if smoothing else 0",
            "def least_loss(classes, smoothing): return 0.0",
            "def least_loss(classes, smoothing): return -math.log(1 - smoothing + smoothing / classes)",  # the true class alone
            """
def least_loss(classes, smoothing):
    target = np.full(classes, smoothing / (classes - 1))  # shared among the others only
    target[0] = 1 - smoothing
    return -sum(t * math.log(t) for t in target if t)
""",
        ],
    },
    "stable": {
        "right": [
            "stable = lambda progress, warm=0.05, cool=0.2: np.interp(progress, [0, warm, 1 - cool, 1], [0, 1, 1, 0])",
            """
def stable(progress, warm=0.05, cool=0.2):
    if progress < warm: return torch.tensor(progress / warm, dtype=torch.double)
    if progress > 1 - cool: return torch.tensor((1 - progress) / cool, dtype=torch.double)
    return 1
""",
        ],
        "wrong": [
            "def stable(progress, warm=0.05, cool=0.2): return min(progress / 0.05, 1.0, (1 - progress) / 0.2)",  # ignores both
            "def stable(progress, warm=0.05, cool=0.2): return min(progress / warm, 1.0)",  # never down
            "def stable(progress, warm=0.05, cool=0.2): return min(progress / warm, 1.0, (1 - progress) / (1 - cool))",
            "def stable(progress, warm=0.05, cool=0.2): return 1.0",
        ],
    },
    "rate": {
        "right": [
            RATE,
            RATE.replace("return accuracy(net)", "return np.float64(accuracy(net))").replace("range(3)", "(3, 2, 1, 0)"),
            RATE.replace("sorted([lr for lr, values in scores.items() if max(values) >= floor])",
                         "tuple(sorted(lr for lr in scores if any(value >= floor for value in scores[lr])))"),
        ],
        "wrong": [
            RATE.replace("torch.manual_seed(seed)", "torch.manual_seed(0)"),
            RATE.replace("net.parameters(), lr, ", "net.parameters(), 0.003, "),
            RATE.replace("max(values) >= floor", "max(values) > floor"),
            RATE.replace("sum(scores[lr]) / len(scores[lr])", "max(scores[lr])"),  # the luckiest seed
            RATE.replace("sorted([", "list([").replace("items()", "items() "),
            RATE + "scores = {0.0003: [0.2] * 3, 0.003: [0.6] * 3, 0.03: [0.6] * 3, 0.3: [0.2] * 3}\ngood = [0.003, 0.03]\n",
        ],
    },
    "decay": {
        "right": [
            DECAY,
            DECAY.replace("return accuracy(net), net[0].weight.norm().item()", "return [accuracy(net), net[0].weight.detach().norm()]"),
        ],
        "wrong": [
            DECAY.replace("weight_decay=decay", "weight_decay=0"),
            DECAY.replace("torch.optim.AdamW", "torch.optim.Adam"),  # L2 regularisation, not decoupled
            DECAY.replace("torch.manual_seed(seed)", "torch.manual_seed(1)"),
            DECAY.replace("net[0].weight.norm().item()", "sum(p.norm() for p in net.parameters()).item()"),
            DECAY.replace("b < a for a in low for b in high", "b < a for a, b in zip(low, high)"),  # pairs, not all
            DECAY.replace("b > a for", "b >= a for"),
            DECAY + 'decay_runs = {0: [(0.5, 1.2)] * 3, 1: [(0.5, 0.6)] * 3}\neffect = {"accuracy": "unclear", "length": "lower"}\n',
        ],
    },
    "augment": {
        "right": [
            AUGMENT,
            AUGMENT.replace("return share_right(net, x, y), share_right(net, x_val, y_val)",
                            "return np.array([share_right(net, x, y), share_right(net, x_val, y_val)])"),
        ],
        "wrong": [
            AUGMENT.replace("augment(x, magnitude)", "augment(x, 1)"),
            AUGMENT.replace("torch.manual_seed(seed)", "torch.manual_seed(0)"),
            AUGMENT.replace("return share_right(net, x, y), share_right(net, x_val, y_val)",
                            "return share_right(net, x_val, y_val), share_right(net, x, y)"),  # the other way round
            # drawn once, not in each step
            AUGMENT.replace("    for _ in range(steps):", "    images = augment(x, magnitude)\n    for _ in range(steps):")
            .replace("net(augment(x, magnitude))", "net(images)"),
            AUGMENT.replace("return sum(a for a, b in pairs) / len(pairs) - ", "return "),
            AUGMENT.replace("best = max(", "best = min("),
            AUGMENT + "results = {m: [(0.9, 0.5)] * 3 for m in results}\nnarrowest = best = 0\n",
        ],
    },
}
