"Answers to nbs/teach/source/06_cnn: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

ANSWERS = {
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
}
