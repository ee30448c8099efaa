"""Networks as pure functions of their parameters.

The parameters are arguments of every function, so that each step can use a network with new weights, and a compiled
function is compiled once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from lightning_distill.functional.chunking import BackwardLimit, forward_in_chunks, split_into_chunks
from lightning_distill.functional.compile import (
    MIN_FLOPS_TO_COMPILE,
    CompiledForward,
    CompileMode,
    Parameters,
    PerSampleLoss,
    compiler_available,
)
from lightning_distill.networks.pretrained import PretrainedNetwork
from lightning_distill.utils.private_apis import is_batch_norm

__all__ = ["Embedder", "FunctionalNetwork", "Parameters", "count_flops", "uncached_autocast"]


class Embedder(Protocol):
    """Interface of every network of the package beside ``forward``: the features before its last linear layer."""

    def embed(self, x: Tensor) -> Tensor:
        """Return features ``(B, F)`` of images ``(B, C, H, W)``."""
        ...


class _Head(nn.Module):
    """Route ``functional_call`` to ``embed`` or ``forward``; dynamo then sees an ordinary module call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, embed: bool) -> Tensor:
        if embed:
            return cast(Embedder, self.network).embed(x)
        return cast(Tensor, self.network(x))


class FunctionalNetwork:
    """A network without weights, ``f(parameters, x)``, with new parameters from `init_params`.

    It is not an ``nn.Module`` on purpose: surrogate networks must not enter a LightningModule's ``state_dict``, its DDP
    buckets or its summary.

    Args:
        build: Function that makes the network with its default initialisation, e.g.
            ``partial(create_network, "convnet", 3, 10, (32, 32))``.
        loss: Loss of logits and targets with torch's ``reduction``; `objectives.label_entropy` for multi-label data.
        flops: Floating-point operations of the whole run in this network; decides for ``compile="auto"``.
        compile: Mode of compilation. ``auto`` compiles where the run is long enough to repay the warm-up and a compiler
            is found, ``max`` wherever a compiler is found (with CUDA graphs on a GPU), ``off`` never. Networks with
            batch norm and timm models run eagerly. A warning names what could not be compiled.
        sizes: Batch sizes to pad to in compiled functions, so that every shape is static.
        chunk: Number of images per chunk, see `functional.chunking.auto_chunk_size`; ``None`` takes all at once. A
            network with batch norm is never cut.

    Example:
        >>> from functools import partial
        >>> from lightning_distill.networks import create_network
        >>> network = FunctionalNetwork(partial(create_network, "convnet_w16", 1, 10, (8, 8)))
        >>> parameters = network.init_params()
        >>> network(parameters, torch.zeros(2, 1, 8, 8)).shape, network.embed(parameters, torch.zeros(2, 1, 8, 8)).shape
        (torch.Size([2, 10]), torch.Size([2, 16]))

    Reference:
        PyTorch, ``torch.func.functional_call``.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        loss: PerSampleLoss = cast(PerSampleLoss, F.cross_entropy),  # noqa: B008
        *,
        flops: float = 0.0,
        compile: CompileMode = "auto",
        sizes: Sequence[int] = (),
        chunk: int | None = None,
    ) -> None:
        self.build, self._loss = build, loss
        with torch.random.fork_rng(devices=[]):
            self._module = _Head(build())
        #: Whether images depend on the others of their batch. Pretrained networks keep their running statistics.
        self.batch_norm = not isinstance(self._module.network, PretrainedNetwork) and any(
            is_batch_norm(module) for module in self._module.modules()
        )
        self.chunk = None if self.batch_norm else chunk
        #: Names of the trained parameters; the other parameters are buffers, such as running statistics.
        self.weight_names = tuple(name for name, _ in self._module.named_parameters())
        self._backward_limit = BackwardLimit(build)
        requested = compile == "max" or (compile == "auto" and flops >= MIN_FLOPS_TO_COMPILE)
        supported = getattr(self._module.network, "compilable", False) and not self.batch_norm
        enabled = requested and supported and compiler_available()
        self._compiled = CompiledForward(
            self._module,
            self.weight_names,
            self.loss,
            eager_forward=self._eager,
            eager_derivative=self._eager_derivative,
            sizes=sizes,
            enabled=enabled,
            graphs=compile == "max" and torch.cuda.is_available(),
        )
        if requested and not enabled and (supported or compile == "max"):
            reason = (
                "no C++ compiler (or triton on CUDA) was found" if supported else "batch norm and timm models are not"
            )
            warnings.warn(f"the network is not compiled, slower: {reason}", stacklevel=2)

    @property
    def compiled(self) -> bool:
        """True where the network is compiled, or will be at its first call."""
        return bool(self._compiled)

    @property
    def warm_up(self) -> float:
        """Seconds spent in first calls of compiled functions."""
        return self._compiled.compiled.warm_up

    def num_features(self, shape: Sequence[int]) -> int:
        """Return the number F of features of an image ``(C, H, W)`` before the last linear layer."""
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return int(self._module(torch.zeros(1, *shape), True).shape[1])

    def init_params(self, device: torch.device | str = "cpu") -> Parameters:
        """Return new parameters and buffers, drawn from torch's current CPU random stream and moved to ``device``.

        Those of a pretrained network are its pretrained weights, with a new linear layer.
        """
        pretrained = self._module.network
        network = pretrained.renew() if isinstance(pretrained, PretrainedNetwork) else self.build()
        state = [*network.named_parameters(), *network.named_buffers()]
        # a copy that blocks would wait until the GPU has finished all its work, once for each tensor
        return {f"network.{name}": tensor.detach().to(device, non_blocking=True) for name, tensor in state}

    def embed(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Return the features before the last linear layer, ``(B, C, H, W)`` to ``(B, F)``, in the autocast dtype."""
        return self._call("embed", parameters, x)

    def __call__(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Return logits ``(B, K)`` of ``(B, C, H, W)``, in the autocast dtype. Batch norm updates its buffers."""
        return self._call("logits", parameters, x)

    def eager(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Return logits of the eager network, all images at once, which supports ``torch.func``."""
        return self._eager("logits", parameters, x)

    def directional_derivative(
        self, parameters: Parameters, directions: Sequence[Tensor], x: Tensor, targets: Tensor, images: int
    ) -> Tensor:
        r"""Return the derivative of the loss along a direction in weight space: :math:`\langle v, \nabla\ell\rangle`.

        The scalar can be differentiated by weights, images and probabilities.

        Args:
            parameters: Weights and buffers by name.
            directions: Directions v, one tensor for each weight.
            x: Images ``(B, C, H, W)``.
            targets: Labels ``(B,)`` or probabilities ``(B, K)``.
            images: Number by which the sum of the images' losses is divided.
        """
        with uncached_autocast(x.device):
            share = x.new_full((len(x),), 1 / images)
            result = self._compiled.derivative(parameters, directions, x, targets, share, self.chunk)
            return self._eager_derivative(parameters, directions, x, targets, share) if result is None else result

    def loss(self, logits: Tensor, targets: Tensor, reduction: Literal["mean", "sum", "none"] = "mean") -> Tensor:
        """Return the training loss of the network, computed in float32 or float64.

        Args:
            logits: Logits ``(B, K)``.
            targets: Labels ``(B,)`` or probabilities ``(B, K)``.
            reduction: Reduction over images: ``mean``, ``sum`` or ``none``, which returns ``(B,)``.
        """
        return self._loss(at_least_float32(logits), targets, reduction=reduction)

    def chunks(self, x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Return tensors with equal numbers of rows, all cut into the same chunks."""
        return split_into_chunks(self.chunk, x, *others)

    def require_grad(self, parameters: Parameters) -> list[Tensor]:
        """Return the weights among parameters and let them require gradients; buffers are left out."""
        return [tensor.requires_grad_() for name, tensor in parameters.items() if name in self.weight_names]

    def train(self, mode: bool = True) -> None:
        """Switch batch norm and dropout between training and evaluation; nothing else depends on it."""
        self._module.train(mode)

    def _call(self, kind: str, parameters: Parameters, x: Tensor) -> Tensor:
        with uncached_autocast(x.device):
            limit = self._backward_limit(x, self.chunk) if torch.is_grad_enabled() else None
            return forward_in_chunks(partial(self._forward, kind, parameters), x, self.chunk, limit)

    def _forward(self, kind: str, parameters: Parameters, x: Tensor) -> Tensor:
        result = self._compiled.forward(kind, parameters, x, self.chunk)
        return self._eager(kind, parameters, x) if result is None else result

    def _eager(self, kind: str, parameters: Parameters, x: Tensor) -> Tensor:
        return cast(Tensor, functional_call(self._module, parameters, (x, kind == "embed")))

    def _eager_derivative(
        self, parameters: Parameters, directions: Sequence[Tensor], x: Tensor, targets: Tensor, share: Tensor
    ) -> Tensor:
        """Return the derivative by two backward passes; ``share`` ``(B,)`` weights the images' losses, padding by 0."""
        loss = (self.loss(self.eager(parameters, x), targets, "none") * share).sum()
        weights = [parameters[name] for name in self.weight_names]
        with torch.autocast(x.device.type, enabled=False):
            gradients = torch.autograd.grad(loss, weights, create_graph=True)
        return torch.stack([(v * g).sum() for v, g in zip(directions, gradients, strict=True)]).sum()


def uncached_autocast(device: torch.device) -> torch.autocast:
    """Return the current autocast without its cache of cast weights, which an optimizer step would make stale."""
    kind = device.type
    on, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype=dtype, enabled=on, cache_enabled=False)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in float64 if it is, otherwise in float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def count_flops(build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> int:
    """Return the floating-point operations of one forward pass of one image ``(C, H, W)``."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build().eval()(torch.zeros(1, *shape))
    return int(counter.get_total_flops())
