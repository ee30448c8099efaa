"""Chunks of images that fit a processor's cache or a GPU's memory, and activation checkpointing for larger batches.

More images at once are not faster on a CPU. Beyond the cache every layer waits for memory, and beyond the largest block
that the C library recycles every layer's output is new memory from the system, page by page.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

#: Largest size of a layer's float32 output on a CPU, in bytes. Measured: 32 images of the ConvNet of width 128 at
#: 32 px, twice as fast as 256 (benchmarks/README.md).
CPU_LAYER_BYTES = 2**24
#: Share of the free GPU memory that the outputs of all layers may take; the rest is for their gradients, copies in
#: another dtype and the workspace of convolutions.
CUDA_MEMORY_FRACTION = 0.1
#: Activations that are kept for a backward pass without checkpointing: bytes on a CPU, chunks on CUDA.
CPU_BACKWARD_BYTES, CUDA_BACKWARD_CHUNKS = 2**29, 4

T = TypeVar("T")


class Chunked(Protocol):
    """A network that processes ``chunk`` images at a time; ``None`` means that it cannot be cut."""

    chunk: int | None


def auto_chunk_size(build: Callable[[], nn.Module], shape: tuple[int, int, int], device: torch.device) -> int:
    """Return the number of images per chunk that suits a network and a device.

    Args:
        build: Function that makes the network.
        shape: Shape of an image, ``(C, H, W)``.
        device: Device of the run; on CUDA the memory that is free now counts.
    """
    sizes = layer_bytes(build, shape)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, int(free * CUDA_MEMORY_FRACTION) // sum(sizes))
    return max(1, CPU_LAYER_BYTES // max(sizes))


def max_images_without_checkpointing(
    build: Callable[[], nn.Module], shape: tuple[int, int, int], chunk: int, device: torch.device
) -> int:
    """Return the largest batch for which the activations are kept; larger batches repeat the forward pass by chunk.

    The activations of a class's synthetic images grow with ipc and image size: those of ten images of 512 px take 6 GB
    in the ConvNet of width 128. A chunk that repeats its forward pass keeps its own activations only.

    Args:
        build: Function that makes the network.
        shape: Shape of an image, ``(C, H, W)``.
        chunk: Number of images per chunk.
        device: Device of the run.
    """
    if device.type == "cuda":
        return CUDA_BACKWARD_CHUNKS * chunk
    return max(chunk, CPU_BACKWARD_BYTES // sum(layer_bytes(build, shape)))


class BackwardLimit:
    """Largest batch for which the activations are kept, computed once for each image shape and chunk size.

    Args:
        build: Function that makes the network.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        self._build = build
        self._limits: dict[tuple[object, ...], int] = {}

    def __call__(self, x: Tensor, chunk: int | None) -> int:
        """Return the limit for images like ``x`` ``(B, C, H, W)``; at least B where they fit into one chunk."""
        if chunk is None or len(x) <= chunk:
            return len(x)
        shape, key = (x.shape[1], x.shape[2], x.shape[3]), (x.shape[1:], chunk)
        if key not in self._limits:
            self._limits[key] = max_images_without_checkpointing(self._build, shape, chunk, x.device)
        return self._limits[key]


def layer_bytes(build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> list[int]:
    """Return the bytes of every layer's output for one image ``(C, H, W)``, in float32."""
    sizes: list[int] = []

    def record(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * 4)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = build().eval()
        for module in network.modules():
            if not list(module.children()):
                module.register_forward_hook(record)
        network(torch.zeros(1, *shape))
    return sizes


def even_chunk_size(images: int, chunk: int | None) -> int:
    """Return the size of equal chunks, of at most ``chunk`` images, into which a number of images is cut.

    >>> even_chunk_size(256, 32), even_chunk_size(100, 32), even_chunk_size(10, 32), even_chunk_size(33, None)
    (32, 25, 10, 33)
    """
    return images if chunk is None or images <= chunk else -(-images // -(-images // chunk))


def split_into_chunks(chunk: int | None, x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return tensors with equal numbers of rows, all cut into the same chunks of at most ``chunk`` rows."""
    size = even_chunk_size(len(x), chunk)
    return zip(x.split(size), *(other.split(size) for other in others), strict=True)


def forward_in_chunks(
    forward: Callable[[Tensor], Tensor], x: Tensor, chunk: int | None, limit: int | None = None
) -> Tensor:
    """Return the output of a forward pass over all images, computed chunk by chunk.

    Args:
        forward: Function of images ``(B, C, H, W)``.
        x: Images ``(B, C, H, W)``.
        chunk: Largest number of images per call; ``None`` takes all at once.
        limit: Largest B for which the activations are kept; beyond it every chunk is checkpointed. ``None`` keeps all.
    """
    if limit is not None and len(x) > limit:
        forward = cast("Callable[[Tensor], Tensor]", partial(checkpoint, forward, use_reentrant=False))
    parts = [forward(part) for (part,) in split_into_chunks(chunk, x)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def retry_with_smaller_chunk(network: Chunked, images: int, work: Callable[[], T]) -> T:
    """Run a function, and after every out-of-memory error run it again with half the network's chunk and a warning.

    Args:
        network: Network with the ``chunk`` to halve.
        images: Largest number of images that the function processes at once.
        work: Function that can be run again from its beginning.

    Returns:
        The result of the function.

    Raises:
        torch.OutOfMemoryError: One image does not fit, or the network cannot be cut.
    """
    while True:
        try:
            return work()
        except torch.OutOfMemoryError:
            chunk = min(network.chunk or 1, images)
            if chunk == 1:
                raise
        network.chunk = chunk // 2  # outside of the handler, which keeps the failed work's tensors alive
        warnings.warn(f"out of GPU memory: going on with {chunk // 2} images at a time, not {chunk}", stacklevel=2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
