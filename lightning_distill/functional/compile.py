"""What is compiled, when that pays, and what happens where it cannot be or comes out wrong."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Any, Literal

import torch
import torch._functorch.config
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils._triton import has_triton

CompileMode = Literal["auto", "off", "max"]
Function = Callable[..., Tensor]

#: Below this many floating-point operations a run ends before the compiler's warm-up has paid for itself. Measured:
#: a warm-up of 8 to 17 s against 0.14 TFLOP/s eager and 0.29 compiled, two CPU cores (benchmarks/results/compile.csv).
MIN_FLOPS_TO_COMPILE = 6e12
#: A value or gradient further than this share from the eager one is wrong; rounding in bf16 makes up to some 0.1.
MAX_RELATIVE_ERROR = 0.5


def compiler_available() -> bool:
    """Whether ``torch.compile`` can work here: a C++ compiler for the CPU, triton for CUDA."""
    if torch.cuda.is_available():
        return bool(has_triton())
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "cl") if name)


class CompiledFunctions:
    """Functions that are compiled when they are first called; none of them any more after one could not be.

    What the compiler makes is kept between runs. The first time that a function is called with new shapes, or asked for
    other gradients, its value and gradients are held against those of a plain function: PyTorch 2.11 made gradients of
    zero out of what 2.15 compiles well.

    Args:
        functions: by name what is compiled, and what gives the same without a compiler, a tensor each; no functions
            are false, and give nothing.
        graphs: replay them as CUDA graphs.

    Attributes:
        functions: by name.
        warm_up: seconds spent in first calls.
    """

    def __init__(
        self, functions: Mapping[str, tuple[Function, Function]] = MappingProxyType({}), graphs: bool = False
    ) -> None:
        if functions:
            cache = Path.home() / ".cache" / "lightning_distill" / "compiled"
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        options: dict[str, Any] = {"dynamic": False, **({"mode": "reduce-overhead"} if graphs else {})}
        self.functions: dict[str, Function] = {
            name: torch.compile(copy_function(function), **options) for name, (function, _) in functions.items()
        }
        self._plain = {name: plain for name, (_, plain) in functions.items()}
        self.warm_up = 0.0
        self._graphs = graphs
        self._seen: set[tuple[object, ...]] = set()

    def __bool__(self) -> bool:
        return bool(self.functions)

    def __call__(self, name: str, rows: int | None, *arguments: Any) -> Tensor | None:
        """What the function of that name gives; ``None`` where there is none, or none any more, which is warned of.

        Args:
            name: of the function.
            rows: of its value that count, the rest is padding; ``None`` takes all of it.
            arguments: tensors, lists and dicts of them.
        """
        if name not in self.functions:
            return None
        tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
        key = (name, torch.is_grad_enabled(), *((tuple(t.shape), t.requires_grad) for t in tensors))
        began = time.perf_counter()
        try:
            with torch._functorch.config.patch(aggressive_recomputation=True):  # else it keeps masks, slowly written
                made = truncate_rows(self.functions[name], rows)
                if key not in self._seen and not self._is_right(name, made, rows, arguments):
                    return None
                result = made(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            self._give_up(f"could not be compiled ({first})")
            return None
        if key not in self._seen:
            self._seen.add(key)
            self.warm_up += time.perf_counter() - began
        return result.clone() if self._graphs else result  # the next replay of a CUDA graph writes over its outputs

    def _is_right(self, name: str, made: Function, rows: int | None, arguments: Sequence[Any]) -> bool:
        share = relative_error(made, truncate_rows(self._plain[name], rows), arguments)
        if share > MAX_RELATIVE_ERROR:
            self._give_up(f"is compiled wrongly by PyTorch {torch.__version__}, off by {share:.0%}")
        return share <= MAX_RELATIVE_ERROR

    def _give_up(self, reason: str) -> None:
        warnings.warn(f"the network {reason}; running eagerly, slower", stacklevel=3)
        self.functions = {}


def truncate_rows(function: Function, rows: int | None) -> Function:
    return function if rows is None else lambda *arguments: function(*arguments)[:rows]


def relative_error(one: Function, other: Function, arguments: Sequence[Any]) -> float:
    """How far a function's value and gradients are from another's, as a share of theirs: the largest by argument.

    Gradients are those of the value along a fixed direction. Weights count together: that of a bias before a norm is
    nothing but rounding. Where the other gives NaN or infinity, nothing can be said: 0.

    Args:
        one: a function of the arguments.
        other: what it should give.
        arguments: tensors, or lists or dicts of them; they keep their gradients and graphs.
    """
    ours, theirs = (_value_and_gradients(function, arguments) for function in (one, other))
    shares = [0.0]
    for mine, right in zip(ours, theirs, strict=True):
        size = float(torch.linalg.vector_norm(right))
        if 0 < size < float("inf"):
            shares.append(float(torch.linalg.vector_norm(mine - right)) / size)
    return max(share if share == share else float("inf") for share in shares)


def _value_and_gradients(function: Function, arguments: Sequence[Any]) -> list[Tensor]:
    """The value, and for each argument the gradients by all that is differentiable in it, flat and in float32."""
    own = tree_map_only(Tensor, lambda t: t.detach().clone().requires_grad_(t.requires_grad), tuple(arguments))
    value = function(*own)
    found = [value.detach().float().flatten()]
    if not value.requires_grad:
        return found
    inputs = [[t for t in tree_leaves(a) if isinstance(t, Tensor) and t.requires_grad] for a in own]
    direction = torch.arange(value.numel(), device=value.device).cos().view_as(value).to(value.dtype)
    with torch.autocast(value.device.type, enabled=False):  # a backward has the types of its forward
        leaves = [t for group in inputs for t in group]
        gradients = iter(torch.autograd.grad(value, leaves, direction, materialize_grads=True))
    found += [torch.cat([next(gradients).float().flatten() for _ in group]) for group in inputs if group]
    return found


def copy_function(function: Function) -> FunctionType:
    """A copy: dynamo counts recompilations by code object and gives up after a few."""
    assert isinstance(function, FunctionType)
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )
