"""How long does one image take from file to prediction, and how many images a second does a folder give?

    python benchmarks/inference.py                              random weights, drawn images: only the time matters
    python benchmarks/inference.py --archs resnet18 --side 224 --repeats 40
    python benchmarks/inference.py --images FOLDER              images of your own

Four ways predict the same files on the same cores, alternating, so that a busy machine slows all of them alike: `plain` is what
everybody writes first (open, torchvision's transforms, the eager torchvision model, one image after the other); `torch` is
`Predictor`; `onnx` is `Predictor(backend="onnx")`, and `int8` the same with its convolutions in int8 (both need
pip install -e '.[onnx]'). Reported is the median of the ratios to `plain`, with their quartiles.
"""

import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import parser, save, table
from PIL import Image
from torchvision import transforms

from vehicle_nb.core import VehicleError
from vehicle_nb.data.augment import resize_bytes
from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle
from vehicle_nb.models.bundle import save_bundle
from vehicle_nb.models.registry import create_model
from vehicle_nb.serving.onnx_export import OnnxNetwork, export_onnx, quantize
from vehicle_nb.serving.predictor import Predictor, find_images


def draw_photos(folder: Path, count: int, width: int):
    "Demo images as a camera would save them: large JPEGs, with a little noise."
    rng = np.random.default_rng(0)
    for i in range(count):
        image = draw_vehicle(DEMO_CLASSES[i % len(DEMO_CLASSES)], seed=i).convert("RGB")
        image = image.resize((width, width * image.height // image.width))
        noisy = np.asarray(image, np.int16) + rng.integers(-6, 7, (*image.size[::-1], 1), np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04}.jpg", quality=90)


class Plain:
    "The first thing that one writes."

    def __init__(self, arch: str, side: int):
        known = arch in torchvision.models.list_models()  # our own architecture is called as plainly
        model = torchvision.models.get_model(arch, num_classes=20) if known else create_model(arch, 20)
        self.model = model.to(memory_format=torch.contiguous_format).eval()
        norm = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        self.prepare = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor(), norm])

    @torch.no_grad()
    def predict(self, path: Path):
        return self.model(self.prepare(Image.open(path).convert("RGB"))[None]).softmax(1)[0].topk(5)

    def predict_many(self, paths: list[Path]):
        return map(self.predict, paths)


def ways_for(arch: str, side: int, paths: list[Path], folder: Path) -> dict:
    "The ways that are installed here."
    torch.manual_seed(0)
    bundle = folder / arch
    save_bundle(bundle, create_model(arch, 20).eval(), {"arch": arch, "classes": list(DEMO_CLASSES), "image_size": 224, "input_size": side})
    ways = {"plain": Plain(arch, side), "torch": Predictor(bundle, "cpu")}
    try:
        data = export_onnx(bundle).read_bytes()
    except VehicleError as error:
        print(f"without ONNX: {error}")
        return ways
    ways |= {name: Predictor(bundle, "cpu", "onnx") for name in ("onnx", "int8")}
    some = torch.from_numpy(np.stack([ways["int8"].prepare(path) for path in paths[:32]]))
    ways["int8"].network = OnnxNetwork(quantize(data, resize_bytes(some, side)))
    return ways


def seconds(work) -> float:
    start = time.perf_counter()
    list(work) if hasattr(work, "__next__") else work()
    return time.perf_counter() - start


def compare(ways: dict, paths: list[Path], repeats: int, folder_repeats: int) -> tuple[dict, dict]:
    "Seconds of one image, and images a second of the folder, for each way."
    one, many = {name: [] for name in ways}, {name: [] for name in ways}
    for way in ways.values():  # warm up
        list(way.predict_many(paths[:4]))
    for i in range(repeats):
        for name in list(ways)[:: -1 if i % 2 else 1]:
            one[name].append(seconds(partial(ways[name].predict, paths[i % len(paths)])))
    for i in range(folder_repeats):
        for name in list(ways)[:: -1 if i % 2 else 1]:
            many[name].append(len(paths) / seconds(iter(ways[name].predict_many(paths))))
    return one, many


def ratios(values: dict[str, list[float]], name: str) -> str:
    "Median of name / plain, with the quartiles."
    low, middle, high = np.quantile(np.divide(values[name], values["plain"]), [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main():
    parse = parser(__doc__)
    parse.add_argument("--archs", nargs="+", default=["mobilenet_v2", "resnet18", "vehicle_cnn"])
    parse.add_argument("--side", type=int, default=224, help="of the network's input")
    parse.add_argument("--images", type=Path, help="folder; default: 64 images drawn here")
    parse.add_argument("--width", type=int, default=1280, help="of a drawn image")
    parse.add_argument("--repeats", type=int, default=60, help="of one image")
    parse.add_argument("--folder_repeats", type=int, default=5)
    parse.add_argument("--cores", type=int, default=2)
    args = parse.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    torch.set_num_threads(args.cores)
    rows, measured = [], {}
    with tempfile.TemporaryDirectory() as images, tempfile.TemporaryDirectory() as bundles:
        if not args.images:
            draw_photos(Path(images), 64, args.width)
        paths = find_images([args.images or Path(images)])[:64]
        for arch in args.archs:
            one, many = compare(ways_for(arch, args.side, paths, Path(bundles)), paths, args.repeats, args.folder_repeats)
            measured[arch] = {"one_seconds": one, "folder_images_per_second": many}
            for name in one:
                p50, p95 = 1e3 * np.quantile(one[name], [0.5, 0.95])
                rows.append({"arch": arch, "way": name, "p50, ms": f"{p50:.1f}", "p95, ms": f"{p95:.1f}", "time / plain": ratios(one, name),
                             "folder, images/s": statistics.median(many[name]), "speed / plain": ratios(many, name)})  # fmt: skip
    table(rows)
    save(args.name, rows=rows, measured=measured)


if __name__ == "__main__":
    main()
