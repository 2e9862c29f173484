"""Weights that others have made: under the names and in the wrappings of their files, and never half of them in silence."""

import re
from argparse import Namespace
from collections import OrderedDict
from copy import copy

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models import WeightsEnum
from torchvision.transforms.functional import normalize

from vehicle_nb.core import VehicleError
from vehicle_nb.models.bundle import save_bundle
from vehicle_nb.models.cnn import ShapesOnly, create_model, load_weights

EXTRA = {"googlenet": {"aux_logits": True, "init_weights": False}, "inception_v3": {"aux_logits": True, "init_weights": False}}


def older(name: str) -> str:
    "A tensor's name as torchvision's files have it."
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name)
    return name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.") if name.startswith("encoder.layers") else name


def download(arch: str) -> OrderedDict:
    "Random weights as the file on torchvision's server would hold them."
    torch.manual_seed(1)
    model = torchvision.models.get_model(arch, weights=None, **EXTRA.get(arch, {}))
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif not value.any() and value.is_floating_point():  # a head of zeros would answer zero to everything
            value.normal_(0, 0.02)
    known = OrderedDict((older(name), value) for name, value in model.state_dict().items())
    if arch.startswith("densenet"):
        known = OrderedDict((name, value) for name, value in known.items() if not name.endswith("num_batches_tracked"))
    known._metadata = OrderedDict({"": {"version": 2}})  # torchvision's own mnasnet asks for it
    return known


@pytest.mark.parametrize("arch", ["densenet121", "vit_b_32", "googlenet", "inception_v3", "mnasnet0_5", "squeezenet1_1", "resnet18"])
def test_a_download_answers_as_it_does_in_torchvision(arch, tmp_path, monkeypatch):
    known, side = download(arch), 299 if arch == "inception_v3" else 224
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: copy(known))
    torch.save(known, tmp_path / "file.pth")
    theirs = torchvision.models.get_model(arch, weights="DEFAULT").eval()
    looks = torchvision.models.get_model_weights(arch).DEFAULT.transforms()
    xb = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        expected = theirs(normalize(xb, looks.mean, looks.std))
        for weights in ("torchvision", tmp_path / "file.pth"):
            found = create_model(arch, 1000, weights).eval()(xb * 2 - 1)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert expected.std() > 1e-6, "an answer that is always the same would prove nothing"


def test_torchvision_renames_tensors_nowhere_else():
    "Where it learns to, `vehicle_nb.models.cnn._RENAMED` must learn it as well."
    renaming = set()
    for arch in torchvision.models.list_models(module=torchvision.models):
        module = __import__(torchvision.models.get_model_builder(arch).__module__, fromlist=["_"])
        kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and "_load_from_state_dict" in vars(kind)]
        if kinds or hasattr(module, "_load_state_dict"):
            renaming.add(module.__name__.rpartition(".")[2])
    assert renaming == {"densenet", "mnasnet", "vision_transformer"}


def test_the_one_network_with_a_range_of_its_own_gets_it():
    with ShapesOnly():
        large, usual = create_model("efficientnet_v2_l", 3)[0], create_model("efficientnet_b0", 3)[0]
    xb = torch.rand(1, 3, 4, 4) * 2 - 1
    torch.testing.assert_close(large(xb), normalize((xb + 1) / 2, [0.5] * 3, [0.5] * 3))
    torch.testing.assert_close(usual(xb), normalize((xb + 1) / 2, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


def test_a_vision_transformer_of_larger_pictures_is_scaled(tmp_path):
    large = torchvision.models.vit_b_32(image_size=384)
    large.encoder.pos_embedding.data[:] = torch.arange(145.0)[None, :, None] // 12  # each row of places has a number
    torch.save(large.state_dict(), tmp_path / "large.pth")
    places = create_model("vit_b_32", 3, tmp_path / "large.pth")[1].encoder.pos_embedding[0, 1:].view(7, 7, -1)
    assert torch.allclose(places[0].mean(), torch.tensor(0.0), atol=0.5) and torch.allclose(places[-1].mean(), torch.tensor(11.0), atol=0.5)


# --- files as people have them -------------------------------------------------------------------------------------------


def _renamed(words):
    return lambda known: {words + name: value for name, value in known.items()}


WRAPPINGS = {
    "as it is": lambda known: known,
    "DataParallel": _renamed("module."),
    "compiled": _renamed("_orig_mod."),
    "compiled and distributed": _renamed("module._orig_mod."),
    "a layer compiled": lambda known: {re.sub(r"^layer1\.", "layer1._orig_mod.", name): value for name, value in known.items()},
    "Lightning": lambda known: {"epoch": 3, "state_dict": _renamed("model.")(known) | {"loss.weight": torch.ones(5)}, "loops": {}},
    "model": lambda known: {"model": known, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []}},
    "model_state_dict": lambda known: {"epoch": 1, "loss": torch.tensor(0.3), "model_state_dict": known},
    "torchvision's own script": lambda known: {"model": known, "args": Namespace(lr=0.1), "model_ema": {"n_averaged": torch.tensor(9)}},
    "float16": lambda known: {name: value.half() if value.is_floating_point() else value for name, value in known.items()},
    "float64": lambda known: {name: value.double() for name, value in known.items()},
    "without counters": lambda known: {name: value for name, value in known.items() if "num_batches" not in name},
    "without a head": lambda known: {name: value for name, value in known.items() if not name.startswith("fc.")},
    "another head": lambda known: known | {"fc.weight": torch.ones(12, 512), "fc.bias": torch.ones(12)},
    "a head in two parts": lambda known: {name.replace("fc.", "fc.1."): value for name, value in known.items()},
}


@pytest.fixture(scope="module")
def resnet() -> dict:
    return {name: value.half().float() if value.is_floating_point() else value for name, value in download("resnet18").items()}


TENSORS_ALONE = [how for how, wrap in WRAPPINGS.items() if all(isinstance(v, torch.Tensor) for v in wrap({}).values())]


@pytest.mark.parametrize("how, kind", [(how, kind) for how in WRAPPINGS for kind in ("zip", "legacy")]
                         + [(how, "safetensors") for how in TENSORS_ALONE])  # fmt: skip
def test_every_tensor_of_a_file_arrives_however_it_is_wrapped(resnet, how, kind, tmp_path):
    wrapped, path = WRAPPINGS[how](resnet), tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        save_file({name: value.contiguous() for name, value in wrapped.items()}, path)
    else:
        torch.save(wrapped, path, _use_new_zipfile_serialization=kind == "zip")
    model = create_model("resnet18", 5, path)[1]
    for name, value in model.state_dict().items():
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(value, resnet[name]), name
    assert model.fc.weight.shape == (5, 512) and model.conv1.weight.dtype == torch.float32


def test_our_own_bundle_is_a_file_of_weights(tmp_path):
    for arch in ("vehicle_cnn", "resnet18"):
        trained = create_model(arch, 4)
        save_bundle(tmp_path / arch, trained, {"arch": arch, "classes": list("abcd")}, memory=torch.zeros(3, 5))
        again = create_model(arch, 4, tmp_path / arch / "model.safetensors")
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in trained.state_dict().items())


# --- what does not fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs, ours", [("resnet34", "resnet18"), ("efficientnet_b1", "efficientnet_b0"), ("resnet18", "resnet34"),
                                          ("mobilenet_v3_large", "mobilenet_v3_small"), ("resnet18", "vehicle_cnn")])  # fmt: skip
def test_weights_of_another_architecture_are_refused_even_where_all_of_ours_would_be_filled(theirs, ours, tmp_path):
    torch.save(torchvision.models.get_model(theirs, weights=None, num_classes=7).state_dict(), tmp_path / "other.pth")
    model = create_model(ours, 7)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(VehicleError, match=r"other.pth does not fit this architecture: [^\n]* Choose the --arch that [^\n]*\.$"):
        load_weights(model, tmp_path / "other.pth")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "a refusal leaves the model as it was"


@pytest.mark.parametrize("change", ["shape", "lost", "integers"])
def test_one_tensor_that_does_not_fit_is_enough(resnet, change, tmp_path):
    name = "layer3.1.conv2.weight"
    known = dict(resnet)
    value = known.pop(name)
    if change != "lost":
        known[name] = value[..., :1] if change == "shape" else value.to(torch.int8)
    torch.save(known, tmp_path / "odd.pth")
    with pytest.raises(VehicleError, match=f"1 of 122 tensors are missing or of another shape, {name} for one"):
        create_model("resnet18", 3, tmp_path / "odd.pth")


NOTHING = [b"", b"no weights", {"a": 1}, [torch.ones(3)], {"state_dict": {}}, torchvision.models.resnet18]


@pytest.mark.parametrize("content", NOTHING, ids=["empty", "text", "number", "list", "hollow", "network"])
def test_what_holds_no_weights_says_how_to_write_them(content, tmp_path):
    path = tmp_path / "thing.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content() if callable(content) else content, path)
    with pytest.raises(VehicleError, match=r"is no file of weights \(\w+\)[^\n]*torch.save\(model.state_dict\(\), FILE\)"):
        create_model("resnet18", 3, path)
