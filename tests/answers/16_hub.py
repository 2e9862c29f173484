"Answers to nbs/teach/source/16_hub: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

BITS = """
results = {bits: asks(rounded_model(bits)) for bits in (8, 6, 4, 3, 2)}
fewest = min(bits for bits in results if results[bits] >= asks(predictor.model) - 0.05)
"""
ROUNDED = """
def rounded(weight, bits):
    n, m = 2 ** (bits - 1) - 1, weight.abs().max()
    return weight if m == 0 else (weight / m * n).round() / n * m
"""
MODEL = """
def rounded_model(bits):
    model = copy.deepcopy(predictor.model)
    for p in model.parameters():
        if p.ndim >= 2: p.data = rounded(p.data, bits)
    return model
"""
BEST = """
small = [excess(20, 100, 0.8, seed) for seed in range(3)]
large = [excess(20, 2500, 0.8, seed) for seed in range(3)]
factor = round(np.mean(small) / np.mean(large))
"""

ANSWERS = {
    "fresh": {
        "right": [
            """
def is_fresh(bundle):
    report, weights = (os.path.join(bundle, name) for name in ("report/report.json", "model.safetensors"))
    return os.path.isfile(report) and os.path.getmtime(weights) < os.path.getmtime(report)
""",
            """
def is_fresh(bundle):
    try: return (Path(bundle) / "report/report.json").stat().st_mtime > Path(bundle, "model.safetensors").stat().st_mtime
    except FileNotFoundError: return False
""",
        ],
        "wrong": [
            "def is_fresh(bundle): return Path(bundle, 'report/report.json').exists()",
            "def is_fresh(bundle): return True",
            # the other way round
            """
def is_fresh(bundle):
    report, weights = Path(bundle, "report/report.json"), Path(bundle, "model.safetensors")
    return report.exists() and report.stat().st_mtime < weights.stat().st_mtime
""",
            # stumbles where there is no report
            """
def is_fresh(bundle):
    return Path(bundle, "report/report.json").stat().st_mtime > Path(bundle, "model.safetensors").stat().st_mtime
""",
            # whole seconds only, and takes no text
            """
def is_fresh(bundle):
    report = bundle / "report/report.json"
    return report.exists() and int(report.stat().st_mtime) > int((bundle / "model.safetensors").stat().st_mtime)
""",
        ],
    },
    "parcel": {
        "right": [
            """
def receive(path, told, dest):
    if hashlib.sha256(Path(path).read_bytes()).digest() != bytes.fromhex(told.zfill(64)):
        raise VehicleError(f"This is not the right file: {Path(path).name}")
    return unpack_bundle(path, dest)
""",
            """
def receive(path, told, dest):
    digest = hashlib.new("sha256")
    with open(path, "rb") as file:
        while part := file.read(2**16): digest.update(part)
    if digest.hexdigest().upper() == told.upper(): return unpack_bundle(path, dest)
    raise VehicleError("wrong file: " + str(path))
""",
        ],
        "wrong": [
            "def receive(path, told, dest): return unpack_bundle(path, dest)",
            # unpacks before it looks
            """
def receive(path, told, dest):
    done = unpack_bundle(path, dest)
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() != told.lower(): raise VehicleError(f"{path} is another file")
    return done
""",
            # capitals are refused
            """
def receive(path, told, dest):
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() != told: raise VehicleError(f"{path} is another file")
    return unpack_bundle(path, dest)
""",
            # does not name the file
            """
def receive(path, told, dest):
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() != told.lower(): raise VehicleError("another file")
    return unpack_bundle(path, dest)
""",
            # another error
            """
def receive(path, told, dest):
    assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == told.lower(), f"{path}"
    return unpack_bundle(path, dest)
""",
            # compares the beginning alone
            """
def receive(path, told, dest):
    if not hashlib.sha256(Path(path).read_bytes()).hexdigest().startswith(told.lower()): raise VehicleError(f"{path}")
    return unpack_bundle(path, dest)
""",
            # returns nothing
            """
def receive(path, told, dest):
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() != told.lower(): raise VehicleError(f"{path}")
    unpack_bundle(path, dest)
""",
        ],
    },
    "claim": {
        "right": [
            """
def claimed_accuracy(card):
    try:
        head = next(yaml.safe_load_all(card)) if card.startswith("---") else {}
        found = [m["value"] for m in head["model-index"][0]["results"][0]["metrics"] if m.get("type") == "accuracy"]
        return found[0] if type(found[0]) in (int, float) and 0 <= found[0] <= 1 else None
    except Exception:
        return None
""",
            """
def claimed_accuracy(card):
    import math
    try:
        head = yaml.load(card.split("---")[1], Loader=yaml.SafeLoader)
        for metric in head["model-index"][0]["results"][0]["metrics"]:
            if metric["type"] == "accuracy":
                value = metric["value"]
                return np.float64(value) if not isinstance(value, str) and math.isfinite(value) and 0 <= value <= 1 else None
    except Exception: pass
""",
        ],
        "wrong": [
            # believes every head
            """
def claimed_accuracy(card):
    head = yaml.safe_load(card.split("---")[1])
    return head["model-index"][0]["results"][0]["metrics"][0]["value"]
""",
            # the first metric, whatever it is
            """
def claimed_accuracy(card):
    try: value = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"][0]["metrics"][0]["value"]
    except Exception: return None
    return value if isinstance(value, float) and 0 <= value <= 1 else None
""",
            # no range
            """
def claimed_accuracy(card):
    try:
        metrics = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"][0]["metrics"]
        return next(m["value"] for m in metrics if m["type"] == "accuracy")
    except Exception: return None
""",
            # an unsafe loader runs what the card says
            """
def claimed_accuracy(card):
    try:
        metrics = yaml.unsafe_load(card.split("---")[1])["model-index"][0]["results"][0]["metrics"]
        value = next(m["value"] for m in metrics if m["type"] == "accuracy")
    except Exception: return None
    return value if isinstance(value, float | int) and 0 <= value <= 1 else None
""",
            # whole numbers are refused
            """
def claimed_accuracy(card):
    try:
        metrics = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"][0]["metrics"]
        value = next(m["value"] for m in metrics if m["type"] == "accuracy")
    except Exception: return None
    return value if isinstance(value, float) and 0 <= value <= 1 else None
""",
            "def claimed_accuracy(card): return 0.75 if '0.75' in card else None",
        ],
    },
    "bits": {
        "right": [
            """
def rounded(weight, bits):
    steps = 2 ** (bits - 1) - 1
    scale = weight.abs().max().clamp(min=1e-30) / steps
    return torch.round(weight / scale) * scale
""" + MODEL + BITS,
            ROUNDED + """
def rounded_model(bits):
    model, state = copy.deepcopy(predictor.model), predictor.model.state_dict()
    names = {name for name, p in model.named_parameters() if p.dim() > 1}
    model.load_state_dict({name: rounded(value, bits) if name in names else value for name, value in state.items()})
    return model.eval()
results = dict(zip((2, 3, 4, 6, 8), map(np.float32, map(asks, map(rounded_model, (2, 3, 4, 6, 8))))))
fewest = next(b for b in (2, 3, 4, 6, 8) if results[b] >= asks(predictor.model) - 0.05)
""",
        ],
        "wrong": [
            # rounds down
            ROUNDED.replace(".round()", ".floor()") + MODEL + BITS.partition("fewest")[0] + "fewest = 8",
            # one bit too many
            ROUNDED.replace("2 ** (bits - 1) - 1", "2 ** bits - 1") + MODEL + BITS,
            # stumbles over zeros
            """
def rounded(weight, bits):
    n, m = 2 ** (bits - 1) - 1, weight.abs().max()
    return (weight / m * n).round() / n * m
""" + MODEL + BITS,
            # rounds the predictor itself
            ROUNDED + MODEL.replace("copy.deepcopy(predictor.model)", "predictor.model") + BITS,
            # biases and norms, too
            ROUNDED + MODEL.replace("if p.ndim >= 2: ", "") + BITS,
            # ignores the bits
            ROUNDED + MODEL.replace("rounded(p.data, bits)", "rounded(p.data, 8)") + BITS,
            # the most instead of the fewest
            ROUNDED + MODEL + BITS.replace("min(", "max("),
        ],
    },
    "best": {
        "right": [
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(seed)
    return sum(max(rng.binomial(images, truth, runs)) for _ in range(2000)) / 2000 / images - truth
""" + BEST,
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(seed)
    contests = np.stack([rng.binomial(images, truth, 2000) for _ in range(runs)])
    return (contests.max(0) / images - truth).mean()
""" + BEST.replace("round(", "int(0.5 + "),
        ],
        "wrong": [
            # the mean of the runs
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(seed)
    return float((rng.binomial(images, truth, size=(2000, runs)) / images).mean() - truth)
""" + BEST,
            # the best of all contests
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(seed)
    return float((rng.binomial(images, truth, size=(2000, runs)) / images).max() - truth)
""" + BEST,
            # ignores the seed
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(0)
    return float((rng.binomial(images, truth, size=(2000, runs)) / images).max(1).mean() - truth)
""" + BEST,
            # ignores the number of runs
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(seed)
    return float((rng.binomial(images, truth, size=(2000, 20)) / images).max(1).mean() - truth)
""" + BEST,
            # forgets to subtract the truth
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(seed)
    return float((rng.binomial(images, truth, size=(2000, runs)) / images).max(1).mean())
""" + BEST,
            # the factor upside down
            """
def excess(runs, images, truth, seed):
    rng = np.random.default_rng(seed)
    return float((rng.binomial(images, truth, size=(2000, runs)) / images).max(1).mean() - truth)
""" + BEST.replace("np.mean(small) / np.mean(large)", "np.mean(large) / np.mean(small)"),
        ],
    },
    "wait": {
        "right": [
            """
def seconds(files, mbit):
    total = 0
    for name in files: total += len(gzip.compress(files[name]))
    return np.float64(total * 8 / 1_000_000 / mbit)
""",
            "seconds = lambda files, mbit: sum(map(len, map(gzip.compress, files.values()))) / (mbit * 125_000)",
        ],
        "wrong": [
            "def seconds(files, mbit): return sum(len(gzip.compress(d)) for d in files.values()) / (mbit * 1e6)",  # bytes for bits
            "def seconds(files, mbit): return sum(8 * len(d) for d in files.values()) / (mbit * 1e6)",  # not compressed
            "def seconds(files, mbit): return 8 * len(gzip.compress(max(files.values(), key=len))) / (mbit * 1e6)",  # the largest alone
            "def seconds(files, mbit): return sum(8 * len(gzip.compress(d)) for d in files.values()) / (mbit * 2**20 * 8)",
            "def seconds(files, mbit): return 1.0",
        ],
    },
}
