"Answers to nbs/teach/source/06_cnn: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

DEPTH = """
def loss_after(depth, shortcut, seed, steps):
    torch.manual_seed(seed)
    net = deep_network(depth, shortcut)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y); optimizer.zero_grad(); loss.backward(); optimizer.step()
    return loss.item()

def verdict(with_shortcut, without):
    if max(with_shortcut) < min(without): return "helps"
    if min(with_shortcut) > max(without): return "hurts"
    return "unclear"

steps = 2
losses = {(n, s): [loss_after(n, s, seed, steps) for seed in range(3)] for n in (2, 16) for s in (True, False)}
conclusion = {n: verdict(losses[n, True], losses[n, False]) for n in (2, 16)}
"""

BUDGET = """
def small(*widths, kernel=3):
    layers, inputs = [], 3
    for width in widths:
        layers += [nn.Conv2d(inputs, width, kernel, 2, kernel // 2), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 4))

candidates = {"a": lambda: small(4, 8), "b": lambda: small(8, 16), "c": lambda: small(4, 8, 8), "d": lambda: small(4, 8, kernel=5)}

def score(make, seed, steps):
    torch.manual_seed(seed)
    net = make()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y); optimizer.zero_grad(); loss.backward(); optimizer.step()
    net.eval()
    return (net(x_val).argmax(1) == y_val).float().mean().item()

steps = 2
scores = {name: [score(make, seed, steps) for seed in range(3)] for name, make in candidates.items()}
best = max(scores, key=lambda name: np.mean(scores[name]))
clear = min(scores[best]) > max(v for name, values in scores.items() if name != best for v in values)
"""

ANSWERS = {
    "side": {
        "right": [
            "map_side = lambda side, kernel, stride=1, padding=0: len(range(0, side + 2 * padding - kernel + 1, stride))",
            """
def map_side(side, kernel, stride=1, padding=0):
    return int(np.floor((side + 2 * padding - kernel) / stride + 1))
""",
            """
def map_side(side, kernel, stride=1, padding=0):
    return nn.Conv1d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, side)).shape[-1]
""",
        ],
        "wrong": [
            "def map_side(side, kernel, stride=1, padding=0): return side // stride",
            "def map_side(side, kernel, stride=1, padding=0): return (side + padding - kernel) // stride + 1",  # one border only
            "def map_side(side, kernel, stride=1, padding=0): return (side + 2 * padding - kernel) / stride + 1",  # halves of a pixel
            "def map_side(side, kernel, stride=1, padding=0): return (side + 2 * padding - kernel + 1) // stride",  # one place short
            "def map_side(side, kernel, stride=1, padding=0): return {224: 112}.get(side, 5 if kernel == 3 else 1)",
        ],
    },
    "mover": {
        "right": [
            "mover = [[0, 0, 0], [1, 0, 0], [0, 0, 0]]",
            "mover = np.zeros((3, 3)); mover[1, 0] = 1",
            "mover = torch.eye(3, dtype=torch.int64)[[2, 0, 2]] * torch.tensor([[0], [1], [0]])",
        ],
        "wrong": [
            "mover = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]])",  # stays
            "mover = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 0, 0]])",  # to the left
            "mover = torch.tensor([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]])",  # down
            "mover = torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])",  # a blur
            "mover = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0]]) / 3",  # right on an image whose rows are equal
        ],
    },
    "dense": {
        "right": [
            "dense_parameters = lambda side, hidden, classes: hidden * (3 * side**2 + 1 + classes) + classes",
            """
def dense_parameters(side, hidden, classes):
    layers = nn.Sequential(nn.Flatten(), nn.Linear(side * side * 3, hidden), nn.ReLU(), nn.Linear(hidden, classes))
    return np.int64(sum(p.numel() for p in layers.parameters()))
""",
        ],
        "wrong": [
            "def dense_parameters(side, hidden, classes): return 12_588_308",  # the one answer
            "def dense_parameters(side, hidden, classes): return 3 * side * side * hidden + hidden * classes",  # no bias
            "def dense_parameters(side, hidden, classes): return (3 * side * side + 1) * hidden + hidden * classes",  # one forgotten
            "def dense_parameters(side, hidden, classes): return (side * side + 1) * hidden + (hidden + 1) * classes",  # grey
            "def dense_parameters(side, hidden, classes=20): return (3 * side * side + 1) * hidden + (hidden + 1) * 20",
        ],
    },
    "field": {
        "right": [
            """
def receptive_field(kernels, strides):
    side = 1
    for kernel, stride in reversed(list(zip(kernels, strides))):
        side = (side - 1) * stride + kernel
    return side
""",
            """
def receptive_field(kernels, strides):
    jumps = np.cumprod([1, *strides[:-1]])
    return 1 + (jumps * (np.array(kernels) - 1)).sum()
""",
        ],
        "wrong": [
            "def receptive_field(kernels, strides): return 1 + sum(kernel - 1 for kernel in kernels)",  # ignores strides
            "def receptive_field(kernels, strides): return sum(kernels)",
            "def receptive_field(kernels, strides): return 7 if set(strides) == {1} else 15",  # the question's own cases
            """
def receptive_field(kernels, strides):
    side, step = 1, 1
    for kernel, stride in zip(kernels, strides):
        step *= stride  # too early: a layer's own stride does not widen what it sees
        side += (kernel - 1) * step
    return side
""",
            """
def receptive_field(kernels, strides):
    side, step = 1, 1
    for stride in strides:
        side, step = side + 2 * step, step * stride  # every kernel is 3 wide
    return side
""",
        ],
    },
    "norm": {
        "right": [
            """
def final_loss(norm, seed, steps):
    torch.manual_seed(seed)
    net = small_network(norm)
    opt = torch.optim.SGD(net.parameters(), 0.1)
    for step in range(steps):
        opt.zero_grad()
        loss = nn.CrossEntropyLoss()(net(x), y)
        loss.backward()
        opt.step()
    return loss.detach()  # a tensor

with_norm, without_norm = ([final_loss(norm, seed, 20) for seed in (0, 1, 2)] for norm in (True, False))
lower = "with"
""",
            """
def final_loss(norm, seed, steps=20):
    torch.manual_seed(seed)
    net = small_network(norm)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y)
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), grads): p -= 0.1 * g
    return float(loss)

with_norm = np.array([final_loss(True, s) for s in range(3)])
without_norm = np.array([final_loss(False, s) for s in range(3)])
lower = "with" if max(with_norm) < min(without_norm) else "unclear"
""",
        ],
        "wrong": [
            # a guess without a run
            """
def final_loss(norm, seed, steps=20): return 0.5 if norm else 1.4
with_norm, without_norm, lower = [0.5, 0.51, 0.52], [1.4, 1.41, 1.42], "with"
""",
            # ignores the seed
            """
def final_loss(norm, seed, steps=20):
    torch.manual_seed(0)
    net = small_network(norm)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y); opt.zero_grad(); loss.backward(); opt.step()
    return loss.item()
with_norm = [final_loss(True, s) for s in range(3)]
without_norm = [final_loss(False, s) for s in range(3)]
lower = "with"
""",
            # forgets zero_grad
            """
def final_loss(norm, seed, steps=20):
    torch.manual_seed(seed)
    net = small_network(norm)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y); loss.backward(); opt.step()
    return loss.item()
with_norm = [final_loss(True, s) for s in range(3)]
without_norm = [final_loss(False, s) for s in range(3)]
lower = "with"
""",
            # the right runs, the wrong conclusion
            """
def final_loss(norm, seed, steps=20):
    torch.manual_seed(seed)
    net = small_network(norm)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(steps):
        loss = F.cross_entropy(net(x), y); opt.zero_grad(); loss.backward(); opt.step()
    return loss.item()
with_norm = [final_loss(True, s) for s in range(3)]
without_norm = [final_loss(False, s) for s in range(3)]
lower = "without"
""",
        ],
    },
    "depth": {
        "right": [
            DEPTH,
            # tensors and arrays for numbers, other seeds, other words inside
            DEPTH.replace("return loss.item()", "return loss.detach()").replace("range(3)]", "(1, 2, 3, 4)]"),
            DEPTH.replace("    if max(with_shortcut) < min(without)", "    if all(a < b for a in with_shortcut for b in without)"),
        ],
        "wrong": [
            DEPTH.replace("torch.manual_seed(seed)", "torch.manual_seed(0)"),  # ignores the seed
            DEPTH.replace("deep_network(depth, shortcut)", "deep_network(depth, True)"),  # ignores the shortcut
            DEPTH.replace("optimizer.zero_grad(); ", ""),
            DEPTH.replace(", momentum=0.9", ""),
            DEPTH.replace("max(with_shortcut) < min(without)", "sum(with_shortcut) < sum(without)"),  # means, not every seed
            DEPTH.replace('return "hurts"', 'return "unclear"'),
            DEPTH + 'losses = {key: [0.3, 0.31, 0.32] if key[1] else [1.3, 1.31, 1.32] for key in losses}\n'
            'conclusion = {2: "helps", 16: "helps"}\n',  # guessed
        ],
    },
    "budget": {
        "right": [
            BUDGET,
            BUDGET.replace("[score(make, seed, steps) for seed in range(3)]", "np.array([score(make, s, steps) for s in range(4)])"),
            BUDGET.replace("> max(v for", "> np.max([v for").replace("for v in values)", "for v in values])"),
        ],
        "wrong": [
            BUDGET.replace("small(8, 16)", "small(64, 128)"),  # too many parameters
            BUDGET.replace("net.eval()", "pass"),  # training mode
            BUDGET.replace("torch.manual_seed(seed)", "torch.manual_seed(0)"),
            BUDGET.replace("for _ in range(steps)", "for _ in range(2)"),  # ignores steps
            BUDGET.replace('"d": lambda: small(4, 8, kernel=5)', '"d": lambda: small(4, 8)'),  # the same network twice
            BUDGET + 'scores = {name: [0.5, 0.5, 0.5] for name in candidates} | {"a": [0.9, 0.9, 0.9]}\nbest, clear = "a", True\n',
            BUDGET + "clear = not clear\n",
        ],
    },
}
