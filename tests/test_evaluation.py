"""Figures that agree with other people's programs, classes matched by name, and a report that is whole or absent."""

import contextlib
import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix as sk_confusion
from sklearn.metrics import precision_recall_fscore_support
from tiny import CLASSES, tiny_bundle, tiny_fitted, tiny_processed

from vehicle_nb.evaluation import evaluate as ev, explain as examination, metrics
from vehicle_nb.evaluation.calibration import calibration_by_class, classwise_ece, overconfident_classes
from vehicle_nb.evaluation.ood import load_ood_images, ood_metrics, OODDetector, run_batches, score_ood
from vehicle_nb.evaluation.shift import shift_metrics
from vehicle_nb.commands import run_command
from vehicle_nb.core import VehicleError
from vehicle_nb.data.dataset import PackedDataset
from vehicle_nb.models import bundle as bundles
from vehicle_nb.models.bundle import load_bundle, save_bundle
from vehicle_nb.models.registry import create_model
from vehicle_nb.evaluation.report import read_report
from vehicle_nb.pages import figure_svg

matplotlib.use("Agg")


def random_predictions(n: int = 300, c: int = 7, seed: int = 0) -> metrics.Predictions:
    "Predictions that are correct about as often as they are confident."
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(c, 0.4), n).astype(np.float32)
    labels = np.array([rng.choice(c, p=p / p.sum()) for p in probs.astype(float)])
    return metrics.Predictions([f"id{i}" for i in range(n)], labels, probs, [f"class_{i}" for i in range(c)], 0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A bundle and the processed set that belongs to it."
    root = tmp_path_factory.mktemp("evaluation")
    return tiny_bundle(root / "models" / "tiny", data={"content_hash": "tiny"}), tiny_processed(root / "processed")


@pytest.fixture(scope="module")
def report(place):
    return ev.evaluate(*place, quiet=True)


def command(*argv) -> tuple[int, str, str]:
    "Run `vehicle_evaluate` in this process; returns exit code, standard output and standard error."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        run_command(ev.vehicle_evaluate, [str(a) for a in argv], prog="vehicle_evaluate")
    return end.value.code, out.getvalue(), err.getvalue()


# --- figures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 40), (40, 40), (95, 100), (171, 180), (1, 1000)])
def test_the_interval_is_that_of_scipy(right, n):
    stats = pytest.importorskip("scipy.stats")
    ours, theirs = metrics.wilson(right, n), stats.binomtest(right, n).proportion_ci(method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_no_pictures_no_knowledge():
    assert metrics.wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_class_figures_are_those_of_scikit_learn(seed):
    predictions = random_predictions(seed=seed)
    table = metrics.per_class_table(predictions).set_index("class").loc[predictions.classes]
    theirs = precision_recall_fscore_support(predictions.labels, predictions.predicted, labels=range(7), zero_division=0)
    for name, values in zip(("precision", "recall", "f1"), theirs[:3], strict=True):
        np.testing.assert_allclose(table[name], values, atol=1e-6)
    assert table["images"].tolist() == theirs[3].tolist()
    assert (metrics.confusion_matrix(predictions) == sk_confusion(predictions.labels, predictions.predicted, labels=range(7))).all()


def test_calibration_error_is_that_of_torchmetrics():
    from torchmetrics.functional.classification import multiclass_calibration_error

    found = random_predictions(500)
    theirs = multiclass_calibration_error(torch.from_numpy(found.probs), torch.from_numpy(found.labels), 7, n_bins=15)
    assert metrics.calibration_error(found) == pytest.approx(float(theirs), abs=1e-6)


def test_calibration_error_is_the_weighted_gap():
    predictions = random_predictions(2000)
    edges = np.linspace(0, 1, 16)
    gap = 0.0
    for low, high in pairwise(edges):
        inside = (predictions.confidence > low) & (predictions.confidence <= high)
        if inside.any():
            gap += inside.mean() * abs(predictions.confidence[inside].mean() - predictions.correct[inside].mean())
    assert metrics.calibration_error(predictions) == pytest.approx(gap, abs=1e-3)
    assert gap < 0.06  # these predictions are honest by construction
    sharp = predictions.probs**6
    bragging = metrics.Predictions(predictions.ids, predictions.labels, sharp / sharp.sum(1, keepdims=True), predictions.classes)
    assert metrics.calibration_error(bragging) > 0.15


def test_coverage_starts_with_the_surest_and_ends_with_all():
    predictions = random_predictions()
    curve = metrics.coverage_curve(predictions)
    assert curve.accuracy.iloc[-1] == pytest.approx(predictions.correct.mean())
    assert curve.accuracy.iloc[29] > curve.accuracy.iloc[-1] and (np.diff(curve.confidence) <= 0).all()
    kept = predictions.confidence >= predictions.threshold
    assert metrics.compute_metrics(predictions)["selective_accuracy"] == pytest.approx(predictions.correct[kept].mean())


def test_most_confused_and_top_losses_begin_with_the_worst():
    predictions = random_predictions()
    pairs, matrix = metrics.most_confused(predictions, 100), metrics.confusion_matrix(predictions)
    assert pairs["count"].is_monotonic_decreasing and pairs["count"].sum() == matrix.sum() - np.trace(matrix)
    worst = metrics.top_losses(predictions, 5)
    assert predictions.probs[worst[0], predictions.labels[worst[0]]] == predictions.probs[np.arange(300), predictions.labels].min()


@pytest.mark.parametrize("n", [1, 30])
@pytest.mark.parametrize("quality", ["all right", "all wrong", "one class said"])
def test_extreme_models_break_no_figure_and_no_plot(n, quality):
    labels = np.arange(n) % 3
    said = {"all right": labels, "all wrong": (labels + 1) % 3, "one class said": np.zeros(n, int)}[quality]
    found = metrics.Predictions([str(i) for i in range(n)], labels, np.eye(4, dtype=np.float32)[said], list("abcd"))
    figures = metrics.compute_metrics(found)
    assert 0 <= figures["accuracy"] <= 1 and figures["ece"] >= 0
    for draw in (metrics.plot_reliability, metrics.plot_coverage):
        assert "<svg" in figure_svg(lambda draw=draw: draw(found))
    assert "<svg" in figure_svg(lambda: metrics.plot_confusion(metrics.confusion_matrix(found), found.classes))
    assert "<svg" in figure_svg(lambda: metrics.plot_per_class(metrics.per_class_table(found)))
    table = metrics.per_class_table(found)
    assert "d" not in set(table["class"])  # a class without pictures has no row
    if quality == "one class said" and n > 1:
        assert table.set_index("class").precision.isna().any()  # a class that is never said has no precision


# --- classes -------------------------------------------------------------------------------------------------------------


def test_classes_are_matched_by_name_not_by_number(place, tmp_path):
    "Folders renamed so that their alphabetical order differs: a model that is right must be counted as right."
    predictions, *_ = examination.collect(place[0], place[1])
    assert predictions.correct.mean() == 1
    shuffled = ["tractor", "fire_truck", "bus", "boat"]  # the bundle lists its classes in this order
    state, config, _ = load_bundle(place[0])
    order = [CLASSES.index(c) for c in shuffled]
    with torch.no_grad():
        head = [m for m in state.modules() if isinstance(m, torch.nn.Linear)][-1]
        head.weight.copy_(head.weight[order].clone())
        head.bias.copy_(head.bias[order].clone())
    save_bundle(tmp_path / "shuffled", state, config | {"classes": shuffled})
    predictions, *_ = examination.collect(tmp_path / "shuffled", place[1])
    assert predictions.correct.mean() == 1 and predictions.classes == shuffled


def test_no_class_in_common_is_a_sentence_that_names_both(place, tmp_path):
    other = tiny_processed(tmp_path / "animals", ["cat", "cow", "dog", "hen"])
    code, out, err = command("--bundle", place[0], "--data", other)
    assert code == 2 and not out and len(err.strip().splitlines()) == 1
    for words in ("boat", "cat", "no class in common", str(place[0]), str(other)):
        assert words in err
    assert not (place[0] / "report_animals").exists()


def test_shared_classes_are_evaluated_and_the_rest_is_named(place, tmp_path):
    mixed = tiny_processed(tmp_path / "mixed", ["boat", "bus", "fire_truck", "zeppelin"], each=4)
    report = ev.evaluate(place[0], mixed, output=tmp_path / "report", quiet=True)
    assert report["images"] == 12 and report["accuracy"] == 1
    notes = " ".join(report["notes"])
    assert "zeppelin" in notes and "tractor" in notes and "another processed set" not in notes
    assert set(report["per_class"]["class"]) == {"boat", "bus", "fire_truck"}
    assert "zeppelin" in (tmp_path / "report" / "index.html").read_text()


def test_another_processed_set_may_give_too_high_an_accuracy_and_the_report_says_so():
    config, data = {"classes": CLASSES, "data": {"content_hash": "one"}}, {"classes": CLASSES, "content_hash": "two"}
    assert "may be too high" in " ".join(ev._notes(config, data, "test"))
    assert ev._notes(config, data | {"content_hash": "one"}, "test") == []
    assert "training images" in " ".join(ev._notes(config, data | {"content_hash": "one"}, "train"))


# --- the report ----------------------------------------------------------------------------------------------------------


class Outside(HTMLParser):
    "Collects everything that a page would fetch, and checks that tags are closed in order."

    def __init__(self):
        super().__init__()
        self.links, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]
        if tag not in ("meta", "img", "br", "link", "use", "path", "stop"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open and self.open.pop() != tag:
                pass


def test_the_page_holds_everything_and_the_tables_agree(report, place):
    folder = report["path"]
    assert folder == place[0] / "report"
    assert {p.name for p in folder.iterdir()} == {"index.html", "report.json", "per_class.csv", "predictions.csv"}
    page = (folder / "index.html").read_text()
    parser = Outside()
    parser.feed(page)
    assert parser.links and all(link.startswith(("data:image/jpeg;base64,", "data:image/png;base64,", "#")) for link in parser.links)
    assert not parser.open and "<script" not in page and "url(http" not in page
    saved = json.loads((folder / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    rows = pd.read_csv(folder / "predictions.csv")
    assert saved["accuracy"] == report["accuracy"] == rows.correct.mean() == 1
    assert len(rows) == saved["images"] == 20 and rows.id.is_unique
    assert (rows["true_class"] == rows["predicted_class"]).all() and rows["confidence"].between(0, 1).all()
    assert pd.read_csv(folder / "per_class.csv")["class"].tolist() == [r["class"] for r in saved["per_class"]]
    assert np.trace(np.array(saved["confusion"]["counts"])) == 20


def test_charts_are_sound_svg(report):
    page = (report["path"] / "index.html").read_text()
    charts = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(charts) == 4
    for chart in charts:
        ET.fromstring(chart)
        assert "<text" in chart  # words stay words: they can be searched, and are sharp at any size


def test_names_that_look_like_html_are_only_names(tmp_path):
    names = ["<b>boat", 'bus & "co"', "fire'truck", "</style></svg><script>alert(1)</script>"]
    bundle = tiny_bundle(tmp_path / "<i>run", classes=names)
    processed = tiny_processed(tmp_path / "processed", [name.replace("/", "\u2215") for name in names[:3]])
    report = ev.evaluate(bundle, processed, quiet=True)
    page = (report["path"] / "index.html").read_text()
    assert "<b>boat" not in page and "<i>run" not in page and "&lt;i&gt;run" in page
    assert "bus &amp; " in page and "<script" not in page
    for chart in re.findall(r"<svg.*?</svg>", page, re.S):
        ET.fromstring(chart)
    assert page.count("</style>") == 1 + sum(chart.count("</style>") for chart in re.findall(r"<svg.*?</svg>", page, re.S))


def test_a_report_replaces_a_report_with_the_same_bytes_and_nothing_else(place, report, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years")
    with pytest.raises(VehicleError, match=r"chapter\.txt"):
        ev.evaluate(*place, output=tmp_path / "thesis", quiet=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years"
    shutil.copytree(report["path"], tmp_path / "report")
    (tmp_path / "report" / "per_class.csv").write_text("older")
    again = ev.evaluate(*place, output=tmp_path / "report", quiet=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report", "thesis"]  # no leftovers beside them
    for name in ("predictions.csv", "per_class.csv"):
        assert (tmp_path / "report" / name).read_bytes() == (report["path"] / name).read_bytes()
    assert again["robustness"].equals(report["robustness"])


def test_a_bundle_is_loaded_once_for_a_whole_report(tmp_path, monkeypatch):
    bundle, processed = tiny_fitted(tmp_path)
    (tmp_path / "other").mkdir()
    for i in range(3):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "other" / f"{i}.png")
    read, loads = bundles.read_weights, []
    monkeypatch.setattr(bundles, "read_weights", lambda *args: loads.append(args[0]) or read(*args))
    found = ev.evaluate(bundle, processed, device="cpu", ood_dir=tmp_path / "other", quiet=True)
    assert loads == [bundle]
    model, config, bank = load_bundle(bundle)  # and the figures are those of a network that was loaded for each of them alone
    images, labels = PackedDataset(processed, "test").images, np.array(PackedDataset(processed, "test").labels)
    pd.testing.assert_frame_equal(found["shift"], shift_metrics(model, config, images, labels, bank))
    _, others = load_ood_images(tmp_path / "other", 64)
    assert found["ood"] == ood_metrics(score_ood(bundle, processed, others))


def test_a_report_is_read_back_whole(report, place):
    read = read_report(place[0])
    for name in ("accuracy", "interval", "macro_f1", "ece", "coverage", "selective_accuracy", "images", "run", "notes", "speed"):
        assert read[name] == report[name], name
    assert read["per_class"].astype(report["per_class"].dtypes).equals(report["per_class"])
    pd.testing.assert_frame_equal(read["robustness"], report["robustness"])
    assert np.trace(read["confusion"]["counts"]) == read["predictions"]["correct"].sum() == report["images"]


BROKEN_REPORTS = ["", "{", "[]", "null", '"x"', "3", "[" * 100_000, "{}", '{"accuracy": NaN}']


def test_a_report_that_is_not_whole_is_none(report, tmp_path):
    saved = json.loads((report["path"] / "report.json").read_text())
    (tmp_path / "report").mkdir()

    def read(text):
        (tmp_path / "report" / "report.json").write_text(text if isinstance(text, str) else json.dumps(text))
        return read_report(tmp_path)

    assert read_report(tmp_path) is None  # no report at all
    assert read(saved)["predictions"] is None, "its table of predictions is missing"
    for text in BROKEN_REPORTS:
        assert read(text) is None, text[:20]
    needed = ("accuracy", "interval", "macro_f1", "ece", "coverage", "selective_accuracy", "images", "run", "arch", "split", "created",
              "notes", "speed", "per_class", "robustness", "confusion")  # fmt: skip
    for name in needed:
        assert read({k: v for k, v in saved.items() if k != name}) is None, f"without {name}"
        for value in (None, "", 3.5, -1, True, [1], [{}], {}, {"a": 1}, float("nan")):
            if value != "" or name not in ("run", "arch", "split", "created"):
                assert read(saved | {name: value}) is None, f"{name}: {value!r}"


MISTAKES = [
    (["--bundle", "nowhere"], "vehicle_nb.train"),
    (["--data", "nowhere"], "vehicle_preprocess"),
    (["--split", "exam"], "train, val or test"),
    (["--output", "/proc/report"], "/proc"),
]


@pytest.mark.parametrize(("argv", "words"), MISTAKES)
def test_a_mistake_ends_in_one_sentence(place, argv, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = {"--bundle": str(place[0]), "--data": str(place[1])} | dict([argv])
    code, _, err = command(*[x for pair in base.items() for x in pair])
    last = err.strip().splitlines()[-1]
    assert code == 2 and words in last and last.startswith("vehicle_evaluate: ") and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_counts_and_what_comes_next(place):
    code, out, _ = command("--bundle", place[0], "--data", place[1])
    assert code == 0 and "100.0 %" in out and "index.html" in out and "vehicle_app" in out


# --- where it looked -----------------------------------------------------------------------------------------------------


class LightModel(torch.nn.Module):
    "Says class 1 the more light there is, wherever it is; class 0 never changes."

    def __init__(self):
        super().__init__()
        self.blur = torch.nn.AvgPool2d(4)

    def forward(self, xb):
        light = self.blur(xb).mean(1).clamp(min=0).mean((1, 2))
        return torch.stack([torch.zeros_like(light), light], 1)


def test_the_heat_lies_where_the_answer_comes_from():
    xb = torch.full((2, 3, 32, 32), -0.5)
    xb[0, :, :8, :8] = 1  # light in the upper left corner of one picture
    xb[1, :, 24:, 16:24] = 1  # and at the lower edge of the other
    heat = examination.grad_cam(LightModel().eval(), xb, [1, 1])
    assert heat.shape == (2, 32, 32) and heat.max((1, 2)) == pytest.approx([1, 1])
    assert heat[0, :8, :8].mean() > 0.7 and heat[0, 14:].max() < 0.01
    assert heat[1, 24:, 16:24].mean() > 0.7 and heat[1, :18].max() < 0.01


@pytest.mark.parametrize("arch", ["vehicle_cnn", "resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_heat_for_networks_of_all_kinds_leaves_them_as_they_were(arch):
    model = create_model(arch, 5).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    xb = torch.rand(2, 3, 96, 96) * 2 - 1
    logits = model(xb).detach()
    heat = examination.grad_cam(model, xb, [0, 3])
    assert heat.shape == (2, 96, 96) and heat.min() >= 0 and heat.max() <= 1.0001
    assert torch.equal(model(xb).detach(), logits)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and not any(m._forward_hooks for m in model.modules())


def test_the_tokens_of_a_transformer_are_a_map():
    model = create_model("vit_b_32", 3).eval()
    torch.nn.init.normal_(model[1].heads.head.weight)  # it starts at zero: no place would count
    model[1].heads.head.weight.data[1] = -model[1].heads.head.weight[0]  # what speaks against class 0 speaks for class 1
    assert examination.last_feature_map(model, torch.zeros(1, 3, 224, 224)) is model[1].encoder.layers[-1].ln_1
    heat = examination.grad_cam(model, torch.rand(1, 3, 224, 224).repeat(2, 1, 1, 1), [0, 1])
    assert heat.shape == (2, 224, 224) and heat.max() == pytest.approx(1)


def test_a_network_without_places_has_no_map():
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 8), torch.nn.Linear(8, 3))
    assert examination.grad_cam(flat.eval(), torch.zeros(1, 3, 4, 4), [0]) is None


def test_probabilities_do_not_depend_on_the_batch_size(place):
    model, config, memory = load_bundle(place[0])
    images = PackedDataset(place[1], "test").images
    probs, scores = examination.predict_probs(model, images, config, feature_bank=memory)
    again, same = examination.predict_probs(model, images, config, batch_size=3, feature_bank=memory)
    assert len(probs) == len(images) == 20
    np.testing.assert_allclose(probs, again, atol=1e-5)
    np.testing.assert_allclose(scores, same, atol=1e-5)
    logits = torch.cat([out for out, _ in run_batches(OODDetector(model), images, config["input_size"], batch_size=7)])
    np.testing.assert_allclose((logits / config["temperature"]).softmax(1).numpy(), probs, atol=1e-5)


def test_the_interval_of_a_bin_covers_honest_answers():
    "Reliability diagram: the intervals of nearly all bins of a calibrated model hold their mean confidence."
    held = []
    for seed in range(20):
        for row in metrics.reliability_table(random_predictions(400, seed=seed)).itertuples():
            low, high = metrics.wilson(round(row.accuracy * row.count), row.count)
            held.append(low <= row.confidence <= high)
    assert np.mean(held) > 0.9


def test_rough_treatment_is_repeatable_and_hurts_the_colours(place):
    predictions, images, model, config = examination.collect(*place)
    table = examination.robustness(model, config, images, predictions.labels)
    assert table.equals(examination.robustness(model, config, images, predictions.labels))
    assert (table["clean"] == 1).all() and table["corruption"].tolist() == list(examination.CORRUPTIONS)
    assert table.set_index("corruption").loc["darkness", "severity_3"] < 1


def test_strangers_are_found_as_raw_pictures_are(tmp_path):
    "Hidden folders, and what a file manager left behind, are no more strangers than they are training pictures."
    for name in ("b.png", "deep/a.png", ".cache/c.png", ".d.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), "teal").save(path)
    names, images = load_ood_images(tmp_path, 32)
    assert names == ["b.png", "a.png"] and images.shape == (2, 32, 32, 3)


# --- calibration of each class -------------------------------------------------------------------------------------------


def test_the_classwise_error_and_the_table_are_counts_by_hand():
    "Of 100 images 60 are buses; all are called bus with 98 %: the error of each class is 0.38, and its `almost certain` is refused."
    labels, probs = np.repeat([0, 1], [60, 40]), np.tile(np.float32([0.98, 0.02]), (100, 1))
    boast = metrics.Predictions([], labels, probs, ["bus", "car"])
    np.testing.assert_allclose(classwise_ece(boast), 0.38, atol=1e-6)
    row = calibration_by_class(boast).iloc[0]
    assert (row["class"], row.images, row.certain, row.accuracy, row.certain_accuracy) == ("bus", 100, 100, 0.6, 0.6)
    (said,) = overconfident_classes(calibration_by_class(boast))
    assert said == "Where it is almost certain of bus, it is right in 60 of 100 cases (60 %)."
    few = metrics.Predictions([], np.array([0, 0, 0, 0, 1]), probs[:5], ["bus", "car"])  # one wrong of five may be chance
    assert overconfident_classes(calibration_by_class(few)) == []
