"""Networks as pure functions of their parameters.

A fresh network every step would recompile nothing if the parameters were arguments of the compiled function; so they
are. Padding the batch to a few known sizes keeps every shape static.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from lightning_distill.functional.chunking import even_chunk_size, max_images_without_checkpointing
from lightning_distill.functional.compile import (
    MIN_FLOPS_TO_COMPILE,
    CompiledFunctions,
    CompileMode,
    Function,
    compiler_available,
)
from lightning_distill.objectives.multi_label import label_entropy
from lightning_distill.spec import Task

Parameters = dict[str, Tensor]


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


class FunctionalNetwork:
    """A network without weights: ``f(parameters, x)``, with fresh parameters for the asking.

    Not an ``nn.Module`` on purpose: surrogate networks must not enter a LightningModule's ``state_dict``, its DDP
    buckets or its summary.

    Args:
        build: makes the network with its default initialisation, e.g. ``partial(create_network, "convnet", ...)``.
        task: of the data; ``multi-label`` ones are learned by `label_entropy` instead of cross-entropy.
        flops: floating-point operations the whole run will spend in this network; decides for ``compile="auto"``.
        compile: ``auto`` compiles when the run is long enough to repay the warm-up and a compiler is found, ``max``
            whenever a compiler is found (with CUDA graphs on a GPU), ``off`` never. Networks with batch norm and timm
            models run eagerly. Where what is wanted cannot be, a warning says so.
        sizes: batch sizes to pad to, so that every shape is static when compiled.
        chunk: images at a time, see `functional.chunking.auto_chunk_size`; ``None`` takes all. Batch norm is never cut.

    Reference:
        PyTorch, ``torch.func.functional_call``.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        task: Task = "multi-class",
        *,
        flops: float = 0.0,
        compile: CompileMode = "auto",
        sizes: Sequence[int] = (),
        chunk: int | None = None,
    ) -> None:
        self.build = build
        self._entropy = label_entropy if task == "multi-label" else F.cross_entropy
        with torch.random.fork_rng(devices=[]):
            self._module = _Head(build())
        self.batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self._module.modules())
        self.chunk = None if self.batch_norm else chunk
        #: Names of what is trained; the rest of the parameters are buffers, such as running statistics.
        self.weight_names = tuple(name for name, _ in self._module.named_parameters())
        self._sizes = sorted(set(sizes))
        self._room: dict[tuple[object, ...], int] = {}
        wanted = compile == "max" or (compile == "auto" and flops >= MIN_FLOPS_TO_COMPILE)
        able = getattr(self._module.network, "compilable", False) and not self.batch_norm
        found = wanted and able and compiler_available()
        graphs = compile == "max" and torch.cuda.is_available()
        self._compiled = CompiledFunctions(self._functions(), graphs) if found else CompiledFunctions()
        if wanted and not found and (able or compile == "max"):
            reason = "no C++ compiler (or triton on CUDA) was found" if able else "batch norm and timm models are not"
            warnings.warn(f"the network is not compiled, slower: {reason}", stacklevel=2)

    @property
    def compiled(self) -> bool:
        """Whether it is compiled, or will be at the first call."""
        return bool(self._compiled)

    @property
    def warm_up(self) -> float:
        """Seconds spent in first calls of compiled functions."""
        return self._compiled.warm_up

    def init_params(self, device: torch.device | str = "cpu") -> Parameters:
        """Newly drawn parameters and buffers, from torch's current CPU random stream, then moved to ``device``."""
        network = self.build()
        state = [*network.named_parameters(), *network.named_buffers()]
        return {f"network.{name}": tensor.detach().to(device) for name, tensor in state}

    def embed(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Features before the last linear layer: ``(B, C, H, W)`` to ``(B, F)``, in the autocast dtype."""
        return self._call("embed", parameters, x)

    def __call__(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits: ``(B, C, H, W)`` to ``(B, K)``, in the autocast dtype. Batch norm updates its buffers in place."""
        return self._call("logits", parameters, x)

    def eager(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits by the plain eager network, all images at once: what ``torch.func`` and two backwards understand."""
        return self._eager("logits", parameters, x)

    def directional_derivative(
        self, parameters: Parameters, directions: Sequence[Tensor], x: Tensor, targets: Tensor, images: int
    ) -> Tensor:
        r"""How the loss changes where the weights move: :math:`\langle v, \nabla_\theta \ell\rangle`, a scalar.

        It can be differentiated by weights, images and probabilities.

        Args:
            parameters: weights and buffers.
            directions: v, one a weight.
            x: ``(B, C, H, W)``.
            targets: labels ``(B,)`` or probabilities ``(B, K)``.
            images: the sum of their losses is divided by as many.
        """
        with uncached_autocast(x.device):
            share, found = x.new_full((len(x),), 1 / images), None
            if self._compiled:
                padded = self._pad(x)
                room = 0, len(padded) - len(x)
                given = F.pad(targets, (0, 0) * (targets.ndim - 1) + room)
                found = self._compiled("slope", None, parameters, list(directions), padded, given, F.pad(share, room))
            return self._directional_derivative(parameters, directions, x, targets, share) if found is None else found

    def _directional_derivative(
        self, parameters: Parameters, directions: Sequence[Tensor], x: Tensor, targets: Tensor, share: Tensor
    ) -> Tensor:
        """By two backwards; ``share`` ``(B,)`` is what every image's loss counts, padding none."""
        loss = (self.loss(self.eager(parameters, x), targets, "none") * share).sum()
        weights = [parameters[name] for name in self.weight_names]
        with torch.autocast(x.device.type, enabled=False):
            gradients = torch.autograd.grad(loss, weights, create_graph=True)
        return torch.stack([(v * g).sum() for v, g in zip(directions, gradients, strict=True)]).sum()

    def loss(self, logits: Tensor, targets: Tensor, reduction: Literal["mean", "sum", "none"] = "mean") -> Tensor:
        """What the network learns by, in float32 or better: cross-entropy, or of several labels `label_entropy`.

        Args:
            logits: ``(B, K)``.
            targets: labels ``(B,)`` or probabilities ``(B, K)``.
            reduction: over images.
        """
        return self._entropy(at_least_float32(logits), targets, reduction=reduction)

    def chunks(self, x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Tensors of as many rows, cut into the same chunks."""
        size = even_chunk_size(len(x), self.chunk)
        return zip(x.split(size), *(other.split(size) for other in others), strict=True)

    def require_grad(self, parameters: Parameters) -> list[Tensor]:
        """The weights among them, which require gradients from now on; buffers are left out."""
        return [tensor.requires_grad_() for name, tensor in parameters.items() if name in self.weight_names]

    def train(self, mode: bool = True) -> None:
        """Switch batch norm and dropout between training and evaluation; nothing else depends on it."""
        self._module.train(mode)

    def _call(self, kind: str, parameters: Parameters, x: Tensor) -> Tensor:
        with uncached_autocast(x.device):
            forward = partial(self._forward, kind, parameters)
            if torch.is_grad_enabled() and len(x) > self._kept(x):
                forward = partial(checkpoint, forward, use_reentrant=False)
            parts = [forward(part) for (part,) in self.chunks(x)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _kept(self, x: Tensor) -> int:
        """Of how many such images everything may be kept for a backward: see `max_images_without_checkpointing`."""
        if self.chunk is None or len(x) <= self.chunk:
            return len(x)
        shape, key = (x.shape[1], x.shape[2], x.shape[3]), (x.shape[1:], self.chunk)
        if key not in self._room:
            self._room[key] = max_images_without_checkpointing(self.build, shape, self.chunk, x.device)
        return self._room[key]

    def _forward(self, kind: str, parameters: Parameters, x: Tensor) -> Tensor:
        found = self._compiled(kind, len(x), parameters, self._pad(x)) if self._compiled else None
        return self._eager(kind, parameters, x) if found is None else found

    def _eager(self, kind: str, parameters: Parameters, x: Tensor) -> Tensor:
        return cast(Tensor, functional_call(self._module, parameters, (x, kind == "embed")))

    def _functions(self) -> dict[str, tuple[Function, Function]]:
        """What is compiled, features and logits to be differentiated once and the slope; and the same eager."""
        once = deepcopy(self._module)
        setattr(once.network, "fused", True)  # noqa: B010  (only some networks know the word)

        def embed(parameters: Parameters, x: Tensor) -> Tensor:
            return cast(Tensor, functional_call(once, parameters, (x, True)))

        def logits(parameters: Parameters, x: Tensor) -> Tensor:
            return cast(Tensor, functional_call(once, parameters, (x, False)))

        def slope(
            parameters: Parameters, directions: list[Tensor], x: Tensor, targets: Tensor, share: Tensor
        ) -> Tensor:
            def loss(*weights: Tensor) -> Tensor:
                moved = parameters | dict(zip(self.weight_names, weights, strict=True))
                logits = functional_call(self._module, moved, (x, False))
                return (self.loss(logits, targets, "none") * share).sum()

            weights = tuple(parameters[name] for name in self.weight_names)
            return cast(Tensor, jvp(loss, weights, tuple(directions))[1])

        return {
            "embed": (embed, partial(self._eager, "embed")),
            "logits": (logits, partial(self._eager, "logits")),
            "slope": (slope, self._directional_derivative),
        }

    def _pad(self, x: Tensor) -> Tensor:
        """Zero rows up to the next known batch size, and one memory layout: shapes and strides stay static.

        Rows never mix here: batch norm is not compiled.
        """
        known = sorted(even_chunk_size(size, self.chunk) for size in self._sizes)  # the chunk may have been halved
        size = next((size for size in known if size >= len(x)), len(x))
        return F.pad(x, (0, 0) * 3 + (0, size - len(x))).contiguous() if size > len(x) else x.contiguous()


def uncached_autocast(device: torch.device) -> torch.autocast:
    """Autocast as it is, without its cache of cast weights, which would be stale after a step inside one autocast."""
    kind = device.type
    on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype=dtype, enabled=on, cache_enabled=False)


def at_least_float32(tensor: Tensor) -> Tensor:
    """In float32 or better."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def count_flops(build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> int:
    """Floating-point operations of one forward pass over one image ``(C, H, W)``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build().eval()(torch.zeros(1, *shape))
    return int(counter.get_total_flops())
