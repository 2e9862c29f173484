"Answers to nbs/teach/source/05_learning, each for a whole solution cell. tests/test_exercises.py feeds them to the checks."

LOOP = """
    for _ in range(epochs):
        for batch in torch.randperm(n).split({size}):
            loss = F.cross_entropy(net(x_train[batch]), y_train[batch])
            optimizer.zero_grad(); loss.backward(); optimizer.step()
"""

RATE = """
def train_at(lr, seed, epochs=12):
    net, n = make_net(seed), len(y_train)
    optimizer = torch.optim.SGD(net.parameters(), lr={lr})
""" + LOOP.replace("{size}", "32") + """
    return {result}

conclusion = {conclusion}
"""
LOSS = "measure(net, x_train, y_train)[0]"
BOTH = {"a tenth": "higher", "ten times": "higher"}

DATA = """
def accuracy_with(per_class, epochs, seed):
    net, n = make_net(seed), {n}
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
""" + LOOP.replace("{size}", "16") + """
    return {result}

better = "{better}"
"""
ACCURACY = "measure(net, x_val, y_val)[1]"

EARLY = """
def fit_early(seed, patience=5, max_epochs=60):
    net, losses, best, lowest, waited = make_net(seed), [], None, float("inf"), 0
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    while len(losses) < max_epochs:
        net.train()
        for batch in torch.randperm(len(y_train)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(net(x_train[batch]), y_train[batch]).backward()
            optimizer.step()
        losses.append(measure(net, {on})[0])
        waited += 1
        if losses[-1] < {bound}:
            lowest, waited, best = losses[-1], 0, {keep}
        {last}
        if waited {stop}: break
    {restore}
    return net, losses
"""
GOOD = {
    "on": "x_val, y_val",
    "bound": "lowest",
    "keep": "copy.deepcopy(net.state_dict())",
    "last": "pass",
    "stop": ">= patience",
    "restore": "net.load_state_dict(best)",
}


def early(**changes: str) -> str:
    return EARLY.format(**GOOD | changes)


ANSWERS = {
    "clueless": {
        "right": [
            "def clueless_loss(num_classes): return -np.log(1 / num_classes)",
            "def clueless_loss(n): return F.cross_entropy(torch.ones(1, n), torch.tensor([0]))",
            "clueless_loss = np.log",
        ],
        "wrong": [
            "def clueless_loss(num_classes): return 2.996 if num_classes > 1 else 0.0",  # the one answer
            "def clueless_loss(num_classes): return math.log2(num_classes)",
            "def clueless_loss(num_classes): return 1 - 1 / num_classes",
            "def clueless_loss(num_classes): return 1 / num_classes",
        ],
    },
    "stable": {
        "right": [
            "stable_cross_entropy = lambda logits, labels: (logits.logsumexp(1) - logits[torch.arange(len(labels)), labels]).mean()",
            "def stable_cross_entropy(z, y): return -z.log_softmax(1).gather(1, y[:, None]).mean()",
            """
def stable_cross_entropy(logits, labels):
    losses = []
    for row, label in zip(logits.double().numpy(), labels.numpy()):
        row = row - row.max()
        losses.append(np.log(np.exp(row).sum()) - row[label])
    return np.mean(losses)
""",
        ],
        "wrong": [
            # the lesson's own
            "def stable_cross_entropy(z, y): return -(z.exp() / z.exp().sum(1, keepdim=True))[torch.arange(len(y)), y].log().mean()",
            # a stable softmax, and the logarithm of 0
            "def stable_cross_entropy(z, y): return -z.softmax(1)[torch.arange(len(y)), y].log().mean()",
            # a small number that is not there
            "def stable_cross_entropy(z, y): return -(z.softmax(1)[torch.arange(len(y)), y] + 1e-9).log().mean()",
            # one maximum for all rows
            """
def stable_cross_entropy(logits, labels):
    z = logits - logits.max()
    return -(z - z.exp().sum(1, keepdim=True).log())[torch.arange(len(labels)), labels].mean()
""",
            "def stable_cross_entropy(z, y): return -z.log_softmax(1)[torch.arange(len(y)), y].sum()",  # not the mean
        ],
    },
    "logit-gradient": {
        "right": [
            """
def logit_gradient(logits, labels):
    p = logits.softmax(1).numpy()
    p[np.arange(len(labels)), labels.numpy()] -= 1
    return p / len(p)
""",
            """
def logit_gradient(logits, labels):
    z = logits.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(z, labels), z)[0]
""",
        ],
        "wrong": [
            "def logit_gradient(z, y): return z.softmax(1) - F.one_hot(y, z.shape[1])",  # of the sum
            "def logit_gradient(z, y): return (F.one_hot(y, z.shape[1]) - z.softmax(1)) / len(y)",  # uphill
            "def logit_gradient(z, y): return (z.softmax(1) - F.one_hot(y, z.shape[1])) / z.numel()",
            "def logit_gradient(z, y): return (z - F.one_hot(y, z.shape[1])) / len(y)",  # of the squared error
            "def logit_gradient(z, y): return (z.softmax(1) - F.one_hot(torch.zeros_like(y), z.shape[1])) / len(y)",
        ],
    },
    "rate": {
        "right": [
            RATE.format(lr="lr", result=LOSS, conclusion=BOTH),
            """
def train_at(lr, seed, epochs=12):
    net = make_net(seed)
    for _ in range(epochs):
        order = torch.randperm(len(y_train))
        for start in range(0, len(order), 32):
            i = order[start : start + 32]
            slopes = torch.autograd.grad(F.cross_entropy(net(x_train[i]), y_train[i]), list(net.parameters()))
            with torch.no_grad():
                for w, slope in zip(net.parameters(), slopes): w -= lr * slope
    with torch.no_grad(): return float(F.cross_entropy(net(x_train), y_train))

conclusion = dict(zip(("a tenth", "ten times"), ("higher", "higher")))
""",
        ],
        "wrong": [
            RATE.format(lr="0.1", result=LOSS, conclusion=BOTH),  # the rate is ignored
            RATE.format(lr="lr", result=LOSS, conclusion={"a tenth": "higher", "ten times": "lower"}),
            RATE.format(lr="lr", result=LOSS, conclusion={"a tenth": "lower", "ten times": "higher"}),
            RATE.format(lr="lr", result="measure(net, x_train, y_train)[1]", conclusion=BOTH),  # the accuracy
            RATE.format(lr="lr", result=LOSS, conclusion=BOTH).replace("make_net(seed)", "make_net(0)"),
        ],
    },
    "data": {
        "right": [
            DATA.format(n="4 * per_class", result=ACCURACY, better="images"),
            DATA.format(n="per_class * len(KINDS)", result="(net(x_val).argmax(1) == y_val).double().mean().item()", better="images"),
        ],
        "wrong": [
            DATA.format(n="4 * per_class", result=ACCURACY, better="epochs"),
            DATA.format(n="len(y_train)", result=ACCURACY, better="images"),  # per_class is ignored
            DATA.format(n="4 * per_class", result="measure(net, x_train, y_train)[1]", better="images"),  # on the training images
            DATA.format(n="4 * per_class", result=ACCURACY, better="images").replace("range(epochs)", "range(20)"),
            DATA.format(n="4 * per_class", result="measure(net, x_val, y_val)[0]", better="images"),  # the loss
        ],
    },
    "nesterov": {
        "right": [
            """
def nesterov(w, g, state, lr, mu=0.9):
    v = g.clone() if "v" not in state else mu * state["v"] + g
    state.update(v=v)
    return w - lr * g - lr * mu * v
""",
            """
def nesterov(w, g, state, lr, mu=0.9):
    state.setdefault("speed", torch.zeros_like(w)).mul_(mu).add_(g)
    return w.sub(g.add(state["speed"], alpha=mu), alpha=lr)
""",
        ],
        "wrong": [
            """
def nesterov(w, g, state, lr, mu=0.9):
    state["v"] = mu * state.get("v", 0) + g
    return w - lr * state["v"]
""",  # plain momentum
            "def nesterov(w, g, state, lr, mu=0.9): return w - lr * (1 + mu) * g",  # v is not kept
            """
def nesterov(w, g, state, lr, mu=0.9):
    state["v"] = 0.9 * state.get("v", 0) + g
    return w - lr * (g + 0.9 * state["v"])
""",  # mu is ignored
            """
def nesterov(w, g, state, lr, mu=0.9):
    state["v"] = mu * state.get("v", 0) + (1 - mu) * g
    return w - lr * (g + mu * state["v"])
""",
        ],
    },
    "early": {
        "right": [
            early(),
            early(keep="{k: v.clone() for k, v in net.state_dict().items()}"),
            early(keep="copy.deepcopy(net)", restore="net = best"),
        ],
        "wrong": [
            early(keep="net.state_dict()"),  # not a copy: the last weights
            early(restore="pass"),  # the last weights
            early(stop="> patience"),  # one epoch too late
            early(bound="(losses[-2] if len(losses) > 1 else 9)"),  # lower than the last one, not than the best
            early(stop=">= 5"),  # patience is ignored
            early(on="x_train, y_train"),  # stops by the training loss
        ],
    },
}
