"""A double of the CUDA graph for the CPU: it replays the operations of a step, at their addresses and with their numbers."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vehicle_nb.training.graph import StepInputs


class Tape(TorchDispatchMode):
    "Records every operation of forward, backward and optimizer; whatever asks for a number is refused, as CUDA refuses it."

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def replay(self):
        for function, args, kwargs, result in self.calls:
            again = function(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class TapeGraph:
    "A step on a tape, in the place of `CUDAGraph`: to record it computes it, which stands for its first replay."

    replays = 0  # of all graphs

    def __init__(self, step, inputs: StepInputs, other=None):
        self.inputs, self.tape, self.fresh = inputs.clone(), Tape(), True
        with self.tape:
            self.result = step(self.inputs)

    def __call__(self, inputs: StepInputs) -> Tensor:
        if not self.fresh:
            self.inputs.copy_(inputs)
            self.tape.replay()
            TapeGraph.replays += 1
        self.fresh = False
        return self.result.clone()
