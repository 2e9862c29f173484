"""How long does one picture take from file to answer, and how many pictures a second does a folder give?

    python benchmarks/inference.py                              random weights, drawn pictures; the answers do not matter, the time does
    python benchmarks/inference.py --archs resnet18 --side 224 --turns 40
    python benchmarks/inference.py --pictures FOLDER            pictures of your own

Four ways answer the same files on the same cores, in turns, so that a busy machine hurts all of them alike:
`plain` is what everybody writes first: open, torchvision's transforms, the eager torchvision model, one picture after the other;
`torch` is `Predictor`; `onnx` is `Predictor(backend="onnx")`, and `int8` the same with its convolutions in int8 (both need
pip install -e '.[onnx]'). The ratio of one turn is taken within
that turn; reported is the median of the ratios with their quartiles.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import RESULTS, command_line, stamp
from PIL import Image
from torchvision import transforms

from vehicle_nb.data.augment import resize_bytes
from vehicle_nb.core import VehicleError, write_json
from vehicle_nb.parallel import cpu_count
from vehicle_nb.demo.make import DEMO_CLASSES, draw_vehicle
from vehicle_nb.serving.onnx_export import OnnxNetwork, export_onnx, quantize
from vehicle_nb.serving.predictor import Predictor, find_pictures
from vehicle_nb.models.bundle import save_bundle
from vehicle_nb.models.cnn import create_model


def draw_photos(folder: Path, number: int, width: int):
    "Demo pictures as a camera would save them: large JPEGs, with a little noise."
    rng = np.random.default_rng(0)
    for i in range(number):
        image = draw_vehicle(DEMO_CLASSES[i % len(DEMO_CLASSES)], seed=i).convert("RGB")
        image = image.resize((width, width * image.height // image.width))
        noisy = np.asarray(image, np.int16) + rng.integers(-6, 7, (*image.size[::-1], 1), np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04}.jpg", quality=90)


class Plain:
    "The first thing that one writes."

    def __init__(self, arch: str, classes: int, side: int):
        known = arch in torchvision.models.list_models()
        # Our own architecture has no torchvision model: then it is our module, called as plainly.
        model = torchvision.models.get_model(arch, num_classes=classes) if known else create_model(arch, classes)
        self.model = model.to(memory_format=torch.contiguous_format).eval()
        norm = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        self.prepare = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor(), norm])

    @torch.no_grad()
    def one(self, path: Path):
        return self.model(self.prepare(Image.open(path).convert("RGB"))[None]).softmax(1)[0].topk(5)

    def all(self, paths: list[Path]):
        return [self.one(path) for path in paths]


class Ours:
    "Our own way, with one of the two backends."

    def __init__(self, bundle: Path, backend: str):
        self.predictor = Predictor(bundle, "cpu", backend)

    def one(self, path: Path):
        return self.predictor.predict(path)

    def all(self, paths: list[Path]):
        answers = list(self.predictor.predict_many(paths))
        assert len(answers) == len(paths) and not any(a.error for a in answers)


def onnx_ways(bundle: Path, paths: list[Path]) -> dict[str, Ours]:
    "ONNX Runtime in float32, and in int8 with ranges from some of the pictures."
    data = export_onnx(bundle).read_bytes()
    ways = {"onnx": Ours(bundle, "onnx"), "int8": Ours(bundle, "onnx")}
    predictor = ways["int8"].predictor
    some = torch.from_numpy(np.stack([predictor.prepare(path) for path in paths[:32]]))
    predictor.network = OnnxNetwork(quantize(data, resize_bytes(some, predictor.input_size)))
    return ways


def seconds(work, what) -> float:
    start = time.perf_counter()
    work(what)
    return time.perf_counter() - start


def compare(ways: dict, paths: list[Path], turns: int, folder_turns: int) -> dict:
    "All times, in turns; the order changes so that nobody always comes after the same neighbour."
    one, many = {name: [] for name in ways}, {name: [] for name in ways}
    for way in ways.values():
        way.all(paths[:4])  # warm
    for turn in range(turns):
        for name in sorted(ways, key=lambda n: hash((n, turn)) if turn % 2 else -hash((n, turn))):
            one[name].append(seconds(ways[name].one, paths[turn % len(paths)]))
    for turn in range(folder_turns):
        for name in sorted(ways, reverse=bool(turn % 2)):
            many[name].append(len(paths) / seconds(ways[name].all, paths))
    return {"one_seconds": one, "folder_pictures_per_second": many}


def ratios(values: dict[str, list[float]], name: str) -> list[float]:
    "Lower quartile, median and upper quartile of name / plain, turn by turn."
    each = [a / b for a, b in zip(values[name], values["plain"], strict=True)]
    return [round(float(q), 3) for q in np.quantile(each, [0.25, 0.5, 0.75])]


def summary(times: dict) -> dict:
    "What is reported."
    one, many, rows = times["one_seconds"], times["folder_pictures_per_second"], {}
    for name in one:
        rows[name] = {
            "p50_ms": round(1e3 * float(np.quantile(one[name], 0.5)), 2), "p95_ms": round(1e3 * float(np.quantile(one[name], 0.95)), 2),
            "one_ratio_quartiles": ratios(one, name), "pictures_per_second": round(statistics.median(many[name]), 1),
            "folder_ratio_quartiles": ratios(many, name),
        }  # fmt: skip
        (_, p50, _), (_, folder, _) = rows[name]["one_ratio_quartiles"], rows[name]["folder_ratio_quartiles"]
        print(f"{name:6} one picture p50 {rows[name]['p50_ms']:7.1f} ms  p95 {rows[name]['p95_ms']:7.1f} ms  ratio {p50:.2f}   "
              f"folder {rows[name]['pictures_per_second']:6.1f} pictures/s  ratio {folder:.2f}", flush=True)  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", nargs="+", default=["mobilenet_v2", "resnet18", "vehicle_cnn"])
    parser.add_argument("--side", type=int, default=224, help="of the network's input")
    parser.add_argument("--pictures", help="folder; default: drawn here")
    parser.add_argument("--number", type=int, default=64, help="pictures to draw")
    parser.add_argument("--width", type=int, default=1280, help="of a drawn picture")
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--folder_turns", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    torch.set_num_threads(cpu_count())
    head, rows = stamp(command_line("inference.py")), {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(args.pictures or folder)
        if not args.pictures:
            draw_photos(pictures, args.number, args.width)
        paths = find_pictures([pictures])[: args.number]
        size = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
        print(f"{len(paths)} pictures of {size:.0f} kB; {cpu_count()} cores")
        for arch in args.archs:
            torch.manual_seed(0)
            bundle = Path(folder) / ".bundles" / arch
            config = {"arch": arch, "classes": list(DEMO_CLASSES), "image_size": 224, "input_size": args.side}
            save_bundle(bundle, create_model(arch, len(DEMO_CLASSES)).eval(), config)
            ways = {"plain": Plain(arch, len(DEMO_CLASSES), args.side), "torch": Ours(bundle, "torch")}
            try:
                ways |= onnx_ways(bundle, paths)
            except VehicleError as error:
                print(f"without ONNX: {error}")
            print(arch)
            times = compare(ways, paths, args.turns, args.folder_turns)
            rows[arch] = {"summary": summary(times)} | times
        name = "inference.json" if not args.pictures else "inference-own_pictures.json"
        write_json(RESULTS / name, head | {"pictures": len(paths), "mean_kilobytes": round(size), "archs": rows})


if __name__ == "__main__":
    main()
