"""A network by name, as a function of its parameters, ready for the images of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from lightning_distill.functional.chunking import auto_chunk_size
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.network import FunctionalNetwork, count_flops
from lightning_distill.networks.factory import create_network
from lightning_distill.spec import DataSpec


def build_functional_network(
    name: str,
    spec: DataSpec,
    passes: float,
    device: torch.device,
    compile: CompileMode,
    sizes: Sequence[int],
    chunk: int | None = None,
) -> FunctionalNetwork:
    """A `FunctionalNetwork` that is compiled where that pays, and cut into chunks that fit.

    Args:
        name: by our names or timm's.
        spec: channels, image size, classes and task.
        passes: of one image forward in the whole run; a backward counts as two.
        device: where it will run.
        compile: see `FunctionalNetwork`.
        sizes: batch sizes to come.
        chunk: images at a time; ``None`` takes `functional.chunking.auto_chunk_size`.

    Raises:
        ValueError: unknown name, or images that are too small for it.
    """
    build = partial(create_network, name, spec.shape[0], spec.num_classes, spec.shape[1:])
    chunk = chunk or auto_chunk_size(build, spec.shape, device)
    flops = passes * count_flops(build, spec.shape)
    return FunctionalNetwork(build, spec.task, flops=flops, compile=compile, sizes=sizes, chunk=chunk)
