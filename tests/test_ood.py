"""Scores for out-of-distribution images, predictions without a bundle, and Grad-CAM: each checked against a count by hand."""

import threading

import numpy as np
import pytest
import torch
from tiny import CLASSES, coloured, tiny_fitted

from vehicle_nb.core import VehicleError
from vehicle_nb.data.dataset import PackedDataset
from vehicle_nb.evaluation.explain import grad_cam, last_feature_map, predict_probs
from vehicle_nb.evaluation import ood
from vehicle_nb.evaluation.ood import (
    MAX_SHARE, OODDetector, auroc, build_feature_bank, choose_threshold, fit_known_weights, fit_ood, knn_score, leave_class_out, ood_score,
    run_batches, sample_rows, score_images, score_ood,
)  # fmt: skip
from vehicle_nb.features import split_head
from vehicle_nb.models.bundle import load_bundle, save_bundle
from vehicle_nb.models.registry import create_model


def pixels(number: int, seed: int = 0, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3)).astype(np.uint8)


# --- scores --------------------------------------------------------------------------------------------------------------


def test_the_knn_score_is_the_mean_cosine_to_the_ten_nearest():
    rng = np.random.default_rng(0)
    bank, asked = rng.normal(size=(60, 7)), rng.normal(size=(5, 7))
    cosine = (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ (bank / np.linalg.norm(bank, axis=1, keepdims=True)).T
    expected = np.sort(cosine, axis=1)[:, -10:].mean(1)
    found = knn_score(torch.from_numpy(asked), build_feature_bank(torch.from_numpy(bank)))
    np.testing.assert_allclose(found, expected, atol=2e-3)  # the bank is float16
    few = knn_score(torch.from_numpy(asked), build_feature_bank(torch.from_numpy(bank[:3])))
    np.testing.assert_allclose(few, cosine[:, :3].mean(1), atol=2e-3)


def test_the_scores_by_their_formulas():
    logits, knn = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0.4])
    e = np.exp([1.0, 2.0, 3.0])
    assert float(ood_score("energy", logits, knn)) == pytest.approx(np.log(e.sum()))
    assert float(ood_score("max_softmax", logits, knn)) == pytest.approx(e[2] / e.sum())
    assert float(ood_score("max_softmax", logits, None, 2.0)) == pytest.approx(np.exp(1.5) / np.exp([0.5, 1, 1.5]).sum())
    assert float(ood_score("knn", logits, knn)) == pytest.approx(0.4)
    log_odds = 2 * 0.4 + 3 * np.log(e[2] / e.sum()) + 0.5
    assert float(ood_score("p_known", logits, knn, 1.0, [2.0, 3.0, 0.5])) == pytest.approx(1 / (1 + np.exp(-log_odds)))


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    known, ood = rng.integers(0, 9, 40) - 3.0, rng.integers(0, 6, 30) - 3.0  # many ties
    pairs = np.mean((known[:, None] > ood) + 0.5 * (known[:, None] == ood))
    assert auroc(known, ood) == pytest.approx(pairs)


def test_the_threshold_keeps_the_share_that_was_asked_for():
    scores = torch.arange(1.0, 100)  # of 99 validation images and a new one, five in a hundred fall below the fifth
    assert [choose_threshold(scores), choose_threshold(scores, coverage=0.5)] == pytest.approx([5, 50], abs=1e-3)
    tied = 0.9 + torch.rand(200, generator=torch.Generator().manual_seed(0)) * 1e-6  # they differ by rounding alone
    assert choose_threshold(torch.tensor([3.0])) < 3 and (tied >= choose_threshold(tied)).all()


def test_of_each_class_its_share():
    labels = np.repeat([0, 1, 2], [900, 900, 20])
    assert np.bincount(labels[sample_rows(labels, limit=300)]).tolist() == [140, 140, 20]
    assert sample_rows(labels).tolist() == list(range(1820))


# --- a network with two outputs ------------------------------------------------------------------------------------------


def test_a_detector_gives_the_networks_own_logits_and_the_score_of_its_features():
    model = create_model("resnet18", 4).eval()
    bank, xb = torch.rand(30, 512), torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        logits, knn = OODDetector(model, build_feature_bank(bank))(xb)
        torch.testing.assert_close(logits, model(xb))
        features = model[1].avgpool(torch.nn.Sequential(*list(model[1].children())[:-2])(model[0](xb))).flatten(1)
        torch.testing.assert_close(knn, knn_score(features, build_feature_bank(bank)), atol=1e-5, rtol=1e-5)
        assert OODDetector(model)(xb)[1] is None


def test_visitors_who_ask_at_the_same_time_get_their_own_scores():
    detector = OODDetector(create_model("vehicle_cnn", 4).eval(), build_feature_bank(torch.rand(30, 384)))
    batches = [torch.rand(2, 3, 32, 32) * 2 - 1 for _ in range(4)]
    with torch.inference_mode():
        alone = [detector(xb) for xb in batches]
    wrong = []

    def ask(i):
        with torch.inference_mode():
            for _ in range(30):
                wrong.extend(i for a, b in zip(detector(batches[i]), alone[i], strict=True) if not torch.allclose(a, b, atol=1e-5))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_batches_run_in_evaluation_mode_and_leave_each_module_as_it_was():
    model = create_model("vehicle_cnn", 4).train()
    model.stem.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = pixels(7)
    at_once, one_by_one = (torch.cat(run_batches(model, images, 32, size)) for size in (7, 1))
    torch.testing.assert_close(at_once, one_by_one, atol=1e-5, rtol=1e-5)
    assert model.training and not model.stem.training and not model.stem[0].training and model.head.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- bundles -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    "A bundle with its feature bank, and the processed set that it comes from."
    return tiny_fitted(tmp_path_factory.mktemp("ood"))


def test_a_fitted_bundle_keeps_vehicles_and_refuses_what_it_was_never_shown(fitted):
    path, processed = fitted
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, :, ::8] = 255
    scores = score_ood(path, processed, np.concatenate([stripes, pixels(8, side=64)]))
    assert scores.score == "p_known" and set(scores.known) == {"p_known", "knn", "energy", "max_softmax"}
    assert (scores.known["p_known"] >= scores.threshold).mean() > 0.75 and (scores.ood["p_known"] < scores.threshold).all()
    assert auroc(scores.known["knn"], scores.ood["knn"]) > 0.95


def test_a_last_convolution_has_a_feature_bank_too(fitted, tmp_path):
    config = {"arch": "squeezenet1_1", "classes": CLASSES, "image_size": 64, "input_size": 64, "temperature": 2.0}
    model = create_model(config["arch"], 4).eval()
    train, val = (PackedDataset(fitted[1], split, quiet=True) for split in ("train", "val"))
    bank, found = fit_ood(model, train, val, 64, config["temperature"])
    save_bundle(tmp_path, model, config | found, bank)
    again, config, bank = load_bundle(tmp_path)
    images = pixels(3, side=64)
    probs, scores = predict_probs(again, images, config, feature_bank=bank)
    softmax = (torch.cat(run_batches(again, images, 64)) / 2).softmax(1).numpy()
    knn = knn_score(torch.cat(run_batches(split_head(again)[0], images, 64)), bank).numpy()
    w_knn, w_log_p, bias = found["known_weights"]
    expected = 1 / (1 + np.exp(-(w_knn * knn + w_log_p * np.log(softmax.max(1)) + bias)))
    np.testing.assert_allclose(scores, expected, rtol=1e-4)  # the bundle's own score
    np.testing.assert_allclose(probs, softmax * expected[:, None], rtol=1e-4)
    assert set(score_images(again, config, images, bank)) == {"p_known", "knn", "energy", "max_softmax"}


def test_each_class_is_left_out_of_bank_and_softmax():
    "Two classes on one line of features, a third between them: once it is left out, its images are torn and unlike the bank."
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 1.0], [1.1, 1.0]])
    labels, bank = torch.tensor([0, 0, 1, 1, 2, 2]), build_feature_bank(features)
    logits = torch.tensor([[5.0, 0, 1], [5, 0, 1], [0, 5, 1], [0, 5, 1], [2, 2, 5], [2, 2, 5]])
    found = leave_class_out(logits, features, labels, bank, labels)
    torch.testing.assert_close(found[4:, 1], torch.tensor([0.5, 0.5]).log())
    torch.testing.assert_close(found[4:, 0], knn_score(features[4:], bank[:4]))
    torch.testing.assert_close(found[0, 1], torch.tensor([0.0, 1]).log_softmax(0).max())


def test_the_known_weights_are_those_of_logistic_regression(monkeypatch):
    "Scikit-learn finds the same probabilities; log p gets a small share at most, and none where it points the wrong way."
    linear_model = pytest.importorskip("sklearn.linear_model")
    monkeypatch.setattr(ood, "MOST_AT_THRESHOLD", 0.9)  # these groups overlap: the bound would move the bias
    rng = np.random.default_rng(0)
    known, unknown = rng.normal([0.7, -0.2], [0.1, 0.2], (400, 2)), rng.normal([0.5, -0.21], [0.1, 0.2], (300, 2))
    *weights, bias = fit_known_weights(torch.from_numpy(known), torch.from_numpy(unknown))
    x, y = np.concatenate([known, unknown]), np.repeat([1, 0], [400, 300])
    share = np.where(y == 1, 0.95 / 400, 0.05 / 300)
    expected = linear_model.LogisticRegression(C=500, tol=1e-9).fit(z := (x - known.mean(0)) / known.std(0), y, share)
    found = 1 / (1 + np.exp(-(x @ weights + bias)))
    assert np.abs(found - expected.predict_proba(z)[:, 1]).max() < 1e-3
    *weights, bias = fit_known_weights(torch.from_numpy(known), torch.from_numpy(unknown - [0, 1]))
    assert weights[1] * known[:, 1].std() == pytest.approx(MAX_SHARE * weights[0] * known[:, 0].std(), rel=0.05)
    *weights, bias = fit_known_weights(torch.from_numpy(known), torch.from_numpy(unknown * [1, 0]))  # here log p says the contrary
    assert 0 <= weights[1] < 0.02 * weights[0]


def test_nothing_at_the_threshold_is_nearly_certain():
    "Even where the classes that were left out lie far away from all validation images."
    known, unknown = torch.rand(200, 2), torch.rand(50, 2) - 9
    *weights, bias = fit_known_weights(known, unknown)
    scores = (known.double() @ torch.tensor(weights, dtype=torch.double) + bias).sigmoid()
    assert choose_threshold(scores) == pytest.approx(ood.MOST_AT_THRESHOLD, abs=1e-3) and (scores > 0.9).any()


def test_a_bundle_whose_feature_bank_is_lost_or_belongs_to_another_network_is_refused(fitted, tmp_path):
    model, config, bank = load_bundle(fitted[0])
    wrong_banks = {None: "'feature_bank' is missing", bank[:, :-1]: "has shape", bank * float("nan"): "NaN", bank[:0]: "has shape"}
    for wrong, said in wrong_banks.items():
        save_bundle(tmp_path, model, config, wrong)
        with pytest.raises(VehicleError, match=said):
            load_bundle(tmp_path)


@pytest.mark.parametrize("wrong", [None, 3, [1.0, 2.0], [1.0, 2.0, "3"], [1.0, 2.0, True], [1.0, 2.0, 1e12], [1, 2, 10**400]])
def test_weights_of_the_score_that_are_not_three_numbers_are_refused(fitted, tmp_path, wrong):
    model, config, bank = load_bundle(fitted[0])
    save_bundle(tmp_path, model, config | {"known_weights": wrong}, bank)
    with pytest.raises(VehicleError, match="'known_weights' must be three numbers"):
        load_bundle(tmp_path)


# --- predictions without a bundle ----------------------------------------------------------------------------------------


def test_a_new_network_can_be_asked_for_its_probabilities():
    "No bundle, no config: the softmax of its logits; and training mode does not leak into the answer."
    model, images = create_model("vehicle_cnn", 4), pixels(5)
    probs, scores = predict_probs(model, images)
    with torch.inference_mode():
        expected = model.eval()((torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5) - 1).softmax(1)
    np.testing.assert_allclose(probs, expected, atol=1e-4)
    np.testing.assert_allclose(scores, probs.max(1), rtol=1e-5)


def test_a_temperature_sharpens_and_the_feature_bank_gives_the_score(fitted):
    model, config, bank = load_bundle(fitted[0])
    images = np.stack([np.asarray(coloured(kind, 7, (64, 64))) for kind in CLASSES])
    logits = torch.cat(run_batches(model, images, config["input_size"]))
    probs, scores = predict_probs(model, images, config | {"temperature": 0.5}, feature_bank=bank)
    np.testing.assert_allclose(probs, (2 * logits).softmax(1).numpy() * scores[:, None], atol=1e-5)
    _, knn = run_batches(OODDetector(model, bank), images, config["input_size"])[0]
    np.testing.assert_allclose(scores, ood_score("p_known", logits, knn, 0.5, config["known_weights"]), atol=1e-6)


# --- Grad-CAM ------------------------------------------------------------------------------------------------------------


class Linear(torch.nn.Module):
    "Two convolutions, global average pooling and a linear layer: here Grad-CAM is a weighted sum that can be written down."

    def __init__(self):
        super().__init__()
        self.stem, self.conv = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 6, 3, padding=1)
        self.fc = torch.nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.conv(self.stem(x)).mean((2, 3)))


def test_grad_cam_is_the_weighted_sum_of_the_maps():
    torch.manual_seed(0)
    model, xb = Linear().eval(), torch.rand(3, 3, 9, 9) * 2 - 1
    targets = [2, 0, 3]
    with torch.no_grad():
        maps = model.conv(model.stem(xb))
        expected = torch.einsum("nk,nkhw->nhw", model.fc.weight[targets], maps).relu()
        expected /= expected.amax((1, 2), keepdim=True)
    assert last_feature_map(model, xb) is model.conv
    heat = grad_cam(model, xb, targets)
    np.testing.assert_allclose(heat, expected, atol=1e-5)
    assert not np.allclose(heat, grad_cam(model, xb, [0, 1, 1])), "another class has another map"
