"""Whether bfloat16 is computed here, or only emulated."""

from __future__ import annotations

import warnings

import torch

from lightning_distill.utils.private_apis import cpu_has_bf16_kernels


def bf16_is_native(device: torch.device | str) -> bool:
    """Whether a device has kernels for bf16; without them every operation converts to float32 and back.

    Args:
        device: a CPU (oneDNN's kernels need AVX512 or Arm's bf16) or CUDA (compute capability 8.0 and above).
    """
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.backends.mkldnn.is_available() and cpu_has_bf16_kernels()


def warn_if_emulated(device: torch.device | str) -> None:
    """Warn, once a process, that bf16 was asked of a device without bf16 units: the same results, slower."""
    if not bf16_is_native(device):
        warnings.warn(
            "bf16 is emulated, many times slower: this device has no units for it. Use precision 32-true here",
            stacklevel=1,
        )
