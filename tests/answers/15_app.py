"Answers to nbs/teach/source/15_app: each stands in place of a whole solution cell. tests/test_exercises.py feeds them to the checks."

UPLOAD = """
results = {side: [accuracy(side, seeds) for seeds in groups] for side in sides}
enough = min(side for side in sides if np.mean(results[side]) >= np.mean(results[160]) - 0.05)
"""
SHARE = """
def accuracy(side, seeds):
    right = [predictor.predict(sent(draw(k, s), side)).top[0][0] == k for k in predictor.classes for s in seeds]
    return sum(right) / len(right)
"""
SENT = """
def sent(image, side):
    small = image.convert("RGB").copy()
    small.thumbnail((side, side))
    small.save(file := io.BytesIO(), "JPEG", quality=85)
    return file.getvalue()
"""
TIMES = """
measured = {side: parts(predictor, data) for side, data in jpegs.items()}
grows = max(measured[200], key=lambda part: measured[2000][part] / measured[200][part])
"""

ANSWERS = {
    "short": {
        "right": [
            """
def short(prediction, say=ENGLISH, top=3):
    line = ""
    for name, p in list(prediction.top)[:top]:
        line += ", " * bool(line) + html.escape(say.class_name(name)) + " " + html.escape(say.percent(p))
    return line
""",
            """
def short(prediction, say, top):
    words = [say.class_name(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") + " " + say.percent(p)
             for name, p in prediction.top]
    return ", ".join(words[:top])
short.__defaults__ = (ENGLISH, 3)
""",
        ],
        "wrong": [
            # not escaped
            """
def short(prediction, say=ENGLISH, top=3):
    return ", ".join(f"{say.class_name(name)} {say.percent(p)}" for name, p in prediction.top[:top])
""",
            # ignores the language
            """
def short(prediction, say=ENGLISH, top=3):
    return html.escape(", ".join(f"{ENGLISH.class_name(n)} {ENGLISH.percent(p)}" for n, p in prediction.top[:top]))
""",
            # ignores the number
            """
def short(prediction, say=ENGLISH, top=3):
    return html.escape(", ".join(f"{say.class_name(n)} {say.percent(p)}" for n, p in prediction.top[:3]))
""",
            # one too many
            """
def short(prediction, say=ENGLISH, top=3):
    return html.escape(", ".join(f"{say.class_name(n)} {say.percent(p)}" for n, p in prediction.top[:top + 1]))
""",
            # throws away what looks like a tag
            """
def short(prediction, say=ENGLISH, top=3):
    import re
    return re.sub("<[^>]*>", "", ", ".join(f"{say.class_name(n)} {say.percent(p)}" for n, p in prediction.top[:top]))
""",
            "def short(prediction, say=ENGLISH, top=3): return 'Fire truck 97%, Bus 2%, Van 1%'",
        ],
    },
    "grouped": {
        "right": [
            """
def grouped(predictions):
    def rank(p): return 2 if p.error else 0 if p.known else 1
    order = list(enumerate(predictions))
    order.sort(key=lambda pair: pair[1].probability, reverse=True)
    order.sort(key=lambda pair: pair[1].label or "")
    order.sort(key=lambda pair: rank(pair[1]))
    broken = sorted(i for i, p in order if p.error)
    return [i for i, p in order if not p.error] + broken
""",
            """
def grouped(predictions):
    keys = [(p.error is not None, not p.known, p.label or "", -p.probability, i) for i, p in enumerate(predictions)]
    return np.array([key[-1] for key in sorted(keys)], dtype=int)
""",
        ],
        "wrong": [
            "def grouped(predictions): return list(range(len(predictions)))",
            "def grouped(predictions): return [2, 3, 0, 1]",
            # the surest first, whatever the class
            """
def grouped(predictions):
    return sorted(range(len(predictions)), key=lambda i: (predictions[i].error is not None, -predictions[i].probability))
""",
            # the least sure first
            """
def grouped(predictions):
    p = predictions
    return sorted(range(len(p)), key=lambda i: (p[i].error is not None, not p[i].known, p[i].label or "", p[i].probability))
""",
            # the unknown before the known
            """
def grouped(predictions):
    p = predictions
    return sorted(range(len(p)), key=lambda i: (p[i].error is not None, p[i].label or "", -p[i].probability))
""",
            # unknown and broken mixed
            """
def grouped(predictions):
    p = predictions
    return sorted(range(len(p)), key=lambda i: (not p[i].known, p[i].label or "", -p[i].probability, -i))
""",
        ],
    },
    "upload": {
        "right": [
            """
def sent(image, side):
    factor = min(1, side / max(image.size))
    size = [max(1, round(factor * s)) for s in image.size]
    file = io.BytesIO()
    image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(file, format="jpeg", quality=85)
    return file.getvalue()
""" + SHARE + UPLOAD,
            SENT + """
def accuracy(side, seeds):
    total = np.zeros(2)
    for seed in seeds:
        found = predictor.predict_many([sent(draw(kind, seed), side) for kind in predictor.classes])
        total += [sum(p.top[0][0] == kind for p, kind in zip(found, predictor.classes)), len(predictor.classes)]
    return total[0] / total[1]
""" + UPLOAD.replace("[accuracy(side, seeds) for seeds in groups]", "np.array([accuracy(side, g) for g in groups])"),
        ],
        "wrong": [
            # always a square
            """
def sent(image, side):
    image.convert("RGB").resize((side, side)).save(file := io.BytesIO(), "JPEG", quality=85)
    return file.getvalue()
""" + SHARE + UPLOAD,
            # changes the image that was given
            """
def sent(image, side):
    image.thumbnail((side, side))
    image.save(file := io.BytesIO(), "JPEG", quality=85)
    return file.getvalue()
""" + SHARE + UPLOAD,
            # the shorter side
            """
def sent(image, side):
    factor = min(1, side / min(image.size))
    size = [round(factor * s) for s in image.size]
    image.convert("RGB").resize(size).save(file := io.BytesIO(), "JPEG", quality=85)
    return file.getvalue()
""" + SHARE + UPLOAD,
            # a PNG
            SENT.replace('"JPEG", quality=85', '"PNG"') + SHARE + UPLOAD,
            # ignores the side when it asks
            SENT + SHARE.replace("side)).top", "160)).top") + UPLOAD,
            # the largest side that is enough
            SENT + SHARE + UPLOAD.replace("enough = min(", "enough = max("),
        ],
    },
    "time": {
        "right": [
            """
def parts(predictor, data):
    def best(work):
        times = []
        for _ in range(5):
            start = time.perf_counter(); work(); times.append((time.perf_counter() - start) * 1000)
        return min(times)
    prepare = best(lambda: predictor.prepare(data))
    pixels = predictor.prepare(data)
    return {"prepare": prepare, "infer": best(lambda: predictor.infer(pixels[None]))}
""" + TIMES,
            """
def parts(predictor, data):
    rows = []
    for _ in range(5):
        t = [time.perf_counter()]
        pixels = predictor.prepare(data); t.append(time.perf_counter())
        predictor.infer(np.expand_dims(pixels, 0)); t.append(time.perf_counter())
        rows.append(np.diff(t) * 1e3)
    prepare, infer = np.min(rows, axis=0)
    return dict(infer=infer, prepare=prepare)
measured = {200: parts(predictor, jpegs[200]), 2000: parts(predictor, jpegs[2000])}
small, large = measured.values()
grows = "prepare" if large["prepare"] / small["prepare"] > large["infer"] / small["infer"] else "infer"
""",
        ],
        "wrong": [
            # one measurement
            """
def parts(predictor, data):
    a = time.perf_counter(); pixels = predictor.prepare(data)
    b = time.perf_counter(); predictor.infer(pixels[None])
    return {"prepare": 1000 * (b - a), "infer": 1000 * (time.perf_counter() - b)}
""" + TIMES,
            # the mean instead of the shortest
            """
def parts(predictor, data):
    rows = []
    for _ in range(5):
        a = time.perf_counter(); pixels = predictor.prepare(data)
        b = time.perf_counter(); predictor.infer(pixels[None])
        rows.append((b - a, time.perf_counter() - b))
    return dict(zip(("prepare", "infer"), 1000 * np.mean(rows, 0)))
""" + TIMES,
            # seconds
            """
def parts(predictor, data):
    rows = []
    for _ in range(5):
        a = time.perf_counter(); pixels = predictor.prepare(data)
        b = time.perf_counter(); predictor.infer(pixels[None])
        rows.append((b - a, time.perf_counter() - b))
    return dict(zip(("prepare", "infer"), np.min(rows, 0)))
""" + TIMES,
            # the two exchanged
            """
def parts(predictor, data):
    rows = []
    for _ in range(5):
        a = time.perf_counter(); pixels = predictor.prepare(data)
        b = time.perf_counter(); predictor.infer(pixels[None])
        rows.append((b - a, time.perf_counter() - b))
    return dict(zip(("infer", "prepare"), 1000 * np.min(rows, 0)))
""" + TIMES,
            # reads the image within the second part, too
            """
def parts(predictor, data):
    rows = []
    for _ in range(5):
        a = time.perf_counter(); predictor.prepare(data)
        b = time.perf_counter(); predictor.infer(predictor.prepare(data)[None])
        rows.append((b - a, time.perf_counter() - b))
    return dict(zip(("prepare", "infer"), 1000 * np.min(rows, 0)))
""" + TIMES,
            # a guess
            """
def parts(predictor, data): return {"prepare": 20.0, "infer": 5.0}
measured, grows = {200: parts(0, 0), 2000: {"prepare": 90.0, "infer": 5.0}}, "prepare"
""",
        ],
    },
}
