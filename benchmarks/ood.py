"""What does a model say to things that it was never shown, and to what it knows in another style?

    python benchmarks/ood.py SPLIT SPLIT SPLIT --ood_dir OTHERS --models MODELS --weights FILE --sources CSV

SPLIT are folders that vehicle_preprocess wrote with different seeds, OTHERS is a folder of images that show none of the classes.
For each default (from scratch, fine-tuned, a linear probe) the run MODELS/SPLIT-KIND is measured, and trained where it is missing;
finetune.py names its runs alike. Temperature and OOD score are fitted anew from its features, as a training does at its end.

clean    the test split: accuracy, ECE (`floor`: what a calibrated model would show by chance), classwise ECE (mean, worst class),
         how often "almost certain" is right, and coverage at the bundle's threshold
far      OTHERS: AUROC, FPR95 (share let in where 95 % of the test split are answered), refused at the bundle's own threshold
unseen   each pair of six classes is taken out of head, feature bank and fit, and all images of both are OOD images. A head without
         two of its columns is no head that never saw them, and a network that was trained has seen them: there it is a lower bound
         of the error. `certain`: share that gets "almost certain", and by the softmax alone
shift    the test split in six other styles (lesson 13a): means of accuracy, coverage, selective accuracy and ECE
source   of a class with two sources, one is left out of a probe's training, and its images are asked about (needs CSV: file, source)

Features are kept in MODELS/features: the probes of all splits share a network, and most images.
"""

import csv
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from common import parser, percent, save, spread, start_training, table
from torch import nn

from vehicle_nb.data.augment import normalize_batch
from vehicle_nb.data.dataset import PackedDataset
from vehicle_nb.evaluation.calibration import ALMOST_CERTAIN, classwise_ece, fit_temperature
from vehicle_nb.evaluation.metrics import Predictions, calibration_error
from vehicle_nb.evaluation.ood import (
    auroc, build_feature_bank, calibrated_probs, choose_threshold, fit_known_weights, knn_score, leave_class_out, load_ood_images,
    ood_score, run_batches,
)  # fmt: skip
from vehicle_nb.evaluation.shift import SHIFTS, shift_images
from vehicle_nb.features import split_head
from vehicle_nb.models.bundle import load_bundle
from vehicle_nb.models.finetune import PROBE_VIEWS, fit_probe

PRETRAINED = "--arch {arch} --weights {weights}"
KINDS = {"scratch": "", "fine-tuned": PRETRAINED, "probe": f"{PRETRAINED} --probe"}


def trained(split: str, kind: str, args) -> Path:
    "A run of this kind on this split."
    run = Path(args.models) / f"{Path(split).name}-{kind}"
    if not (run / "model.safetensors").exists():
        options = f"--data {split} --output {run.parent} --run_name {run.name} --quiet {KINDS[kind].format(**vars(args))}"
        if start_training(options).wait():
            raise SystemExit(f"{run} was not trained")
    return run


class Embedder:
    "A network without its head, which computes the features of an image once and keeps them in a file."

    def __init__(self, model: nn.Module, input_size: int, folder: Path):
        self.backbone, self.head = split_head(model)
        self.input_size, digest = input_size, sha256()
        for value in self.backbone.state_dict().values():
            digest.update(value.numpy().tobytes())
        self.path = folder / f"{digest.hexdigest()[:16]}-{input_size}.npz"
        kept = np.load(self.path) if self.path.exists() else {"keys": [], "features": []}
        self.kept = dict(zip(kept["keys"], kept["features"], strict=True))

    def __call__(self, images) -> torch.Tensor:  # uint8 N × S × S × 3 → float32 N × D
        images = [np.array(image) for image in images]
        keys = [sha256(image.tobytes()).hexdigest()[:16] for image in images]
        if new := [i for i, key in enumerate(keys) if key not in self.kept]:
            found = torch.cat(run_batches(self.backbone, np.stack([images[i] for i in new]), self.input_size))
            self.kept.update(zip([keys[i] for i in new], found.half().numpy(), strict=True))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self.path, keys=np.array(list(self.kept)), features=np.stack(list(self.kept.values())))
        return torch.from_numpy(np.stack([self.kept[key] for key in keys])).float()


class Judge:
    "Head, temperature, feature bank and OOD score, for all classes or for some; fitted as at the end of a training."

    @torch.no_grad()
    def __init__(self, head: nn.Linear, sets: dict, classes: list[int]):
        self.head, self.classes = head, torch.tensor(classes)
        (bank, bank_labels), (val, labels) = (self.only(*sets[name]) for name in ("train", "val"))
        self.bank, logits = build_feature_bank(bank), self.logits(val)
        with torch.enable_grad():
            self.temperature = fit_temperature(logits, labels)
        known = torch.stack([knn_score(val, self.bank), (logits / self.temperature).log_softmax(1).amax(1)], 1)
        unknown = leave_class_out(logits / self.temperature, val, labels, self.bank, bank_labels)
        with torch.enable_grad():
            weights = fit_known_weights(known, unknown)
        self.config = {"ood_score": "p_known", "temperature": self.temperature, "known_weights": weights}
        self.threshold = choose_threshold(self.scores(val))

    def only(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        "The images of its classes, and their places in its list of classes."
        rows = torch.isin(labels, self.classes)
        return features[rows], torch.searchsorted(self.classes, labels[rows])

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(features)[:, self.classes]

    @torch.no_grad()
    def scores(self, features: torch.Tensor, kind: str = "p_known") -> torch.Tensor:
        knn, how = knn_score(features, self.bank), (self.temperature, self.config["known_weights"])
        return ood_score(kind, self.logits(features), knn, *how)

    @torch.no_grad()
    def ask(self, features: torch.Tensor, labels: torch.Tensor) -> Predictions:
        probs, scores = calibrated_probs(self.config, self.logits(features), knn_score(features, self.bank))
        names = [str(c) for c in self.classes.tolist()]
        return Predictions([], labels.numpy(), probs.float().numpy(), names, self.threshold, scores.numpy())


def chance_floor(answers: Predictions, times: int = 100) -> float:
    "Mean calibration error of a model that is right exactly as often as it says."
    rng, found = np.random.default_rng(0), []
    for _ in range(times):
        right = rng.random(len(answers.labels)) < answers.confidence
        labels = np.where(right, answers.predicted, (answers.predicted + 1) % len(answers.classes))
        found.append(calibration_error(Predictions([], labels, answers.probs, answers.classes)))
    return float(np.mean(found))


def clean(judge: Judge, sets: dict) -> dict:
    "The test split."
    answers = judge.ask(*sets["test"])
    each, certain = classwise_ece(answers), answers.confidence >= ALMOST_CERTAIN
    return {
        "accuracy": answers.correct.mean(), "ece": calibration_error(answers), "floor": chance_floor(answers), "classwise_ece": each.mean(),
        "worst_class_ece": each.max(), "certain": certain.mean(), "certain_accuracy": answers.correct[certain].mean(),
        "coverage": answers.known.mean(),
    }  # fmt: skip


def against(judge: Judge, known: torch.Tensor, ood: torch.Tensor) -> dict:
    "What the score does with OOD images, and what kNN and softmax alone would do."
    found = {}
    for kind in ("p_known", "knn", "max_softmax"):
        kept, others = (judge.scores(features, kind).numpy() for features in (known, ood))
        found[f"auroc_{kind}"], found[f"fpr95_{kind}"] = auroc(kept, others), float((others >= np.quantile(kept, 0.05)).mean())
    answers = judge.ask(ood, torch.zeros(len(ood), dtype=torch.long))
    sure = {"certain": answers.confidence, "certain_softmax": answers.confidence / answers.scores}
    return found | {"refused": (~answers.known).mean()} | {
        name: (answers.known & (p >= ALMOST_CERTAIN)).mean() for name, p in sure.items()
    }  # fmt: skip


def unseen(head: nn.Linear, sets: dict, num_classes: int) -> list[dict]:
    "Each pair of six classes left out."
    rows = []
    for pair in combinations(np.linspace(0, num_classes - 1, min(6, num_classes)).round().astype(int).tolist(), 2):
        judge = Judge(head, sets, [c for c in range(num_classes) if c not in pair])
        ood = [features[torch.isin(labels, torch.tensor(pair))] for features, labels in sets.values()]
        rows.append({"pair": pair, **against(judge, judge.only(*sets["test"])[0], torch.cat(ood))})
    return rows


def shifts(judge: Judge, embed: Embedder, test: PackedDataset, limit: int) -> list[dict]:
    "The test split, or some of it, in other styles."
    some, rows = np.unique(np.linspace(0, len(test.labels) - 1, limit).round().astype(int)), []
    for style in SHIFTS:
        answers = judge.ask(embed(shift_images(test.images[some], style)), torch.from_numpy(np.array(test.labels)[some]))
        right = answers.correct[answers.known]
        rows.append({
            "style": style, "accuracy": answers.correct.mean(), "coverage": answers.known.mean(),
            "selective_accuracy": right.mean() if len(right) else None, "ece": calibration_error(answers),
        })  # fmt: skip
    return rows


def views(images) -> np.ndarray:  # uint8 N × S × S × 3 → the same for each of a probe's views
    "The views of training images from which a probe learns."
    xb, index = normalize_batch(torch.from_numpy(np.array(images))), torch.arange(len(images))
    seen = torch.cat([view(xb, index) for view in PROBE_VIEWS])
    return ((seen.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()


def sources(sets: dict, seen: torch.Tensor, places: dict, classes: list[str]) -> list[dict]:
    "A probe that never saw one source of a class, asked about that source's images of the class; `seen`: features of all views."
    counts, rows = Counter(place for each in places.values() for place in each), []
    of_class = Counter(c for (c, _), n in counts.items() if n >= 20)
    for c, source in (place for place, n in sorted(counts.items()) if n >= 20 and of_class[place[0]] > 1):
        away = {name: torch.tensor([place == (c, source) for place in each]) for name, each in places.items()}
        rest = {name: (features[~away[name]], labels[~away[name]]) for name, (features, labels) in sets.items()}
        head = nn.Linear(sets["train"][0].shape[1], len(classes))
        kept, labels = (~away["train"]).repeat(len(PROBE_VIEWS)), sets["train"][1].repeat(len(PROBE_VIEWS))
        fit_probe(head, seen[kept], labels[kept], *rest["val"])
        asked = torch.cat([features[away[name]] for name, (features, _) in sets.items()])
        answers = Judge(head, rest, list(range(len(classes)))).ask(asked, torch.full((len(asked),), c))
        rows.append({"class": classes[c], "source": source, "images": len(asked), "accuracy": answers.correct.mean(),
                     "coverage": answers.known.mean(), "probability": float(answers.confidence.mean())})  # fmt: skip
    return rows


def measure(split: str, kind: str, args, where: dict) -> dict:
    "All figures of one run."
    model, config, _ = load_bundle(trained(split, kind, args))
    embed = Embedder(model, config["input_size"], Path(args.models) / "features")
    packed = {name: PackedDataset(split, name, quiet=True) for name in ("train", "val", "test")}
    sets = {name: (embed(each.images), torch.from_numpy(np.array(each.labels))) for name, each in packed.items()}
    judge, num_classes = Judge(embed.head, sets, list(range(len(config["classes"])))), len(config["classes"])
    far = against(judge, sets["test"][0], embed(load_ood_images(args.ood_dir, config["image_size"])[1]))
    found = {"clean": clean(judge, sets), "far": far, "unseen": unseen(embed.head, sets, num_classes)}
    found["shift"] = shifts(judge, embed, packed["test"], args.shift_images)
    if kind == "probe" and where:
        files = {n: [(int(c), f"{each.classes[c]}/{i}") for c, i in zip(each.labels, each.ids, strict=True)] for n, each in packed.items()}
        places = {name: [(c, where[file]) for c, file in each] for name, each in files.items()}
        found["source"] = sources(sets, embed(views(packed["train"].images)), places, config["classes"])
    return found


def show(kinds: dict):
    "A row for each default, then the sources."
    mean = lambda rows, name: float(np.mean([row[name] for row in rows if row[name] is not None]))  # noqa: E731
    rows = []
    for kind, runs in kinds.items():
        one = lambda part, name, runs=runs: [run[part][name] for run in runs]  # noqa: E731
        many = lambda part, name, runs=runs: [mean(run[part], name) for run in runs]  # noqa: E731
        rows.append({
            "": kind, "accuracy, %": percent(one("clean", "accuracy")), "ECE": spread(one("clean", "ece"), 3),
            "floor": spread(one("clean", "floor"), 3), "classwise ECE": spread(one("clean", "classwise_ece"), 3),
            "coverage, %": percent(one("clean", "coverage")), "AUROC": spread(one("far", "auroc_p_known"), 3),
            "FPR95, %": percent(one("far", "fpr95_p_known")), "refused, %": percent(one("far", "refused")),
            "unseen: AUROC": spread(many("unseen", "auroc_p_known"), 3),
            "refused at 95 % kept": percent([1 - x for x in many("unseen", "fpr95_p_known")]),
            "by kNN": percent([1 - x for x in many("unseen", "fpr95_knn")]), "almost certain": percent(many("unseen", "certain")),
            "by softmax": percent(many("unseen", "certain_softmax")), "shift: accuracy": percent(many("shift", "accuracy")),
            "coverage": percent(many("shift", "coverage")), "selective": percent(many("shift", "selective_accuracy")),
        })  # fmt: skip
    table(rows)
    groups = {}
    for row in (row for runs in kinds.values() for run in runs for row in run.get("source", [])):
        groups.setdefault((row["class"], row["source"], row["images"]), []).append(row)
    if groups:
        shares = ("accuracy", "coverage", "probability")
        table([dict(zip(("class", "source left out", "images"), key, strict=True)) | {name: percent([row[name] for row in group])
              for name in shares} for key, group in groups.items()])  # fmt: skip


def main():
    parse = parser(__doc__)
    parse.add_argument("processed", nargs="+", help="folders that vehicle_preprocess wrote, with different seeds")
    parse.add_argument("--ood_dir", required=True, help="folder of images that show none of the classes")
    parse.add_argument("--models", default="models", help="folder of the runs")
    parse.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parse.add_argument("--arch", default="mobilenet_v2")
    parse.add_argument("--weights", default="pretrained", help="pretrained, or a file")
    parse.add_argument("--shift_images", type=int, default=150, help="test images in each other style")
    parse.add_argument("--sources", help="CSV with the columns file (class/name.jpg) and source")
    args = parse.parse_args()
    where = {}
    if args.sources:
        with open(args.sources, newline="") as file:
            where = {row["file"].rsplit(".", 1)[0]: row["source"] for row in csv.DictReader(file)}
    kinds = {kind: [measure(split, kind, args, where) for split in args.processed] for kind in args.kinds}
    show(kinds)
    save(args.name, splits=[Path(split).name for split in args.processed], **kinds)


if __name__ == "__main__":
    main()
