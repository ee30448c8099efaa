"""Compilation of a network's functions: availability, padding, verification against eager mode, and fallback."""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Any, Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, jvp

from lightning_distill.functional.chunking import even_chunk_size
from lightning_distill.utils.private_apis import (
    compiler_error_type,
    map_nested_tensors,
    nested_tensors,
    recompute_in_backward,
    triton_available,
)

CompileMode = Literal["auto", "off", "max"]
Function = Callable[..., Tensor]
Parameters = dict[str, Tensor]

#: A run of fewer floating-point operations ends before compilation has paid for its warm-up. Measured: a warm-up of
#: 8 to 17 s against 0.14 TFLOP/s eager and 0.29 compiled, two CPU cores (benchmarks/results/compile.csv).
MIN_FLOPS_TO_COMPILE = 6e12
#: Largest relative error of a compiled value or gradient against the eager one; rounding in bf16 makes up to about 0.1.
MAX_RELATIVE_ERROR = 0.5


class PerSampleLoss(Protocol):
    """Loss of logits ``(B, K)`` and targets, with torch's ``reduction``."""

    def __call__(self, logits: Tensor, targets: Tensor, reduction: Literal["mean", "sum", "none"] = "mean") -> Tensor:
        """Return a scalar, or ``(B,)`` for ``reduction="none"``."""
        ...


def compiler_available() -> bool:
    """Return True where ``torch.compile`` can work: with a C++ compiler for the CPU, with triton for CUDA."""
    if torch.cuda.is_available():
        return triton_available()
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "cl") if name)


class CompiledFunctions:
    """Compile functions at their first call; after one failure all of them are dropped and the caller runs eagerly.

    The compiler's output is cached on disk between runs. The first call with new shapes, or with other gradients
    requested, is checked by `verify_against_eager`: PyTorch 2.11 returned zero gradients for code that 2.15 compiles
    correctly.

    Args:
        functions: Pairs by name: the function to compile, and an eager function with the same value. Each returns one
            tensor. Without functions the object is false and every call returns ``None``.
        graphs: Whether to replay the functions as CUDA graphs.

    Attributes:
        functions: Compiled functions by name; empty after a failure.
        warm_up: Seconds spent in first calls.
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
        self._eager = {name: eager for name, (_, eager) in functions.items()}
        self.warm_up = 0.0
        self._graphs = graphs
        self._verified: set[tuple[object, ...]] = set()

    def __bool__(self) -> bool:
        return bool(self.functions)

    def __call__(self, name: str, rows: int | None, *arguments: Any) -> Tensor | None:
        """Return the value of a compiled function, or ``None`` where it does not exist or has failed with a warning.

        Args:
            name: Name of the function.
            rows: Number of leading rows of the value to return, the rest is padding; ``None`` returns all rows.
            arguments: Tensors, or lists and dicts of tensors.
        """
        if name not in self.functions:
            return None
        tensors = nested_tensors(arguments)
        key = (name, torch.is_grad_enabled(), *((tuple(t.shape), t.requires_grad) for t in tensors))
        began = time.perf_counter()
        try:
            with recompute_in_backward():  # otherwise masks are stored, and written slowly
                function = truncate_rows(self.functions[name], rows)
                if key not in self._verified:
                    # hooks of their own: a checkpointed forward pass must not count the tensors of this check, which
                    # its recomputation does not repeat
                    with saved_tensors_hooks(unchanged, unchanged):
                        error = verify_against_eager(function, truncate_rows(self._eager[name], rows), arguments)
                    if error is not None:
                        self._disable(error)
                        return None
                result = function(*arguments)
        except compiler_error_type() as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            self._disable(f"could not be compiled ({first})")
            return None
        if key not in self._verified:
            self._verified.add(key)
            self.warm_up += time.perf_counter() - began
        return result.clone() if self._graphs else result  # the next replay of a CUDA graph overwrites its outputs

    def _disable(self, reason: str) -> None:
        warnings.warn(f"the network {reason}; running eagerly, slower", stacklevel=3)
        self.functions = {}


class CompiledForward:
    """Compiled features, logits and directional derivative of a network, with batches padded to static sizes.

    Parameters are arguments of the compiled functions, so a network with new weights recompiles nothing.

    Args:
        module: Network called as ``module(x, embed)``. A ``fused`` flag on ``module.network`` is set on a copy, for the
            functions that are differentiated once only.
        weight_names: Names of the parameters that are differentiated.
        loss: Loss of logits and targets.
        eager_forward: Eager function ``(kind, parameters, x)``, with the kinds ``embed`` and ``logits``.
        eager_derivative: Eager function ``(parameters, directions, x, targets, share)``.
        sizes: Batch sizes to pad to; a larger batch is not padded.
        enabled: Whether to compile at all; otherwise every method returns ``None``.
        graphs: Whether to replay the functions as CUDA graphs.
    """

    def __init__(
        self,
        module: nn.Module,
        weight_names: Sequence[str],
        loss: PerSampleLoss,
        *,
        eager_forward: Function,
        eager_derivative: Function,
        sizes: Sequence[int] = (),
        enabled: bool = True,
        graphs: bool = False,
    ) -> None:
        self._sizes = sorted(set(sizes))
        if not enabled:
            self.compiled = CompiledFunctions()
            return
        fused = deepcopy(module)
        setattr(fused.network, "fused", True)  # noqa: B010  (only some networks have the flag)

        def embed(parameters: Parameters, x: Tensor) -> Tensor:
            return cast(Tensor, functional_call(fused, parameters, (x, True)))

        def logits(parameters: Parameters, x: Tensor) -> Tensor:
            return cast(Tensor, functional_call(fused, parameters, (x, False)))

        def derivative(
            parameters: Parameters, directions: list[Tensor], x: Tensor, targets: Tensor, share: Tensor
        ) -> Tensor:
            def weighted_loss(*weights: Tensor) -> Tensor:
                moved = parameters | dict(zip(weight_names, weights, strict=True))
                return (loss(functional_call(module, moved, (x, False)), targets, "none") * share).sum()

            weights = tuple(parameters[name] for name in weight_names)
            return cast(Tensor, jvp(weighted_loss, weights, tuple(directions))[1])

        functions: dict[str, tuple[Function, Function]] = {
            "embed": (embed, partial(eager_forward, "embed")),
            "logits": (logits, partial(eager_forward, "logits")),
            "derivative": (derivative, eager_derivative),
        }
        self.compiled = CompiledFunctions(functions, graphs)

    def __bool__(self) -> bool:
        return bool(self.compiled)

    def forward(self, kind: str, parameters: Parameters, x: Tensor, chunk: int | None) -> Tensor | None:
        """Return features (``kind="embed"``) or logits of ``(B, C, H, W)``, or ``None`` where they are not compiled."""
        return self.compiled(kind, len(x), parameters, self.pad(x, chunk)) if self.compiled else None

    def derivative(
        self,
        parameters: Parameters,
        directions: Sequence[Tensor],
        x: Tensor,
        targets: Tensor,
        share: Tensor,
        chunk: int | None,
    ) -> Tensor | None:
        """Return the derivative of the weighted loss along directions, or ``None`` where it is not compiled."""
        if not self.compiled:
            return None
        padded = self.pad(x, chunk)
        rows = 0, len(padded) - len(x)
        padded_targets = F.pad(targets, (0, 0) * (targets.ndim - 1) + rows)
        return self.compiled(
            "derivative", None, parameters, list(directions), padded, padded_targets, F.pad(share, rows)
        )

    def pad(self, x: Tensor, chunk: int | None) -> Tensor:
        """Append zero rows up to the next known batch size and make the memory contiguous: static shapes and strides.

        Rows are independent of each other, because networks with batch norm are not compiled.

        Args:
            x: Images ``(B, C, H, W)``.
            chunk: Current number of images per chunk, which an out-of-memory error may have halved; ``None`` is all.
        """
        known = sorted(even_chunk_size(size, chunk) for size in self._sizes)
        size = next((size for size in known if size >= len(x)), len(x))
        return F.pad(x, (0, 0) * 3 + (0, size - len(x))).contiguous() if size > len(x) else x.contiguous()


def verify_against_eager(compiled: Function, eager: Function, arguments: Sequence[Any]) -> str | None:
    """Compare the value and gradients of a compiled function with those of the eager function.

    Args:
        compiled: Function to check.
        eager: Function that defines the correct result.
        arguments: Tensors, or lists and dicts of tensors; their graphs and ``.grad`` are left alone.

    Returns:
        ``None`` where they agree within `MAX_RELATIVE_ERROR`, otherwise a description of the error.
    """
    error = relative_error(compiled, eager, arguments)
    if error <= MAX_RELATIVE_ERROR:
        return None
    return f"is compiled wrongly by PyTorch {torch.__version__}, off by {error:.0%}"


def truncate_rows(function: Function, rows: int | None) -> Function:
    """Return the function limited to the first ``rows`` rows of its value; ``None`` keeps all."""
    return function if rows is None else lambda *arguments: function(*arguments)[:rows]


def relative_error(one: Function, other: Function, arguments: Sequence[Any]) -> float:
    """Return the largest relative error, over value and gradients, of one function against another.

    Gradients are taken along a fixed direction of the value. The gradients of one argument are compared together: the
    gradient of a bias before a norm is nothing but rounding. Where the other function returns NaN or infinity the
    error is undefined and counts as 0.

    Args:
        one: Function of the arguments.
        other: Function that defines the correct result.
        arguments: Tensors, or lists and dicts of tensors; their graphs and ``.grad`` are left alone.
    """
    results, expected = (_value_and_gradients(function, arguments) for function in (one, other))
    errors = [0.0]
    for result, correct in zip(results, expected, strict=True):
        size = float(torch.linalg.vector_norm(correct))
        if 0 < size < float("inf"):
            errors.append(float(torch.linalg.vector_norm(result - correct)) / size)
    return max(error if error == error else float("inf") for error in errors)


def _value_and_gradients(function: Function, arguments: Sequence[Any]) -> list[Tensor]:
    """Return the value and, for each argument, its gradients, each flattened to one float32 vector."""
    copies = map_nested_tensors(lambda t: t.detach().clone().requires_grad_(t.requires_grad), tuple(arguments))
    value = function(*copies)
    results = [value.detach().float().flatten()]
    if not value.requires_grad:
        return results
    inputs = [[t for t in nested_tensors(argument) if t.requires_grad] for argument in copies]
    direction = torch.arange(value.numel(), device=value.device).cos().view_as(value).to(value.dtype)
    with torch.autocast(value.device.type, enabled=False):  # a backward pass has the dtypes of its forward pass
        leaves = [t for group in inputs for t in group]
        gradients = iter(torch.autograd.grad(value, leaves, direction, materialize_grads=True))
    results += [torch.cat([next(gradients).float().flatten() for _ in group]) for group in inputs if group]
    return results


def unchanged(tensor: Tensor) -> Tensor:
    """Return the tensor itself."""
    return tensor


def copy_function(function: Function) -> FunctionType:
    """Return a copy of a function: dynamo counts recompilations by code object and gives up after a few."""
    assert isinstance(function, FunctionType)
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )
