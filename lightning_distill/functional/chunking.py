"""How many images go through a network at once: what a processor's cache or a GPU's memory holds.

More images at once are not faster on a CPU. Past the cache every layer waits for memory, and past the largest block
that the C library recycles every layer's output is new memory from the system, page by page.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

#: On a CPU the largest output of a layer, in float32, may have as many bytes. Measured: 32 images of the ConvNet of
#: width 128 at 32 px, twice as fast as 256 (benchmarks/README.md).
CPU_LAYER_BYTES = 2**24
#: Beside the outputs themselves: their gradients, copies in another dtype, a convolution's workspace.
CUDA_MEMORY_FRACTION = 0.1
#: What layers keep for a backward may have as many bytes on a CPU, on CUDA as many chunks: `max_images_without_checkpointing`.
CPU_BACKWARD_BYTES, CUDA_BACKWARD_CHUNKS = 2**29, 4

T = TypeVar("T")


class Chunked(Protocol):
    """A network that takes ``chunk`` images at a time; None: it cannot be cut."""

    chunk: int | None


def auto_chunk_size(build: Callable[[], nn.Module], shape: tuple[int, int, int], device: torch.device) -> int:
    """The automatic choice for images ``(C, H, W)``.

    Args:
        build: makes the network.
        shape: of an image.
        device: where it will run; on CUDA the memory that is free now counts.
    """
    sizes = layer_bytes(build, shape)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, int(free * CUDA_MEMORY_FRACTION) // sum(sizes))
    return max(1, CPU_LAYER_BYTES // max(sizes))


def max_images_without_checkpointing(
    build: Callable[[], nn.Module], shape: tuple[int, int, int], chunk: int, device: torch.device
) -> int:
    """How many images a backward may find as the forward left them; of more, each chunk goes forward once more.

    What layers keep of the synthetic images of a class grows with ipc and with the size of the images: ten images of
    512 px are 6 GB in the ConvNet of width 128. A chunk that goes forward again keeps its own only.

    Args: see `auto_chunk_size`.
    """
    if device.type == "cuda":
        return CUDA_BACKWARD_CHUNKS * chunk
    return max(chunk, CPU_BACKWARD_BYTES // sum(layer_bytes(build, shape)))


def layer_bytes(build: Callable[[], nn.Module], shape: tuple[int, int, int]) -> list[int]:
    """Bytes of every layer's output for one image ``(C, H, W)``, in float32."""
    sizes: list[int] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel() * 4)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = build().eval()
        for module in network.modules():
            if not list(module.children()):
                module.register_forward_hook(note)
        network(torch.zeros(1, *shape))
    return sizes


def even_chunk_size(images: int, chunk: int | None) -> int:
    """The size of the pieces, at most ``chunk`` and as equal as can be, that ``images`` are cut into.

    >>> even(256, 32), even(100, 32), even(10, 32), even(33, None)
    (32, 25, 10, 33)
    """
    return images if chunk is None or images <= chunk else -(-images // -(-images // chunk))


def retry_with_smaller_chunk(network: Chunked, images: int, work: Callable[[], T]) -> T:
    """Do the work; where a GPU's memory does not suffice, halve the network's chunk, say so, and do it again.

    Args:
        network: whose ``chunk`` is halved.
        images: the most that the work takes at once.
        work: may be done again from its beginning.

    Raises:
        torch.OutOfMemoryError: one image is too much already, or the network cannot be cut.
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
