"""Weights that others have made: under the names and in the wrappings of their files, and never half of them in silence."""

import re
import subprocess
import sys
import threading
from argparse import Namespace
from collections import OrderedDict
from copy import copy

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from tiny import tiny_bundle
from torch.nn.functional import normalize as normalized
from torchvision.models import WeightsEnum
from torchvision.transforms.functional import normalize

from vehicle_nb.core import VehicleError
from vehicle_nb.evaluation.explain import grad_cam
from vehicle_nb.evaluation.ood import OODDetector, build_feature_bank, knn_score
from vehicle_nb.features import (
    find_head, fixed_input_size, head_names, load_backbone, load_weights, num_features, split_head, with_features,
)  # fmt: skip
from vehicle_nb.models.bundle import ShapesOnly, load_bundle, save_bundle
from vehicle_nb.models.registry import check_arch, create_model
from vehicle_nb.models.finetune import NUM_GROUPS, fit_probe, freeze_bn, layer_groups, param_groups, train_head
from vehicle_nb.models.folding import bn_pairs, fold_bn
from vehicle_nb.train import train

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
        for weights in ("pretrained", tmp_path / "file.pth"):
            found = create_model(arch, 1000, weights).eval()(xb * 2 - 1)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert expected.std() > 1e-6, "an answer that is always the same would prove nothing"


def test_torchvision_renames_tensors_nowhere_else():
    "Where it learns to, `vehicle_nb.features._RENAMED` must learn it as well."
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
        save_bundle(tmp_path / arch, trained, {"arch": arch, "classes": list("abcd")}, feature_bank=torch.zeros(3, 5))
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
    with pytest.raises(VehicleError, match=f"1 of 122 tensors are missing or have another shape, for example {name}"):
        create_model("resnet18", 3, tmp_path / "odd.pth")


NOTHING = [b"", b"no weights", {"a": 1}, [torch.ones(3)], {"state_dict": {}}, torchvision.models.resnet18]


@pytest.mark.parametrize("content", NOTHING, ids=["empty", "text", "number", "list", "hollow", "network"])
def test_what_holds_no_weights_says_how_to_write_them(content, tmp_path):
    path = tmp_path / "thing.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content() if callable(content) else content, path)
    with pytest.raises(VehicleError, match=r"is not a weights file \(\w+\)[^\n]*torch.save\(model.state_dict\(\), FILE\)"):
        create_model("resnet18", 3, path)


# --- one vocabulary of weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, "", "none"])
def test_no_weights_means_random_weights(weights):
    torch.manual_seed(0)
    one = create_model("resnet18", 3, weights)
    torch.manual_seed(0)
    assert torch.equal(one[1].conv1.weight, create_model("resnet18", 3)[1].conv1.weight)


def test_a_weights_file_that_is_missing_is_named():
    for make in (lambda: create_model("vehicle_cnn", 3, "no/such.pth"), lambda: create_model("resnet18", 3, "no/such.pth"),
                 lambda: load_backbone("no/such.pth")):  # fmt: skip
        with pytest.raises(VehicleError, match=r"no weights file no/such.pth.*--weights pretrained"):
            make()
    with pytest.raises(VehicleError, match="no pretrained weights for vehicle_cnn"):
        create_model("vehicle_cnn", 3, "pretrained")


# --- backbone and head ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["vehicle_cnn", "resnet18", "mobilenet_v3_small", "densenet121", "googlenet"])
def test_features_are_what_the_head_receives(arch):
    "Checked against a hook on the head; the backbone shares the weights, also when they change later."
    model = create_model(arch, 5).eval()
    backbone, head = split_head(model)
    caught, xb = [], torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        with head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0])):
            logits = model(xb)
        torch.testing.assert_close(backbone(xb), caught[0])
        torch.testing.assert_close(head(backbone(xb)), logits)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.99)
        torch.testing.assert_close(head(backbone(xb)), model(xb))
    assert find_head(model) is head and isinstance(head, torch.nn.Linear), "the model itself stays whole"


def test_a_network_that_ends_in_a_convolution_has_features_and_their_score_too():
    model = create_model("squeezenet1_1", 5).eval()
    backbone, head = split_head(model)
    xb = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        pooled = model[1].features(model[0](xb)).mean((2, 3))
        torch.testing.assert_close(backbone(xb), pooled)
        logits, knn = OODDetector(model, build_feature_bank(pooled))(xb)
        torch.testing.assert_close(logits, model(xb))
    assert head is None and num_features(model) == 512 and knn.min() > 0.9


# --- timm ----------------------------------------------------------------------------------------------------------------

# The smallest of each family. What is missing: "probe" where the network does not end in a single linear layer. Crossvit and
# efficientvim have several, of unlike width.
TIMM = {
    "resnet10t": "", "convnext_atto": "", "test_efficientnet": "", "mobilenetv3_small_050": "", "mobilenetv4_conv_small_035": "",
    "test_vit": "", "deit_tiny_distilled_patch16_224": "probe", "swin_tiny_patch4_window7_224": "", "mixer_s32_224": "", "regnetx_002": "",
    "densenet121": "", "ghostnet_050": "", "levit_128s": "probe", "coatnet_pico_rw_224": "", "crossvit_tiny_240": "probe",
    "edgenext_xx_small": "", "dla46_c": "probe", "mobilevit_xxs": "", "efficientvim_m1": "probe", "test_nfnet": "",
}  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
def test_a_network_of_timm_does_all_that_ours_does(name, tmp_path, monkeypatch):
    "One network for all checks, with random weights: nothing is downloaded, neither here nor where its bundle is loaded."
    timm = pytest.importorskip("timm")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.manual_seed(0)
    arch = f"timm/{name}"
    model = create_model(arch, 5)
    side = fixed_input_size(arch) or 64
    xb = torch.rand(2, 3, side, side) * 2 - 1
    with torch.no_grad():
        for weight in model.parameters():  # a head or a block that starts at zero would hide what is wrong
            weight.add_(0.02 * torch.randn_like(weight))
        model.eval()
        expected = timm.data.resolve_model_data_config(model[1])
        logits = model(xb)
        torch.testing.assert_close(logits, model[1](normalize((xb + 1) / 2, expected["mean"], expected["std"])), rtol=1e-3, atol=1e-4)
        _check_features(model, xb, logits, has_probe=TIMM[name] != "probe")
        folded = fold_bn(model, inference=True)
        torch.testing.assert_close(folded(xb), logits, rtol=1e-3, atol=1e-3)
    where = {id(weight): i for i, group in enumerate(layer_groups(model)) for weight in group}
    assert len(where) == len(list(model.parameters())) and set(where.values()) == set(range(NUM_GROUPS))
    assert all(len({where[id(weight)] for weight in module.parameters(recurse=False)}) <= 1 for module in model.modules())
    heat = grad_cam(model, xb, [0, 3])
    assert heat is not None and heat.shape == (2, side, side) and heat.max() == pytest.approx(1)
    save_bundle(tmp_path, model, {"arch": arch, "classes": list("abcde"), "image_size": side, "input_size": side})
    with torch.no_grad():
        assert torch.equal(load_bundle(tmp_path).model(xb), logits)
    start = create_model(arch, 7, tmp_path / "model.safetensors")  # the same file as weights: all but the head
    backbone, ours = split_head(start)[0], dict(model.named_parameters())
    assert all(torch.equal(weight, ours[name]) for name, weight in backbone.named_parameters())


def _check_features(model, xb, logits, has_probe: bool):
    "Features have the width that is promised, come with the logits in one pass, and, where the head is linear, give the logits."
    backbone, head = split_head(model)
    features = backbone(xb)
    assert features.shape == (2, num_features(model))
    torch.testing.assert_close(with_features(model)(xb), torch.cat([logits, features], 1), rtol=1e-3, atol=1e-4)
    knn = OODDetector(model, build_feature_bank(features))(xb)[1]
    torch.testing.assert_close(knn, knn_score(features, build_feature_bank(features)))
    assert (head is not None) == has_probe
    if has_probe:
        torch.testing.assert_close(head(features), logits, rtol=1e-3, atol=1e-4)
    elif len({model.get_submodule(name).weight.shape[1] for name in head_names(model)}) > 1:
        caught, heads = [], [model.get_submodule(name) for name in head_names(model)]
        hooks = [head.register_forward_pre_hook(lambda _, args: caught.append(args[0])) for head in heads]
        model(xb)
        for hook in hooks:
            hook.remove()
        for slot, read in zip(features.split([head.in_features for head in heads], 1), caught, strict=True):
            torch.testing.assert_close(normalized(slot), normalized(read), rtol=1e-3, atol=1e-4)  # each head has its weight in the mean


def test_timm_says_what_is_wrong(monkeypatch, tmp_path):
    pytest.importorskip("timm")
    with pytest.raises(VehicleError, match=r"no architecture 'timm/resnet10'\. Did you mean timm/resnet10t"):
        create_model("timm/resnet10", 3)
    with pytest.raises(VehicleError, match="no architecture 'timm/hf_hub:somebody/something'"):
        create_model("timm/hf_hub:somebody/something", 3)
    with pytest.raises(VehicleError, match="timm/test_vit takes images of 160×160 pixels and no others"):
        check_arch("timm/test_vit", 64)
    torch.save(create_model("timm/test_resnet", 3)[1].state_dict(), tmp_path / "other.pth")
    with pytest.raises(VehicleError, match=r"other\.pth does not fit this architecture"):
        create_model("timm/test_efficientnet", 3, tmp_path / "other.pth")
    monkeypatch.setattr("timm.create_model", lambda *_, **__: 1 / 0)
    with pytest.raises(VehicleError, match="Cannot download the weights of timm/test_vit"):
        create_model("timm/test_vit", 3, "pretrained")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(VehicleError, match=r"pip install -e '\.\[timm\]'"):
        create_model("timm/test_vit", 3)


# --- layer groups --------------------------------------------------------------------------------------------------------

GROUPED = ["vehicle_cnn", "resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "regnet_y_400mf",
           "squeezenet1_1", "googlenet", "densenet121", "convnext_tiny", "swin_t", "vit_b_32"]  # fmt: skip


@pytest.mark.parametrize("arch", GROUPED)
def test_layer_groups_are_cut_between_layers_in_forward_order(arch):
    model = create_model(arch, 5).eval()
    groups = layer_groups(model)
    where = {id(weight): i for i, group in enumerate(groups) for weight in group}
    assert len(groups) == NUM_GROUPS and all(groups)
    assert sum(map(len, groups)) == len(where) == len(list(model.parameters())), "each parameter is in one group"
    for name, module in model.named_modules():
        attention = isinstance(module, torch.nn.MultiheadAttention)
        assert len({where[id(weight)] for weight in module.parameters(recurse=attention)}) <= 1, f"{name} is in two groups"
    for conv, norm in bn_pairs(model):
        assert where[id(model.get_submodule(conv).weight)] == where[id(model.get_submodule(norm).bias)], norm
    order = []
    for module in model.modules():
        if not any(module.children()):
            module.register_forward_hook(lambda module, *_: order.extend(where[id(w)] for w in module.parameters(recurse=False)))
    with torch.inference_mode():
        model(torch.zeros(1, 3, 224, 224))
    assert order == sorted(order) and set(order) == set(range(NUM_GROUPS)), "the groups follow each other as the layers do"


def test_learning_rates_grow_from_group_to_group():
    model = create_model("mobilenet_v2", 5)
    rate = {id(w): g["lr"] for g in param_groups(model, 1.0, 0.05, backbone_lr_mult=1e-4) for w in g["params"]}
    for i, group in enumerate(layer_groups(model)):
        assert [rate[id(weight)] for weight in group] == pytest.approx([10.0 ** (i - 4)] * len(group))
    decay = {id(w): g["weight_decay"] for g in param_groups(model, 1.0, 0.05) for w in g["params"]}
    assert all(decay[id(weight)] == (0.05 if weight.dim() > 1 else 0) for weight in model.parameters())
    assert {g["lr"] for g in param_groups(model, 1.0)} == {1.0}


@pytest.mark.parametrize("arch, folded", [("mobilenet_v2", False), ("mobilenet_v2", True), ("densenet121", False), ("vehicle_cnn", True)])
def test_what_is_frozen_stands_still_and_the_rest_moves(arch, folded):
    "Weights, scales, shifts and statistics of batch normalisation: nothing of a frozen group changes while the model trains."
    torch.manual_seed(0)
    model = create_model(arch, 3)
    groups = param_groups(model, lr=0.01, freeze_groups=2)
    if folded:
        fold_bn(model)
    frozen = {id(weight) for group in layer_groups(model)[:2] for weight in group}
    owners = {name: module for name, module in model.named_modules() if [*module.parameters(recurse=False)]}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(groups)
    for _ in range(2):
        freeze_bn(model.train(), frozen_only=True)
        torch.nn.functional.cross_entropy(model(torch.rand(4, 3, 64, 64)), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    still, moved = set(), set()
    for name, module in owners.items():
        same = all(torch.equal(value, before[f"{name}.{key}"]) for key, value in module.state_dict().items())
        (still if same else moved).add(id(next(module.parameters())) in frozen)
    assert still == {True} and moved == {False}


def test_frozen_statistics_everywhere_on_request():
    model = create_model("resnet18", 3).train()
    before = [buffer.clone() for buffer in model.buffers()]
    freeze_bn(model)
    model(torch.rand(4, 3, 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), before, strict=True)) and model.training


# --- folding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["vehicle_cnn", "resnet18", "mobilenet_v2", "densenet121", "squeezenet1_1"])
@pytest.mark.parametrize("trained_folded", [False, True])
def test_folding_changes_no_output(arch, trained_folded):
    torch.manual_seed(0)
    model = create_model(arch, 5)
    xb = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        model(xb)  # in training mode, so that the norms have statistics of their own
        expected = model.eval()(xb)
        if trained_folded:
            fold_bn(model)
            torch.testing.assert_close(model(xb), expected, rtol=1e-4, atol=1e-4)
            backbone, head = split_head(model)
            if head is not None:
                torch.testing.assert_close(head(backbone(xb)), expected, rtol=1e-4, atol=1e-4)
        folded = fold_bn(model, inference=True)
        torch.testing.assert_close(folded(xb), expected, rtol=1e-4, atol=1e-4)
    left = sum(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert left == sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules()) - len(bn_pairs(model))
    assert not left or arch == "densenet121", "only its norms that stand before a convolution cannot be folded"
    assert bool(bn_pairs(model)) == (arch != "squeezenet1_1"), "it has none to fold"


def test_a_network_that_cannot_be_read_as_a_graph_stays_as_it_is():
    class Wilful(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(x) if x.sum() > 0 else x

    model = Wilful().eval()
    assert fold_bn(model, inference=True) is model and fold_bn(model) is model


# --- a linear probe ------------------------------------------------------------------------------------------------------


def test_a_head_learns_what_its_features_tell_and_nothing_else_moves():
    torch.manual_seed(0)
    labels = torch.arange(4).repeat(50)
    features = torch.nn.functional.one_hot(labels, 16).float() + 0.1 * torch.randn(200, 16)
    head = torch.nn.Linear(16, 4)
    wrong = (head(features).argmax(1) != labels).float().mean()
    train_head(head, features, labels)
    assert wrong > 0.3 and (head(features).argmax(1) == labels).all() and not features.requires_grad


def test_a_probe_is_the_logistic_regression_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    torch.manual_seed(0)
    labels = torch.arange(3).repeat(40)
    features = 5 + 3 * (torch.nn.functional.one_hot(labels, 8).float() + torch.randn(120, 8))
    head = torch.nn.Linear(8, 3)
    l2 = fit_probe(head, features, labels, features + torch.randn(120, 8), labels)
    x = (features - features.mean(0)) / (features - features.mean(0)).square().mean().sqrt()
    theirs = linear_model.LogisticRegression(C=1 / (l2 * len(x)), max_iter=1000).fit(x, labels)
    torch.testing.assert_close(head(features).softmax(1), torch.from_numpy(theirs.predict_proba(x)).float(), rtol=0, atol=2e-3)


def test_a_probe_is_a_whole_run_of_the_head_alone(processed_set, tmp_path):
    start = tiny_bundle(tmp_path / "start") / "model.safetensors"
    options = {"data": processed_set, "output": tmp_path, "run_name": "it", "weights": start, "probe": True, "input_size": 32}
    metrics = train(**options, num_threads=1, quiet=True)
    old, (model, config, bank) = load_file(start), load_bundle(tmp_path / "it")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, old[name])}
    assert changed == {"head.2.weight", "head.2.bias"} and bank is not None and config["ood_score"] == "p_known"
    assert metrics["test_accuracy"] > 0.9 and metrics["epoch"] == 1 and config["finished"]
    assert train(output=tmp_path, run_name="it", resume=True, quiet=True)["test_accuracy"] == metrics["test_accuracy"]
    torch.save(create_model("squeezenet1_1", 4)[1].state_dict(), squeezenet := tmp_path / "squeezenet.pth")
    refused = {
        "give --weights pretrained, or a file": {"weights": "none"},
        "leave --epochs and --max_minutes out": {"max_minutes": 1.0},
        "looks at each image once": {"epochs": 3},
        "has none: leave --probe out": {"arch": "squeezenet1_1", "weights": squeezenet},
    }
    for words, wrong in refused.items():
        with pytest.raises(VehicleError, match=words):
            train(**options | {"run_name": "other"} | wrong, num_threads=1, quiet=True)


def test_a_network_can_be_read_as_a_graph_while_others_run():
    "FX patches the call of every module in the process: a prediction in another thread must not notice."
    running, xb = create_model("resnet18", 3).eval(), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = running(xb)
    stop, wrong = threading.Event(), []

    def run():
        while not stop.is_set():
            try:
                with torch.inference_mode():
                    wrong.extend([] if torch.allclose(running(xb), expected, atol=1e-5) else ["another output"])
            except Exception as error:
                wrong.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    pairs = [len(bn_pairs(create_model("mobilenet_v2", 3))) for _ in range(4)]
    stop.set()
    thread.join()
    assert not wrong and set(pairs) == {52}


def test_our_own_network_needs_no_torchvision():
    "It takes more than a second of the start of each command."
    code = "import sys, vehicle_nb.models.bundle, vehicle_nb.models.finetune, vehicle_nb.models.registry as m; m.create_model(); "
    code += "sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
