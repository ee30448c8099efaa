"""Seeds and isolated random streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: int | str) -> int:
    """Hash integers and names into one 63-bit seed, equal on every machine and in every process."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Run a block with its own random stream and gradients enabled; restore both afterwards, also on errors.

    Lightning runs validation under ``no_grad`` in ``fit`` and under ``inference_mode`` in ``validate`` and ``test``.
    Students are trained there, so the block disables both. Clone outside tensors inside the block before gradients
    flow through them.

    Args:
        seed: Seed of torch on the CPU and the current CUDA device inside the block.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        yield
