"""Draw the diagrams of the lessons: each is a function below that returns its SVG, named as the file in nbs/images.

    python tools/diagrams.py

They are drawn 700 units wide on a light panel of their own, so that they can be read on a white page and on a dark one.
tests/test_docs.py fails when a file is not what its function draws, or when words do not fit their box.
"""

import html
import math
from pathlib import Path

IMAGES = Path(__file__).resolve().parent.parent / "nbs" / "images"
WIDTH = 700
NAVY, INK, GREY, LINE, PANEL = "#0b3d5c", "#24292f", "#57606a", "#8c959f", "#f4f6f8"
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#00664b", "#b34700"
PALE = {BLUE: "#dcecf7", ORANGE: "#fdf0d5", GREEN: "#d9f0e7", RED: "#fbe4d6", GREY: "#e7eaee"}


# --- small parts ------------------------------------------------------------------------------------------------------


def text(
    x: float, y: float, words: str, size: int = 15, fill: str = INK, anchor: str = "middle", bold: bool = False
) -> str:
    "A line of text; y is its baseline. A part between two asterisks is set in italics."
    parts = html.escape(words, quote=False).split("*")
    inner = "".join(f'<tspan font-style="italic">{part}</tspan>' if i % 2 else part for i, part in enumerate(parts))
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{weight}>{inner}</text>'


def box(
    x: float, y: float, w: float, h: float, words: str = "", colour: str = BLUE, size: int = 15, solid: bool = False
) -> str:
    "A rounded box with lines of text in its middle; solid: white on the colour."
    fill, ink = (colour, "#ffffff") if solid else (PALE.get(colour, "#ffffff"), INK)
    lines = words.split("\n") if words else []
    top = y + h / 2 + size * 0.36 - (len(lines) - 1) * size * 0.66
    inside = [text(x + w / 2, top + i * size * 1.32, line, size, ink, bold=solid) for i, line in enumerate(lines)]
    return "\n".join(
        [
            f'<g><rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="7" fill="{fill}" stroke="{colour}"/>',
            *inside,
            "</g>",
        ]
    )


def arrow(*points: tuple[float, float], colour: str = GREY, width: float = 2, head: float = 9) -> str:
    "A line through the points with a head at its end."
    (x0, y0), (x1, y1) = points[-2:]
    angle = math.atan2(y1 - y0, x1 - x0)
    stop = (x1 - head * 0.8 * math.cos(angle), y1 - head * 0.8 * math.sin(angle))
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in (*points[:-1], stop))
    ends = [(x1 - head * math.cos(angle + turn), y1 - head * math.sin(angle + turn)) for turn in (0.45, -0.45)]
    tip = "L".join(f"{x:.1f} {y:.1f}" for x, y in ((x1, y1), *ends))
    return f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>\n<path d="M{tip}z" fill="{colour}"/>'


def curve(points: list[tuple[float, float]], colour: str = INK, width: float = 2.5) -> str:
    "A line through many points."
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-linejoin="round"/>'


def dot(x: float, y: float, r: float = 5, colour: str = RED) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}" fill="{colour}" stroke="#ffffff" stroke-width="1.5"/>'


def square(x: float, y: float, side: float, fill: str, stroke: str = "#ffffff") -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:g}" height="{side:g}" fill="{fill}" stroke="{stroke}"/>'


def panel(x: float, y: float, w: float, h: float, heading: str, colour: str = NAVY) -> str:
    "A white card with a coloured bar on top."
    return "\n".join(
        [
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="10" fill="#ffffff" stroke="#c9d1d9"/>',
            f'<rect x="{x}" y="{y}" width="{w}" height="36" rx="10" fill="{colour}"/>',
            f'<path d="M{x} {y + 24}h{w}v12h-{w}z" fill="{colour}"/>',
            text(x + w / 2, y + 24, heading, 16, "#ffffff", bold=True),
        ]
    )


def bus(x: float, y: float, side: float, colour: str = "#f2b632") -> str:
    "A drawing of a bus on a road, in a square."
    shapes = [
        '<rect width="100" height="100" fill="#bfe0f2"/><rect y="72" width="100" height="28" fill="#7d8790"/>',
        f'<rect x="10" y="34" width="80" height="42" rx="6" fill="{colour}"/><rect x="10" y="58" width="80" height="4" fill="#24292f"/>',
        *(f'<rect x="{17 + 18 * i}" y="41" width="13" height="12" rx="2" fill="#0b3d5c"/>' for i in range(4)),
        *(
            f'<circle cx="{cx}" cy="77" r="8" fill="#24292f"/><circle cx="{cx}" cy="77" r="3" fill="#c9d1d9"/>'
            for cx in (28, 72)
        ),
    ]
    return f'<g transform="translate({x:g} {y:g}) scale({side / 100:g})">{"".join(shapes)}</g>'


def svg(title: str, says: str, height: int, *parts: str) -> str:
    "The whole drawing: its panel, its words for those who cannot see it, its parts."
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t d" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<title id="t">{html.escape(title)}</title>',
        f'<desc id="d">{html.escape(says)}</desc>',
        f'<rect width="{WIDTH}" height="{height}" rx="18" fill="{PANEL}"/>',
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


# --- models -----------------------------------------------------------------------------------------------------------


def slab(x: float, bottom: float, side: int, channels: int, colour: str) -> list[str]:
    "A stack of feature maps: as high as the maps' side, as deep as there are channels (both on a root scale)."
    h, w = 9.4 * side**0.5, 3.1 * channels**0.5
    skew = h * 0.3
    y, left = bottom - h, x - (w + skew) / 2
    top = f"M{left:.1f} {y:.1f}l{skew:.1f} {-skew:.1f}h{w:.1f}l{-skew:.1f} {skew:.1f}z"
    face = f"M{left + w:.1f} {y:.1f}l{skew:.1f} {-skew:.1f}v{h:.1f}l{-skew:.1f} {skew:.1f}z"
    return [
        f'<rect x="{left:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{colour}"/>',
        f'<path d="{top}" fill="{colour}" fill-opacity="0.75"/>',
        f'<path d="{face}" fill="{colour}" fill-opacity="0.5"/>',
    ]


def network() -> str:
    stages = [("stem", 48, 32), ("stage 1", 48, 32), ("stage 2", 96, 16), ("stage 3", 192, 8), ("stage 4", 384, 4)]
    parts, bottom = [], 172
    parts += [
        bus(24, bottom - 100, 100),
        text(74, 30, "image", bold=True),
        text(74, 196, "3 channels"),
        text(74, 216, "128 × 128"),
    ]
    for i, (name, channels, side) in enumerate(stages):
        x = 194 + i * 109
        parts += slab(x, bottom, side, channels, GREEN if name == "stem" else BLUE)
        parts += [arrow((x - 64, bottom - 30), (x - 42, bottom - 30)), text(x, 30, name, bold=True)]
        parts += [text(x, 196, f"{channels} maps"), text(x, 216, f"{side} × {side}")]
    parts += [
        arrow((24, 244), (652, 244), colour=LINE),
        text(24, 266, "much about *where*, little about *what*", anchor="start", fill=GREY),
    ]
    parts += [text(652, 266, "little about *where*, much about *what*", anchor="end", fill=GREY)]
    # the head, on a row of its own
    parts += [arrow((664, 150), (680, 150), (680, 308), (112, 308), (112, 336))]
    for x, words, colour in [
        (24, "global average\npooling", GREEN),
        (242, "linear layer\n384 × 20 weights", BLUE),
        (460, "softmax", GREEN),
    ]:
        parts.append(box(x, 336, 176, 58, words, colour))
    for x0, x1 in ((200, 242), (418, 460)):
        parts.append(arrow((x0, 365), (x1, 365)))
    parts += [
        text(112, 420, "one number a map: 384"),
        text(330, 420, "20 logits"),
        text(548, 420, "20 probabilities, sum 1"),
    ]
    for i, h in enumerate((4, 7, 40, 5, 9, 3)):
        parts.append(
            f'<rect x="{650 + 5 * i - 4}" y="{386 - h}" width="4" height="{h}" fill="{RED if h == 40 else LINE}"/>'
        )
    says = (
        "An image of 3 channels and 128 × 128 pixels passes the stem and four stages. The maps get smaller, from 32 ×"
        " 32 to 4 × 4, and more, from 48 to 384. Global average pooling makes one number of each map, a linear layer "
        "20 logits, softmax 20 probabilities."
    )
    return svg("The network VehicleCNN from the image to the probabilities", says, 440, *parts)


def residual_block() -> str:
    def block(x: int, heading: str, first: str, shortcut: list[str]) -> list[str]:
        mid, side, top = x + 96, x + 238, 112
        names = [first, "batch norm", "ReLU", "convolution 3 × 3", "batch norm"]
        parts = [panel(x, 14, 326, 440, heading), text(mid, 82, "*x*", 18)]
        for i, name in enumerate(names):
            y = top + i * 50
            parts += [
                arrow((mid, y - (18 if i else 22)), (mid, y)),
                box(x + 14, y, 164, 32, name, BLUE if "conv" in name else GREEN),
            ]
        plus = top + 5 * 50 + 16
        parts += [arrow((mid, plus - 34), (mid, plus - 14)), text(mid + 12, plus - 22, "*F*(*x*)", anchor="start")]
        ys = [top + 70 + 70 * i for i in range(len(shortcut))]
        parts.append(arrow((mid + 10, 77), (side, 77), (side, plus), (mid + 16, plus), colour=RED, width=3, head=12))
        for y, name in zip(ys, shortcut, strict=True):
            parts.append(box(side - 50, y, 124, 52 if "\n" in name else 32, name, ORANGE))
        parts += [
            f'<circle cx="{mid}" cy="{plus}" r="14" fill="#ffffff" stroke="{INK}" stroke-width="2"/>',
            text(mid, plus + 7, "+", 20, bold=True),
        ]
        parts += [arrow((mid, plus + 15), (mid, plus + 32)), box(x + 14, plus + 32, 164, 30, "ReLU", GREEN)]
        return parts

    left = block(14, "same size, same channels", "convolution 3 × 3", [])
    right = block(
        360,
        "half the side, twice the channels",
        "conv. 3 × 3, stride 2",
        ["average pool\n2 × 2", "conv. 1 × 1\nbatch norm"],
    )
    words = [
        text(260, 220, "shortcut", fill=RED, anchor="start", bold=True),
        text(260, 240, "*x* as it is", fill=RED, anchor="start"),
    ]
    says = (
        "Two columns. Left: x passes convolution, batch norm, ReLU, convolution and batch norm and becomes F(x); a "
        "shortcut carries x itself past them; both are added, and a ReLU follows. Right, where the side is halved and"
        " the channels are doubled, the first convolution has stride 2 and the shortcut holds an average pool, a 1 × "
        "1 convolution and a batch norm."
    )
    return svg("The residual block: F(x) + x", says, 468, *left, *right, *words)


def batch_norm() -> str:
    def maps(x: float, y: float, shades: list[str]) -> list[str]:
        return [square(x + 34 * i, y, 30, shade, LINE) for i, shade in enumerate(shades)]

    shades = ["#9fb7c6", "#3f6f8c", "#c8d6df", "#6d93a9"]
    parts = [text(350, 36, "one channel:   *y* = *γ* · (*x* − mean) / √(variance + *ε*) + *β*", 18)]
    parts += [panel(14, 56, 326, 300, "model.train()", BLUE), panel(360, 56, 326, 300, "model.eval()", GREEN)]
    parts += [*maps(111, 108, shades), text(177, 158, "a batch: this channel in each image", 14)]
    parts += [arrow((177, 166), (177, 186)), box(34, 186, 286, 52, "mean *μ* and variance *σ*²\nof this batch", BLUE)]
    parts += [arrow((177, 238), (177, 258)), box(34, 258, 286, 34, "normalise with *μ* and *σ*²", BLUE)]
    parts += [
        text(177, 318, "The answer for an image depends", 14, GREY),
        text(177, 337, "on the other images of the batch.", 14, GREY),
    ]
    parts += [*maps(508, 108, shades[1:2]), text(523, 158, "one image, or as many as you like", 14)]
    parts += [arrow((523, 166), (523, 258)), box(380, 258, 272, 34, "normalise with the running values", GREEN)]
    parts += [text(523, 318, "The answer for an image is", 14, GREY), text(523, 337, "always the same.", 14, GREY)]
    parts += [box(150, 398, 400, 40, "running mean, running variance", ORANGE)]
    parts += [arrow((34, 212), (24, 212), (24, 418), (150, 418), colour=ORANGE, width=3, head=12)]
    parts += [arrow((550, 418), (676, 418), (676, 275), (652, 275), colour=ORANGE, width=3, head=12)]
    parts += [text(88, 384, "updates", 14, INK), text(612, 384, "reads", 14, INK)]
    parts += [text(350, 464, "after each training batch:   running ← 0.9 · running + 0.1 · value of the batch", 15)]
    says = (
        "In training mode a batch norm layer normalises each channel with the mean and variance of the batch, and "
        "updates the running mean and variance: running becomes 0.9 times running plus 0.1 times the batch's value. "
        "In evaluation mode it only reads them."
    )
    return svg("Batch normalisation in training and in evaluation mode", says, 482, *parts)


def receptive_field() -> str:
    def pyramid(x: float, mid: float, edge: float, counts: list[int], strides: list[int], unit: float) -> list[str]:
        "From one number of the last map, on top, down to the pixels that it depends on; a cell is as wide as its stride."
        parts, names = [], ["map 3", "map 2", "map 1", "image"]
        for row, (n, stride) in enumerate(zip(counts, strides, strict=True)):
            y, w = 76 + row * 62, unit * stride
            if row < 3:  # what the cells of this row are computed from
                ends = [
                    (mid + sign * n * w / 2, mid + sign * counts[row + 1] * unit * strides[row + 1] / 2)
                    for sign in (-1, 1)
                ]
                fan = f"M{ends[0][0]:.1f} {y + 24}H{ends[1][0]:.1f}L{ends[1][1]:.1f} {y + 62}H{ends[0][1]:.1f}z"
                parts.append(f'<path d="{fan}" fill="{PALE[ORANGE]}"/>')
            for i in range(n):
                colour = [RED, BLUE, BLUE, GREEN][row]
                parts.append(
                    f'<rect x="{mid + (i - n / 2) * w:.1f}" y="{y}" width="{w:g}" height="24" fill="{colour}" stroke="#ffffff"/>'
                )
            parts += [
                text(x, y + 17, names[row], anchor="start"),
                text(edge, y + 17, f"{n} × {n}", anchor="end", bold=True),
            ]
        return parts

    parts = [panel(14, 14, 272, 318, "stride 1, three times"), panel(300, 14, 386, 318, "stride 2, three times")]
    parts += pyramid(26, 156, 274, [1, 3, 5, 7], [1, 1, 1, 1], 18)
    parts += pyramid(312, 484, 674, [1, 3, 7, 15], [8, 4, 2, 1], 15)
    parts += [text(150, 316, "sees 7 × 7 pixels", fill=GREY), text(484, 316, "sees 15 × 15 pixels", fill=GREY)]
    says = (
        "Three convolutions of 3 × 3 seen from the side. With stride 1, one number of map 3 depends on 3 × 3 numbers "
        "of map 2, 5 × 5 of map 1 and 7 × 7 pixels. With stride 2 each, on 3 × 3, 7 × 7 and 15 × 15."
    )
    return svg("How the receptive field grows", says, 346, *parts)


def gradient_descent() -> str:
    def loss(w: float) -> float:  # a valley from 0 to 1
        return w * w

    def frame(x: float, y: float, w: float, h: float):
        "Functions that place a weight from -1.15 to 1.15 and a loss from 0 to 1.25 in a frame."
        return (lambda v: x + (v + 1.15) / 2.3 * w), (lambda v: y + h - v / 1.25 * h)

    parts = [panel(14, 14, 672, 242, "one step: against the slope")]
    px, py = frame(36, 66, 330, 160)
    way = [(px(v / 50), py(loss(v / 50))) for v in range(-55, 56)]
    w0, w1 = -0.8, -0.32
    parts += [arrow((36, 232), (374, 232), colour=LINE), arrow((36, 232), (36, 58), colour=LINE), curve(way)]
    parts += [text(46, 70, "loss", 14, GREY, "start"), text(366, 250, "weight *w*", 14, GREY, "end")]
    slope = [(px(w0 + d), py(loss(w0) + 2 * w0 * d)) for d in (-0.22, 0.36)]
    parts += [curve(slope, ORANGE, 3), arrow((px(w0), 232), (px(w1), 232), colour=RED, width=4, head=13)]
    parts += [
        curve([(px(w0), py(loss(w0))), (px(w0), 232)], LINE, 1),
        curve([(px(w1), py(loss(w1))), (px(w1), 232)], LINE, 1),
    ]
    parts += [dot(px(w0), py(loss(w0)), 6), dot(px(w1), py(loss(w1)), 6)]
    parts += [
        text(140, 128, "slope negative: go right", 14, INK, "start"),
        dot(px(0), py(0), 4, GREEN),
        text(px(0), py(0) - 26, "lowest loss", 14, GREEN),
    ]
    parts += [text(532, 104, "*w*  ←  *w* − *η* · d*L* / d*w*", 20, bold=True)]
    for i, (mark, words) in enumerate(
        [("d*L* / d*w*", "slope of the loss"), ("*η*", "learning rate: how far"), ("−", "against the slope")]
    ):
        parts += [text(474, 144 + 30 * i, mark, 16, RED, "end", True), text(488, 144 + 30 * i, words, 15, INK, "start")]
    for i, (heading, rate, w, steps) in enumerate(
        [("too small", 0.04, -0.85, 7), ("about right", 0.3, -0.85, 5), ("too large", 1.1, -0.55, 4)]
    ):
        x = 14 + 228 * i
        parts += [panel(x, 270, 216, 200, f"*η* {heading}", [GREY, GREEN, RED][i])]
        qx, qy = frame(x + 12, 316, 192, 124)
        parts.append(curve([(qx(v / 50), qy(loss(v / 50))) for v in range(-54, 55)], LINE, 2))
        points = []
        for _ in range(steps):
            points.append((qx(w), qy(loss(w))))
            w -= rate * 2 * w
        parts += [curve(points, ORANGE, 1.5), *(dot(*point, 4.5) for point in points)]
        parts.append(
            text(x + 108, 461, ["many steps, hardly lower", "lower with each step", "over the valley, higher"][i], 14)
        )
    says = (
        "Above: the loss as a valley over one weight. At a point on the left slope the slope is negative, so the step"
        " goes right, towards the lowest loss: w becomes w minus the learning rate times dL/dw. Below: a learning "
        "rate that is too small hardly moves, one that is right gets lower with each step, one that is too large "
        "jumps over the valley and ends higher each time."
    )
    return svg("Gradient descent", says, 484, *parts)


# --- data, several processes, serving ---------------------------------------------------------------------------------


def splits() -> str:
    parts = [text(350, 36, "all images, near-copies in one group", 16, bold=True)]
    groups = [1, 3, 1, 1, 2, 1, 1, 2, 1, 1, 1, 3, 1, 1]  # images in each group: 20
    share = [0, 0, 0, 2, 0, 0, 1, 1, 0, 0, 2, 0, 2, 0]  # the split that it goes to: 14, 3 and 3
    colours, x, middles = [BLUE, ORANGE, GREEN], 53.0, [[], [], []]
    for n, split in zip(groups, share, strict=True):
        parts.append(
            f'<rect x="{x:g}" y="52" width="{n * 24 + 6}" height="32" rx="6" fill="#ffffff" stroke="{INK if n > 1 else "#c9d1d9"}"/>'
        )
        parts += [square(x + 4 + 24 * i, 57, 22, colours[split]) for i in range(n)]
        middles[split].append(x + n * 12 + 3)
        x += n * 24 + 8
    cards = [
        ("training, 70 %", BLUE, ["The weights learn from", "these images, again", "in every epoch."], "fit"),
        (
            "validation, 15 %",
            ORANGE,
            ["Measured after each", "epoch. We choose with it:", "epoch, settings, threshold."],
            "choose",
        ),
        ("test, 15 %", GREEN, ["Measured once, at the end,", "when nothing is chosen", "any more."], "report"),
    ]
    for i, (heading, colour, lines, verb) in enumerate(cards):
        left = 14 + 228 * i
        parts += [
            f'<path d="M{m:g} 86L{left + 108} 146" stroke="{colour}" stroke-opacity="0.55" stroke-width="2"/>'
            for m in middles[i]
        ]
        parts += [panel(left, 146, 216, 166, heading, "#8a5a00" if colour == ORANGE else colour)]
        parts += [text(left + 108, 208 + 22 * k, line, 14) for k, line in enumerate(lines)]
        parts.append(text(left + 108, 296, verb, 18, "#8a5a00" if colour == ORANGE else colour, bold=True))
    parts += [
        arrow((122, 312), (122, 348), (310, 348), colour=BLUE),
        arrow((392, 348), (580, 348), (580, 312), colour=GREEN),
    ]
    parts += [box(310, 332, 82, 32, "model", GREY), arrow((350, 312), (350, 332), colour="#8a5a00")]
    parts += [text(216, 340, "gradients", 14), text(486, 340, "asked once", 14)]
    says = (
        "Twenty images in fourteen groups of near-copies are dealt to three splits; a group stays whole. Training, 70"
        " %: the weights learn from it. Validation, 15 %: measured after each epoch, to choose epoch, settings and "
        "threshold. Test, 15 %: measured once, at the end."
    )
    return svg("Training, validation and test", says, 382, *parts)


def all_reduce() -> str:
    gradients, rate, before = [4, 2, 6, 0], 0.1, 1.0
    paint = [
        "#f2b632",
        "#d9534f",
        "#5aa469",
        "#8e6bbf",
        "#e88b3a",
        "#e7e2d3",
        "#4f7fc4",
        "#c46a9a",
    ]  # eight different images
    mean = sum(gradients) / len(gradients)
    parts, colours = (
        [text(350, 34, "one step with four processes: a batch of eight images, two for each", 16, bold=True)],
        [BLUE, ORANGE, GREEN, RED],
    )
    for i, (gradient, colour) in enumerate(zip(gradients, colours, strict=True)):
        x, mid = 22 + 166 * i, 22 + 166 * i + 79
        parts += [
            f'<rect x="{x}" y="50" width="158" height="424" rx="10" fill="#ffffff" stroke="#c9d1d9"/>',
            text(mid, 76, f"rank {i}", 17, bold=True),
        ]
        parts += [bus(x + 37 + 44 * k, 88, 40, paint[2 * i + k]) for k in range(2)]
        parts += [arrow((mid, 130), (mid, 148)), box(x + 10, 148, 138, 52, f"same weights\n*w* = {before:.1f}", GREY)]
        parts += [
            arrow((mid, 200), (mid, 220)),
            text(mid, 236, "forward, backward", 14, GREY),
            arrow((mid, 242), (mid, 258)),
        ]
        parts += [
            box(x + 10, 258, 138, 34, f"own gradient {gradient}", colour),
            arrow((mid, 292), (mid, 316), colour=NAVY, width=3),
        ]
        parts += [
            arrow((mid, 362), (mid, 386), colour=NAVY, width=3),
            box(x + 10, 386, 138, 34, f"gradient {mean:g}", GREY),
        ]
        parts += [
            text(mid, 444, f"*w* ← {before:.1f} − {rate} · {mean:g}", 14),
            text(mid, 464, f"*w* = {before - rate * mean:.1f}", 15, bold=True),
        ]
    sums = " + ".join(map(str, gradients))
    parts.append(box(22, 316, 656, 46, f"all-reduce: ({sums}) / 4 = {mean:g}, to every rank", NAVY, 17, solid=True))
    says = (
        "Four ranks have the same weight 1.0 and two images each. Forward and backward give each its own gradient: "
        f"{', '.join(map(str, gradients))}. All-reduce gives every rank the mean, {mean:g}. So each makes the same "
        "step, and all weights are equal again: 0.7."
    )
    return svg("All-reduce: how several processes learn as one", says, 490, *parts)


def bundle() -> str:
    parts = [box(14, 60, 116, 60, "training\n(lesson 09)", BLUE), arrow((130, 90), (158, 90))]
    parts += [panel(158, 14, 300, 160, "the bundle: models/<run>/")]
    for i, (name, holds) in enumerate(
        [("model.safetensors", "weights"), ("config.json", "classes, sizes"), ("examples/", "a few test images")]
    ):
        parts += [text(170, 80 + 34 * i, name, 15, NAVY, "start", True), text(446, 80 + 34 * i, holds, 14, GREY, "end")]
    for i, (name, words) in enumerate(
        [("vehicle_app", "a web page"), ("vehicle_predict", "files, folders"), ("vehicle_export", "ONNX, Hub, browser")]
    ):
        y = 14 + 55 * i
        parts += [arrow((458, 94), (480, 94), (480, y + 25), (502, y + 25)), box(502, y, 184, 50, "", GREEN)]
        parts += [text(594, y + 21, name, 15, INK, bold=True), text(594, y + 41, words, 14, GREY)]
    parts += [panel(14, 192, 672, 250, "what happens to an image there")]
    parts += [bus(30, 252, 84), arrow((114, 294), (136, 294))]
    steps = [
        (136, 118, "letterbox\n224 × 224", BLUE),
        (276, 108, "bytes to\n[−1, 1]", BLUE),
        (406, 96, "network", BLUE),
        (524, 146, "÷ temperature,\nsoftmax", GREEN),
    ]
    for (x, w, words, colour), nxt in zip(steps, [*steps[1:], None], strict=True):
        parts.append(box(x, 266, w, 56, words, colour))
        if nxt:
            parts.append(arrow((x + w, 294), (nxt[0], 294)))
    parts += [
        text(512, 256, "logits", 14, GREY),
        arrow((454, 322), (454, 362)),
        text(446, 347, "features, logits", 14, GREY, "end"),
    ]
    parts += [
        box(350, 362, 152, 56, "OOD score\nhigh enough?", ORANGE),
        arrow((597, 322), (597, 362)),
        arrow((502, 390), (524, 390)),
    ]
    parts += [
        box(524, 362, 146, 56, "yes: bus, 93 %", GREEN),
        arrow((350, 390), (318, 390)),
        box(172, 362, 146, 56, "no: unknown", RED),
    ]
    says = (
        "Training writes a bundle: model.safetensors with the weights, config.json with classes and sizes, examples "
        "with a few test images. The commands vehicle_app, vehicle_predict and vehicle_export read it. An image is "
        "letterboxed to 224 × 224, its bytes become numbers from -1 to 1, the network gives logits and features; "
        "logits divided by the temperature go through softmax; the OOD score of the features decides between the "
        "class with its probability and unknown."
    )
    return svg("The bundle's way to the page", says, 456, *parts)


DIAGRAMS = {
    f.__name__: f
    for f in (network, residual_block, batch_norm, receptive_field, gradient_descent, splits, all_reduce, bundle)
}

if __name__ == "__main__":
    for name, draw in DIAGRAMS.items():
        (IMAGES / f"{name}.svg").write_text(draw(), encoding="utf-8")
        print(f"Wrote {name}.svg.")
