"Answers to nbs/teach/source/07_finetune: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

AMOUNT = """
def run(pretrained, per_class, seed, epochs):
    torch.manual_seed(seed)
    net = start(pretrained)
    few = slice(0, 4 * per_class)
    fit(net, x[few], y[few], [{"params": list(net.parameters()), "lr": 0.002}], epochs)
    return accuracy(net, x_new, y_new)

def gain(scores, per_class):
    return sum(scores[True, per_class]) / len(scores[True, per_class]) - sum(scores[False, per_class]) / len(scores[False, per_class])

epochs = 1
scores = {(p, n): [run(p, n, seed, epochs) for seed in range(3)] for p in (True, False) for n in (2, 8, 24)}
most = max((2, 8, 24), key=lambda n: gain(scores, n))
"""

FREEZE = """
def tune(frozen, seed, epochs):
    torch.manual_seed(seed)
    net = start()
    params = param_groups(net, lr=0.002, freeze_groups=frozen)
    fit(net, x[:32], y[:32], params, epochs)
    return accuracy(net, x_new, y_new)

def winner(tuned):
    for n in tuned:
        if all(min(tuned[n]) > max(tuned[other]) for other in tuned if other != n):
            return n

tune_epochs = 1
tuned = {n: [tune(n, seed, tune_epochs) for seed in range(3)] for n in (0, 2, 4)}
advice = winner(tuned)
"""

ANSWERS = {
    "share": {
        "right": [
            "trained_share = lambda sizes, frozen: 1 - np.sum(sizes[:frozen]) / np.sum(sizes)",
            """
def trained_share(sizes, frozen):
    trained = 0
    for number, size in enumerate(sizes):
        if number >= frozen:
            trained += size
    return torch.tensor(trained / sum(sizes), dtype=torch.float64)
""",
        ],
        "wrong": [
            "def trained_share(sizes, frozen): return 0.95",
            "def trained_share(sizes, frozen): return 1 - frozen / len(sizes)",  # groups, not parameters
            "def trained_share(sizes, frozen): return sum(sizes[:frozen]) / sum(sizes)",  # what is frozen
            "def trained_share(sizes, frozen): return sum(sizes[frozen + 1 :]) / sum(sizes)",
            "def trained_share(sizes, frozen): return sum(sizes[2:]) / sum(sizes)",
        ],
    },
    "rates": {
        "right": [
            "graded_rates = lambda lr, mult, groups: np.geomspace(lr * mult, lr, groups)",
            """
def graded_rates(lr, mult, groups):
    factor, rates = mult ** (-1 / (groups - 1)), [lr * mult]
    while len(rates) < groups:
        rates.append(rates[-1] * factor)
    return tuple(rates)
""",
        ],
        "wrong": [
            "def graded_rates(lr, mult, groups): return [0.001, 0.01, 0.1] if mult < 1 else [lr] * groups",
            "def graded_rates(lr, mult, groups): return np.linspace(lr * mult, lr, groups)",  # the same step, not factor
            "def graded_rates(lr, mult, groups): return np.geomspace(lr, lr * mult, groups)",  # from the head down
            "def graded_rates(lr, mult, groups): return [lr * mult ** (1 - i / groups) for i in range(groups)]",
            "def graded_rates(lr, mult, groups): return [lr * mult ** (1 - i / 2) for i in range(groups)]",  # three groups only
        ],
    },
    "drift": {
        "right": [
            """
def drifting(net):
    names = []
    for name, module in net.named_modules():
        if type(module).__name__.startswith("BatchNorm") and module.training and not module.bias.requires_grad:
            names.append(name)
    return tuple(names)
""",
            """
from copy import deepcopy
def drifting(net):
    twin = deepcopy(net)
    twin(torch.randn(2, 3, 64, 64))
    before, after = net.state_dict(), twin.state_dict()
    norms = [name for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and not m.weight.requires_grad]
    return [name for name in norms if not torch.equal(before[name + ".running_var"], after[name + ".running_var"])]
""",
        ],
        "wrong": [
            'def drifting(net): return ["stem.0.1", "stem.1.1"] if net.training else []',
            "def drifting(net): return [n for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training]",
            """
def drifting(net):
    norms = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)]
    return [name for name, module in norms if net.training and not module.weight.requires_grad]
""",
            """
def drifting(net):
    frozen = lambda module: not any(weight.requires_grad for weight in module.parameters())
    return [name for name, module in net.named_modules() if module.training and frozen(module)]  # any layer
""",
        ],
    },
    "amount": {
        "right": [
            AMOUNT,
            AMOUNT.replace("for seed in range(3)]", "for seed in (2, 1, 0)]").replace("return accuracy", "return torch.tensor(accuracy")
            .replace("y_new)", "y_new))"),
        ],
        "wrong": [
            AMOUNT.replace("torch.manual_seed(seed)", "torch.manual_seed(0)"),
            AMOUNT.replace("start(pretrained)", "start()"),
            AMOUNT.replace("4 * per_class", "per_class"),  # a quarter of the images
            AMOUNT.replace("0.002", "0.02"),
            AMOUNT.replace(" - sum(scores[False, per_class]) / len(scores[False, per_class])", ""),  # no baseline
            AMOUNT + "scores = {key: [0.9] * 3 if key[0] else [0.3] * 3 for key in scores}\nmost = 2\n",
            AMOUNT.replace("max((2", "min((2"),
        ],
    },
    "freeze": {
        "right": [
            FREEZE,
            FREEZE.replace("accuracy(net, x_new, y_new)", "np.float64(accuracy(net, x_new, y_new))").replace("range(3)", "range(4)"),
        ],
        "wrong": [
            FREEZE.replace("torch.manual_seed(seed)", "torch.manual_seed(0)"),
            FREEZE.replace("freeze_groups=frozen", "freeze_groups=2"),
            FREEZE.replace("start()", "start(False)"),
            FREEZE.replace("min(tuned[n]) > max(tuned[other])", "sum(tuned[n]) > sum(tuned[other])"),  # means
            FREEZE.replace("min(tuned[n]) > ", "min(tuned[n]) >= "),
            FREEZE + "tuned = {0: [0.5] * 3, 2: [0.7] * 3, 4: [0.4] * 3}\nadvice = 2\n",
        ],
    },
}
