"""A sandbox for training inside somebody else's training: nothing leaks in, nothing leaks out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive_seed(*parts: int | str) -> int:
    """Mix integers and names into one 63-bit seed: equal parts give equal seeds, on every machine and process."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Run a block with its own random stream and with gradients on, and restore both afterwards, also on errors.

    Lightning runs validation under ``no_grad`` inside ``fit`` and under ``inference_mode`` in ``validate`` and
    ``test``; students are trained there, so both are switched off inside. Tensors that come from outside must be
    cloned inside the block before a gradient may flow through them.

    Args:
        seed: seeds torch on the CPU and on the current CUDA device inside the block.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        yield
