"""What does int8 cost in accuracy?

    python benchmarks/int8.py BUNDLE PROCESSED [BUNDLE PROCESSED ...]

Each bundle is written as an ONNX file in float32 and in int8 (the ranges come from its training split, as in `vehicle_export
--int8`), and both predict its test split: how many are right, how many get the same class, and how many are kept under the
bundle's own threshold. Whether int8 is faster is measured by `inference.py`. Needs pip install -e '.[onnx]'.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import parser, save, table

from vehicle_nb.data.augment import resize_bytes
from vehicle_nb.data.dataset import PackedDataset
from vehicle_nb.serving.onnx_export import OnnxNetwork, export_onnx, quantize
from vehicle_nb.serving.predictor import Predictor


def ask(predictor: Predictor, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    "Predicted classes, and which images are kept."
    answers = [predictor.infer(np.array(images[i : i + 32])) for i in range(0, len(images), 32)]
    logits, scores = (torch.cat(part) for part in zip(*answers, strict=True))
    return logits.argmax(1), scores >= predictor.threshold


def compare(bundle: Path, processed: Path, work: Path) -> dict:
    "Both networks on the test split."
    for name in ("config.json", "model.safetensors"):
        shutil.copy(bundle / name, work / name)
    data = export_onnx(work).read_bytes()
    train, test = (PackedDataset(processed, split, quiet=True) for split in ("train", "test"))
    rows, labels = np.linspace(0, len(train) - 1, min(256, len(train))).astype(int), torch.as_tensor(test.labels)
    predictor, found = Predictor(work, backend="onnx"), {}
    found["float32"] = ask(predictor, test.images)
    predictor.network = OnnxNetwork(quantize(data, resize_bytes(torch.from_numpy(train.images[rows]), predictor.input_size)))
    found["int8"] = ask(predictor, test.images)
    row = {"arch": predictor.config["arch"], "input size": predictor.input_size, "images": len(test)}
    for name, (classes, kept) in found.items():
        row |= {f"{name} right": int((classes == labels).sum()), f"{name} kept": int(kept.sum())}
    return row | {"same class": int((found["int8"][0] == found["float32"][0]).sum())}


def main():
    parse = parser(__doc__)
    parse.add_argument("folders", nargs="+", type=Path, metavar="BUNDLE PROCESSED")
    args = parse.parse_args()
    if len(args.folders) % 2:
        parse.error("name a processed set after each bundle")
    rows = []
    for bundle, processed in zip(args.folders[::2], args.folders[1::2], strict=True):
        with tempfile.TemporaryDirectory() as work:
            rows.append(compare(bundle, processed, Path(work)))
    table(rows)
    save(args.name, bundles=rows)


if __name__ == "__main__":
    main()
