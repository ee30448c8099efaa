"""Networks as pure functions of their parameters, and the one place that decides what is compiled.

A fresh network every step would recompile nothing if the parameters were arguments of the compiled function; so they
are. Padding the batch to a few known sizes keeps every shape static.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._triton import has_triton
from torch.utils.flop_counter import FlopCounterMode

Parameters = dict[str, Tensor]
CompileMode = Literal["auto", "off", "max"]

#: Below this many floating-point operations a run ends before the compiler's warm-up has paid for itself. Measured:
#: a warm-up of 8 to 17 s against 0.14 TFLOP/s eager and 0.29 compiled, two CPU cores (benchmarks/results/compile.csv).
WORTH_COMPILING = 6e12


class Embedder(Protocol):
    """What every network here offers beside ``forward``: the features before its last linear layer."""

    def embed(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, F)``."""
        ...


class _Head(nn.Module):
    """Routes ``functional_call`` to ``embed`` or ``forward``; dynamo then sees an ordinary module call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, embed: bool) -> Tensor:
        if embed:
            return cast(Embedder, self.network).embed(x)
        return cast(Tensor, self.network(x))


class Stateless:
    """A network without weights: ``f(parameters, x)``, with fresh parameters for the asking.

    Not an ``nn.Module`` on purpose: surrogate networks must not enter a LightningModule's ``state_dict``, its DDP
    buckets or its summary.

    Args:
        build: makes the network with its default initialisation, e.g. ``partial(create_network, "convnet", ...)``.
        flops: floating-point operations the whole run will spend in this network; decides for ``compile="auto"``.
        compile: ``auto`` compiles when the run is long enough to repay the warm-up and a compiler is found, ``max``
            whenever a compiler is found, ``off`` never. Networks with batch norm and timm models run eagerly.
        sizes: batch sizes to pad to, so that every shape is static when compiled.

    Reference:
        PyTorch, ``torch.func.functional_call``.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        *,
        flops: float = 0.0,
        compile: CompileMode = "auto",
        sizes: Sequence[int] = (),
    ) -> None:
        self.build = build
        with torch.random.fork_rng(devices=[]):
            self._module = _Head(build())
        self.batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self._module.modules())
        #: Names of what is trained; the rest of the parameters are buffers, such as running statistics.
        self.weights = tuple(name for name, _ in self._module.named_parameters())
        self._sizes = sorted(set(sizes))
        wanted = compile == "max" or (compile == "auto" and flops >= WORTH_COMPILING)
        compilable = getattr(self._module.network, "compilable", False) and not self.batch_norm
        self._compiled: dict[bool, Callable[[Parameters, Tensor], Tensor]] = {}
        if wanted and compilable and compiler_found():
            self._compiled = {embed: self._compile(embed) for embed in (False, True)}

    def fresh(self, device: torch.device | str = "cpu") -> Parameters:
        """Newly drawn parameters and buffers, from torch's current CPU random stream, then moved to ``device``."""
        network = self.build()
        state = [*network.named_parameters(), *network.named_buffers()]
        return {f"network.{name}": tensor.detach().to(device) for name, tensor in state}

    def embed(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Features before the last linear layer: ``(B, C, H, W)`` to ``(B, F)``, in the autocast dtype."""
        return self._call(parameters, x, embed=True)

    def __call__(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits: ``(B, C, H, W)`` to ``(B, K)``, in the autocast dtype. Batch norm updates its buffers in place."""
        return self._call(parameters, x, embed=False)

    def twice(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits that may be differentiated twice; always eager, for compiled graphs have no second derivative."""
        with uncached_autocast(x.device):
            return self._eager(parameters, x, embed=False)

    def trainable(self, parameters: Parameters) -> list[Tensor]:
        """The weights among them, which require gradients from now on; buffers are left out."""
        return [tensor.requires_grad_() for name, tensor in parameters.items() if name in self.weights]

    def train(self, mode: bool = True) -> None:
        """Switch batch norm and dropout between training and evaluation; nothing else depends on it."""
        self._module.train(mode)

    def _eager(self, parameters: Parameters, x: Tensor, embed: bool) -> Tensor:
        return cast(Tensor, functional_call(self._module, parameters, (x, embed)))

    def _compile(self, embed: bool) -> Callable[[Parameters, Tensor], Tensor]:
        def forward(parameters: Parameters, x: Tensor) -> Tensor:
            return self._eager(parameters, x, embed)

        # Dynamo counts recompilations by code object and gives up after a few: every network gets a copy of its own.
        own = FunctionType(forward.__code__.replace(), forward.__globals__, "forward", None, forward.__closure__)
        return torch.compile(own, dynamic=False)

    def _call(self, parameters: Parameters, x: Tensor, embed: bool) -> Tensor:
        with uncached_autocast(x.device):
            return self._eager(parameters, x, embed) if embed not in self._compiled else self._run(parameters, x, embed)

    def _run(self, parameters: Parameters, x: Tensor, embed: bool) -> Tensor:
        rows = len(x)
        try:
            return self._compiled[embed](parameters, self._pad(x))[:rows]
        except torch._dynamo.exc.TorchDynamoException as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"the network could not be compiled ({first}); running eagerly, slower", stacklevel=2)
            self._compiled = {}
            return self._eager(parameters, x, embed)

    def _pad(self, x: Tensor) -> Tensor:
        """Zero rows up to the next known batch size, and one memory layout: shapes and strides stay static.

        Rows never mix here: batch norm is not compiled.
        """
        size = next((size for size in self._sizes if size >= len(x)), len(x))
        return F.pad(x, (0, 0) * 3 + (0, size - len(x))).contiguous() if size > len(x) else x.contiguous()


def uncached_autocast(device: torch.device) -> torch.autocast:
    """Autocast as it is, without its cache of cast weights, which would be stale after a step inside one autocast."""
    kind = device.type
    on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype=dtype, enabled=on, cache_enabled=False)


def differentiate(losses: Iterable[Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The sum of losses and its gradient, each graph freed before the next loss is asked for.

    Nothing is written to ``.grad``, so hooks on the parameters (DDP's) stay silent.

    Args:
        losses: scalars; an unused parameter gets a zero gradient.
        parameters: what to differentiate by.

    Returns:
        The detached sum, and one gradient a parameter.
    """
    gradients = [torch.zeros_like(parameter) for parameter in parameters]
    total = gradients[0].new_zeros(())
    for loss in losses:
        for summed, gradient in zip(gradients, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                summed += gradient
        total += loss.detach()
    return total, gradients


def loss_gradient(
    network: Stateless, parameters: Parameters, x: Tensor, y: Tensor, *, twice: bool = False, chunk: int | None = None
) -> list[Tensor]:
    """Gradient of the mean cross-entropy by the weights.

    Args:
        network: whose.
        parameters: weights and buffers; batch norm must be frozen if ``chunk`` cuts the batch.
        x: images ``(B, C, H, W)``.
        y: labels ``(B,)`` or probabilities ``(B, K)``.
        twice: keep the graph, so that the gradient can be differentiated again.
        chunk: images at a time, summed up; ``None`` takes all at once.

    Returns:
        One gradient a weight.
    """
    weights, forward = network.trainable(parameters), network.twice if twice else network
    total: list[Tensor] = []
    for images, targets in zip(x.split(chunk or len(x)), y.split(chunk or len(x)), strict=True):
        share = len(images) / len(x)
        loss = F.cross_entropy(_wide(forward(parameters, images)), targets) * share
        with torch.autocast(x.device.type, enabled=False):  # a backward has the types of its forward
            gradients = torch.autograd.grad(loss, weights, create_graph=twice)
        total = [a + b for a, b in zip(total, gradients, strict=True)] if total else list(gradients)
    return total


def descend(
    network: Stateless,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    targets: Tensor,
    chunk: int | None = None,
) -> None:
    """One step of an optimizer over `Stateless.trainable` weights, on the mean cross-entropy.

    Args: see `loss_gradient`.
    """
    gradients = loss_gradient(network, parameters, x, targets, chunk=chunk)
    for weight, gradient in zip(network.trainable(parameters), gradients, strict=True):
        weight.grad = gradient
    optimizer.step()


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def compiler_found() -> bool:
    """Whether ``torch.compile`` can work here: a C++ compiler for the CPU, triton for CUDA."""
    if torch.cuda.is_available():
        return bool(has_triton())
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++", "cl") if name)


def count_flops(build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> int:
    """Floating-point operations of one forward pass over one image ``(C, H, W)``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build().eval()(torch.zeros(1, *shape))
    return int(counter.get_total_flops())
