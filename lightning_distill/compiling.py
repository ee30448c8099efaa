"""What is compiled, when that pays, and what happens where it cannot be."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

import torch
import torch._functorch.config
from torch import Tensor
from torch.utils._triton import has_triton

CompileMode = Literal["auto", "off", "max"]

#: Below this many floating-point operations a run ends before the compiler's warm-up has paid for itself. Measured:
#: a warm-up of 8 to 17 s against 0.14 TFLOP/s eager and 0.29 compiled, two CPU cores (benchmarks/results/compile.csv).
WORTH_COMPILING = 6e12


def compiler_found() -> bool:
    """Whether ``torch.compile`` can work here: a C++ compiler for the CPU, triton for CUDA."""
    if torch.cuda.is_available():
        return bool(has_triton())
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "cl") if name)


class Compiled:
    """Functions that are compiled when they are first called; none of them any more after one could not be.

    What the compiler makes is kept between runs.

    Args:
        functions: each gives a tensor, of shapes that its arguments' shapes decide; none is false, and gives nothing.
        graphs: replay them as CUDA graphs.

    Attributes:
        functions: by name.
        warm_up: seconds spent in first calls.
    """

    def __init__(self, functions: Sequence[FunctionType] = (), graphs: bool = False) -> None:
        if functions:
            cache = Path.home() / ".cache" / "lightning_distill" / "compiled"
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        options: dict[str, Any] = {"dynamic": False, **({"mode": "reduce-overhead"} if graphs else {})}
        self.functions: dict[str, Callable[..., Tensor]] = {
            function.__name__: torch.compile(_own(function), **options) for function in functions
        }
        self.warm_up = 0.0
        self._graphs = graphs
        self._seen: set[tuple[object, ...]] = set()

    def __bool__(self) -> bool:
        return bool(self.functions)

    def __call__(self, name: str, *arguments: Any) -> Tensor | None:
        """What the function of that name gives; ``None`` where there is none, or none any more, which is warned of."""
        if name not in self.functions:
            return None
        key = (name, torch.is_grad_enabled(), *(tuple(a.shape) for a in arguments if isinstance(a, Tensor)))
        began = time.perf_counter()
        try:
            with torch._functorch.config.patch(aggressive_recomputation=True):  # else it keeps masks, slowly written
                result = self.functions[name](*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"the network could not be compiled ({first}); running eagerly, slower", stacklevel=2)
            self.functions = {}
            return None
        if key not in self._seen:
            self._seen.add(key)
            self.warm_up += time.perf_counter() - began
        return result.clone() if self._graphs else result  # the next replay of a CUDA graph writes over its outputs


def _own(function: FunctionType) -> FunctionType:
    """A copy: dynamo counts recompilations by code object and gives up after a few."""
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )
