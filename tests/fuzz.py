"""Broken bundles and broken images, made from a seed: `test_fuzz.py` says what must come of them.

Each case is a whole bundle or image to which a seeded hand did something: bytes flipped, overwritten, cut off, inserted, doubled
or swapped; in config.json also values exchanged for others that are valid JSON, and in model.safetensors the header alone, or the
feature bank: its shape, type and numbers, and a description that does not fit it. A case ends well with a prediction or with
`VehicleError`; anything else is a failure, and so is one that takes longer than five seconds. The number of a case and the seed
make the same case again.
"""

import io
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

from vehicle_nb.evaluation.ood import build_feature_bank
from vehicle_nb.core import VehicleError
from vehicle_nb.demo.make import draw_vehicle
from vehicle_nb.serving.predictor import Predictor
from vehicle_nb.features import FEATURE_BANK, find_head
from vehicle_nb.models.bundle import OOD_SCORES, save_bundle
from vehicle_nb.models.registry import create_model

LIMIT = 5.0  # seconds of processor time that one case may take
ODD = [None, True, False, 0, -1, 1, 2**31, 2**64, 10**400, -0.0, 1e-320, 1e308, float("nan"), float("inf"), "", "x", "\x00", "\ud800",
       "a" * 10_000, "../../etc/passwd", "vit_b_16", "resnet18", "googlenet", [], {}, [[]], [None], {"a": {"b": []}}]  # fmt: skip


# --- mutations --------------------------------------------------------------------------------------------------------


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    "One to four small accidents."
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not data:
            return bytes(data)
        place, length = rng.randrange(len(data)), rng.choice([1, 1, 2, 4, 16, 256])
        if rng.random() < 0.4:
            place = rng.randrange(min(len(data), 64))  # the head decides most
        what = rng.randrange(7)
        if what == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[place : place + length] = rng.randbytes(length)
        elif what == 2:
            del data[place:]
        elif what == 3:
            data[place:place] = rng.randbytes(length)
        elif what == 4:
            del data[place : place + length]
        elif what == 5:
            data[place : place + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * length
        else:
            other = rng.randrange(len(data))
            data[place:place] = data[other : other + length]
    return bytes(data)


def mutate_value(value, rng: random.Random, depth: int = 0):
    "The same JSON with one value exchanged, removed or doubled somewhere."
    inside = isinstance(value, dict | list) and value
    if not inside or rng.random() < 0.15:
        if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5 and abs(value) < 1e300:
            return rng.choice([value + 1, value - 1, -value, value * 2, value / 3, value * 1e9, str(value)])
        return [value] * 400 if rng.random() < 0.05 else rng.choice(ODD)
    value = dict(value) if isinstance(value, dict) else list(value)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    what = rng.random()
    if what < 0.1:
        del value[key]
    elif what < 0.15 and isinstance(value, dict):
        value[rng.choice(["", "arch", "format", "classes", "\x00", "new"])] = value.pop(key)
    elif what < 0.2 and isinstance(value, list):
        value.append(value[key])
    else:
        value[key] = mutate_value(value[key], rng, depth + 1)
    return value


def mutate_config(text: bytes, rng: random.Random) -> bytes:
    "A description that is broken as bytes, or well-formed and wrong."
    what = rng.random()
    if what < 0.25:
        return mutate_bytes(text, rng)
    if what < 0.28:
        return rng.choice([b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000, b'"' + b"a" * 2**23 + b'"', b"\xff\xfe{}", b"null", b"[]"])
    value = json.loads(text)
    for _ in range(rng.choice([1, 1, 2, 3])):
        value = mutate_value(value, rng)
    return json.dumps(value).encode()


def mutate_weights(data: bytes, rng: random.Random) -> bytes:
    "A file of weights that is broken anywhere, in its header alone, or well-formed with a wrong header."
    length = int.from_bytes(data[:8], "little")
    header, rest, what = data[8 : 8 + length], data[8 + length :], rng.random()
    if what < 0.4:
        return mutate_bytes(data, rng)
    if what < 0.5:
        return rng.choice([0, 1, 2**31, 2**63 - 1, 2**64 - 1, len(data)]).to_bytes(8, "little") + data[8:]
    if what < 0.65:
        places = [rng.randrange(0, len(rest) - 3, 4) for _ in range(rng.randint(1, 20))]
        rest = bytearray(rest)
        for place in places:  # numbers that are none, infinite, or far too large
            rest[place : place + 4] = rng.choice([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", rng.randbytes(4)])
        return data[: 8 + length] + bytes(rest)
    header = mutate_bytes(header, rng) if what < 0.8 else json.dumps(mutate_value(json.loads(header), rng)).encode()
    return len(header).to_bytes(8, "little") + header + rest


def mutate_bank(memory: Tensor, rng: random.Random) -> Tensor | None:  # M × D; None: it is gone
    "A feature bank that is no longer this network's: its shape, its type or its numbers are others."
    many, wide = memory.shape
    kinds = [torch.float64, torch.float32, torch.bfloat16, torch.int8, torch.uint8, torch.bool, torch.int64, torch.float8_e4m3fn]
    shapes = [(many, wide - 1), (many, wide + 1), (wide, many), (0, wide), (many, 0), (many * wide,), (1, many, wide), (), (1, wide)]
    what = rng.randrange(6)
    if what == 0:
        return None
    if what == 1:
        return torch.rand(rng.choice(shapes)).half()
    if what == 2:
        return memory.to(rng.choice(kinds))
    if what == 3:
        return memory.repeat(rng.choice([2, 50, 5000]), 1)  # far more than any set has
    memory = memory.clone()
    if what == 4:
        return memory.zero_()
    for _ in range(rng.choice([1, 1, 10])):
        memory[rng.randrange(many), rng.randrange(wide)] = rng.choice([torch.nan, torch.inf, -torch.inf, 65504.0, -65504.0, 0.0])
    return memory


def mutate_limits(config: bytes, weights: bytes, rng: random.Random) -> tuple[bytes, bytes]:
    "One or more of what finds OOD images is changed: the feature bank, the score, its threshold."
    about, tensors = json.loads(config), load(weights)
    memory = tensors.get(FEATURE_BANK, torch.rand(5, 8).half())  # or one too many, for a network that has none
    if rng.random() < 0.7:
        tensors.pop(FEATURE_BANK, None)
        tensors |= {FEATURE_BANK: new} if (new := mutate_bank(memory, rng)) is not None else {}
    if rng.random() < 0.4:
        about["ood_score"] = rng.choice([*OOD_SCORES, *ODD])
    if rng.random() < 0.4:
        about["ood_threshold"] = rng.choice([-1e6, -1, 0.0, 0.5, 1, 1.5, 1e6, 1e7, *ODD])
    return json.dumps(about).encode(), save({name: value.contiguous() for name, value in tensors.items()})


# --- what is mutated --------------------------------------------------------------------------------------------------


def small_bundles(folder: Path) -> list[Path]:
    "Bundles of untrained networks: our own architecture with a feature bank and without, and a pretrained one that can have none."
    torch.manual_seed(0)
    places = []
    for name, arch, side, score in (("with_bank", "vehicle_cnn", 32, "knn"), ("plain", "vehicle_cnn", 32, "max_softmax"),
                                    ("other", "squeezenet1_1", 48, "energy")):  # fmt: skip
        model = create_model(arch, 3).eval()
        config = {"arch": arch, "classes": ["bus", "kayak", "tractor"], "image_size": 64, "input_size": side, "ood_score": score}
        more = {"metrics": {"val_accuracy": 0.5}, "data": {"path": "x", "content_hash": "0"}, "versions": {"torch": "2"}}
        memory = build_feature_bank(torch.rand(40, find_head(model).in_features)) if score == "knn" else None
        save_bundle(folder / name, model, config | more, memory)
        places.append(folder / name)
    return places


def sample_images() -> dict[str, bytes]:
    "One image in every format that Pillow writes here, and the variants that have decoders of their own."
    image = draw_vehicle("bus", seed=1).resize((96, 72))
    exif = Image.Exif()
    exif[0x0112] = 6
    two = {"save_all": True, "append_images": [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
    ways = {
        "jpeg": ("JPEG", {"exif": exif}), "jpeg_progressive": ("JPEG", {"progressive": True}), "png": ("PNG", {}), "webp": ("WEBP", {}),
        "webp_lossless": ("WEBP", {"lossless": True}), "bmp": ("BMP", {}), "tiff": ("TIFF", {}), "ppm": ("PPM", {}), "ico": ("ICO", {}),
        "tiff_lzw": ("TIFF", {"compression": "tiff_lzw"}), "tiff_jpeg": ("TIFF", {"compression": "jpeg"}), "avif": ("AVIF", {}),
        "tiff_deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}), "jpeg2000": ("JPEG2000", {}), "qoi": ("QOI", {}),
        "gif_animated": ("GIF", two), "webp_animated": ("WEBP", two), "png_animated": ("PNG", two), "mpo": ("MPO", two),
    }  # fmt: skip
    modes = {"png_palette": "P", "png_grey_alpha": "LA", "png_alpha": "RGBA", "png_16_bit": "I;16", "png_one_bit": "1", "tiff_float": "F",
             "jpeg_cmyk": "CMYK", "jpeg_grey": "L"}  # fmt: skip
    found = {}
    Image.init()
    for name, (kind, options) in (ways | {name: (name.split("_")[0].upper(), {}) for name in modes}).items():
        mode = modes.get(name, "RGB")
        deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        if kind in Image.SAVE:
            out = io.BytesIO()
            (deep if mode == "I;16" else image.convert(mode)).save(out, kind, **options)
            found[name] = out.getvalue()
    return found


# --- the cases --------------------------------------------------------------------------------------------------------


def bundle_case(sources: list[Path], folder: Path, rng: random.Random) -> str:
    "Make one broken bundle and predict an image with it; what came of it."
    source = rng.choice(sources)
    config, weights = (source / "config.json").read_bytes(), (source / "model.safetensors").read_bytes()
    part = rng.random()
    if part < 0.25:
        config, weights = mutate_limits(config, weights, rng)
    if 0.2 < part < 0.65:
        config = mutate_config(config, rng)
    if part > 0.6:
        weights = mutate_weights(weights, rng)
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors").write_bytes(weights)
    predictor = Predictor(folder)
    answer = predictor.predict(np.full((40, 50, 3), 128, np.uint8), name="grey")
    assert answer.top and abs(answer.probs.sum() - 1) < 1e-3 and len(answer.top) == len(predictor.classes)
    answer.top[0][0].encode()
    return "predicted"


def image_case(samples: dict[str, bytes], predictor: Predictor, rng: random.Random) -> str:
    "Make one broken image and predict it; what came of it."
    data = mutate_bytes(samples[rng.choice(list(samples))], rng)
    answer = predictor.predict(data)
    assert answer.top and 0 < answer.probability <= 1
    return "predicted"


def run_cases(kind: str, number: int, seed: int, work) -> dict:
    "All cases of one kind: how they ended, and each that ended otherwise than it should."
    ended, failures = Counter(), []
    for case in range(number):
        begin = time.process_time()  # a busy machine makes the clock run on
        try:
            ended[work(random.Random(f"{kind}-{seed}-{case}"))] += 1
        except VehicleError as error:
            ended["refused"] += 1
            if not str(error).strip() or "\ud800" in str(error):
                failures.append({"case": case, "error": f"a refusal that cannot be read: {ascii(str(error))[:200]}"})
        except Exception as error:  # this is what we look for
            failures.append({"case": case, "error": f"{type(error).__name__}: {ascii(str(error))[:300]}"})
        seconds = time.process_time() - begin
        if seconds > LIMIT:
            failures.append({"case": case, "error": f"took {seconds:.1f} s"})
    return {"predicted": 0, "refused": 0, **ended, "failures": failures}


def fuzz(bundles: int, images: int, seed: int) -> dict[str, dict]:
    "Both kinds of cases: how they ended."
    with tempfile.TemporaryDirectory() as folder:
        sources, broken = small_bundles(Path(folder)), Path(folder) / "broken"
        broken.mkdir()
        samples, predictor = sample_images(), Predictor(sources[0])
        return {
            "bundles": run_cases("bundles", bundles, seed, lambda rng: bundle_case(sources, broken, rng)),
            "images": run_cases("images", images, seed, lambda rng: image_case(samples, predictor, rng)),
        }
