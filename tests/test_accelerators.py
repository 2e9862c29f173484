"""Any accelerator: no module asks for one by name where another would do, and none is handed what it does not have."""

import ast
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import vehicle_nb
from vehicle_nb.core import best_device, device_name
from vehicle_nb.data import dataset as loading
from vehicle_nb.data.dataset import DeviceLoader, PackedDataset, PrefetchLoader, fits_on_device, make_loader
from vehicle_nb.evaluation.calibration import fit_temperature
from vehicle_nb.models.cnn import VehicleCNN
from vehicle_nb.training import loop
from vehicle_nb.training.config import TrainConfig, choose_precision, resolve_defaults
from vehicle_nb.training.dist import num_usable_gpus, use_cpu
from vehicle_nb.training.graph import has_fused
from vehicle_nb.training.loop import Trainer

MPS, XPU, CPU = (torch.device(name) for name in ("mps", "xpu", "cpu"))

# --- the audit -----------------------------------------------------------------------------------------------------------

DOUBLE = ".double() of what may not be on the CPU"
ALLOWED = {  # what is asked of one kind of device, and why
    ("training/graph.py", "torch.cuda"): "CUDA graphs: why_no_graph sends all other devices another way",
    ("training/graph.py", "'cuda'"): "the same question",
    ("training/config.py", "'cuda'"): "these two can say whether they compute in bf16",
    ("training/config.py", "'xpu'"): "these two can say whether they compute in bf16",
    ("training/dist.py", "torch.backends.cudnn"): "a wish to one library, which nobody else hears",
    ("training/dist.py", "'mps'"): "an Apple GPU serves one process: several cannot exchange gradients",
    ("data/dataset.py", "'mps'"): "an Apple GPU shares the CPU's memory: nothing to pin, nothing to move",
    ("evaluation/calibration.py", "torch.double"): "a number on the CPU",
    ("evaluation/ood.py", DOUBLE): "ranks of scores that come from NumPy",
    ("evaluation/ood.py", "torch.double"): "three weights, fitted on the CPU",
    ("evaluation/ood.py", "torch.float64"): "scores that come from NumPy, for a plot",
}


def device_words(tree: ast.AST) -> set[str]:
    "What in a module speaks of one kind of device, or of numbers that not every device has."
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="torch"), attr="cuda" | "mps" | "xpu" | "double" | "float64" as name):
                found.add(f"torch.{name}")
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="torch"), attr="backends"), attr=name):
                found.add(f"torch.backends.{name}")
            case ast.Constant(value=str(text)) if text.partition(":")[0] in ("cuda", "mps", "xpu") and id(node) not in docs:
                found.add(repr(text))
            case ast.Call(func=ast.Attribute(attr="cuda" | "pin_memory" as name)):
                found.add(f".{name}()")
            case ast.Call(func=ast.Attribute(attr="double", value=value)):
                if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "cpu"):
                    found.add(DOUBLE)
            case ast.keyword(arg="pin_memory", value=ast.Constant(value=True)):
                found.add("pin_memory=True")
    return found


def test_no_module_asks_for_one_kind_of_device_without_a_reason():
    root = Path(vehicle_nb.__file__).parent
    files = sorted(root.rglob("*.py"))
    found = {(path.relative_to(root).as_posix(), word) for path in files for word in device_words(ast.parse(path.read_text("utf-8")))}
    assert len(files) > 40 and found == set(ALLOWED), "each with its reason above, and no reason without its line"


@pytest.mark.parametrize(("code", "word"), [
    ("x = torch.cuda.device_count()", "torch.cuda"), ("x.cuda()", ".cuda()"), ("torch.device('cuda:0')", "'cuda:0'"),
    ("DataLoader(d, pin_memory=True)", "pin_memory=True"), ("x.double().cpu()", DOUBLE),
    ("torch.zeros(3, dtype=torch.float64)", "torch.float64"), ("torch.backends.mps.is_available()", "torch.backends.mps"),
    ("if device.type == 'mps': pass", "'mps'"),
])  # fmt: skip
def test_the_audit_finds_what_it_looks_for(code, word):
    assert device_words(ast.parse(code)) >= {word}
    assert not device_words(ast.parse("'cuda'\nx.cpu().double()\nprint('on a cuda device', pin_memory=False)"))


# --- what is decided for a device ------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    "Pretend that this machine has an accelerator."

    def have(name: str | None, count: int = 1):
        found = torch.device(name) if name else None
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: found)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
        for variable in ("ACCELERATE_USE_CPU", "WORLD_SIZE"):
            monkeypatch.delenv(variable, raising=False)

    return have


@pytest.mark.parametrize(("name", "alone", "several"), [(None, 0, 0), ("cuda", 2, 2), ("xpu", 2, 2), ("mps", 2, 0)])
def test_each_accelerator_is_found_and_an_apple_one_serves_one_process(machine, monkeypatch, name, alone, several):
    machine(name, 2)
    assert best_device().type == (name or "cpu")
    assert num_usable_gpus() == alone and use_cpu() == (not alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert num_usable_gpus() == several and use_cpu() == (not several)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert num_usable_gpus() == 0 and use_cpu()


def test_precision_memory_and_loaders_follow_the_device(processed_set, monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda including_emulation=True, has=has: has)
        assert choose_precision("resnet18", XPU) == ("bf16" if has else "fp32")
    assert choose_precision("resnet18", MPS) == "fp32"
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda device: (100, 200))
    assert fits_on_device(50, XPU) and not fits_on_device(51, XPU) and not fits_on_device(1, MPS) and not fits_on_device(1, CPU)
    dataset = PackedDataset(processed_set, "train", quiet=True)
    apple, intel, plain = (make_loader(dataset, 8, device=device) for device in (MPS, XPU, CPU))
    assert isinstance(apple, PrefetchLoader) and not apple.loader.pin_memory, "fetched ahead, but there is no memory to pin"
    assert isinstance(intel, PrefetchLoader) and intel.loader.pin_memory and not isinstance(plain, PrefetchLoader)
    monkeypatch.setattr(loading, "fits_on_device", lambda *_: True)
    assert isinstance(make_loader(dataset, 8, device=CPU), DeviceLoader)
    assert device_name(MPS) == "mps" and device_name(CPU) == "cpu"


def test_adamw_is_fused_only_where_it_can_be(monkeypatch):
    assert has_fused(CPU)

    def refuse(*_, fused):
        raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of supported devices")

    monkeypatch.setattr(torch.optim, "AdamW", refuse)
    assert not has_fused(CPU)


# --- no number of 64 bits ---------------------------------------------------------------------------------------------------


class NoDouble(TorchDispatchMode):
    "A device without float64, as Apple's: whoever makes such a tensor is told."

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                raise TypeError(f"{function} makes float64")
        return result


@pytest.fixture
def cpu():
    "An Accelerator on the CPU, and one thread."
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


def test_training_and_predicting_make_no_float64(processed_set, tmp_path, monkeypatch, cpu):
    options = {"grad_clip": 1.0, "cutmix": 0.5, "mixup": 0.2, "outliers": 0.5, "class_weights": True, "grad_accum_steps": 2, "epochs": 1}
    config = TrainConfig(data=str(processed_set), input_size=32, batch_size=8, probe_epochs=2, quiet=True, **options)
    monkeypatch.setattr(loop, "create_model", lambda _, classes, __: VehicleCNN(classes, (8, 8, 16, 16)))
    with NoDouble():
        trainer = Trainer(resolve_defaults(config, CPU), tmp_path, cpu)
        trainer.train_mode()
        batch = next(iter(trainer.loaders["train"]))
        assert trainer.train_step(batch, len(batch[1])).isfinite().all()
        trainer.linear_probe()
        assert trainer.gathered_metrics(trainer.local_metrics()) == [[0.0] * 3]
        logits, labels = trainer.predict("val")
        with pytest.raises(TypeError, match="makes float64"):
            logits.double()
    assert 0.05 <= fit_temperature(logits, labels) <= 20, "which computes in float64, on the CPU"


def test_a_step_seeds_the_generator_of_its_device(processed_set, tmp_path, monkeypatch):
    seeds, trainer = [], Trainer.__new__(Trainer)
    for name in ("mps", "xpu"):
        monkeypatch.setattr(getattr(torch, name), "manual_seed", seeds.append)
        trainer.config = TrainConfig(seed=7)
        trainer.state = type("State", (), {"epoch": 1, "step": 2})
        trainer.accelerator = type("Accelerator", (), {"process_index": 0, "device": torch.device(name)})
        trainer.seed_step()
    assert seeds == [torch.default_generator.initial_seed()] * 2
