"""Names of precisions, and detection of native bfloat16 support."""

from __future__ import annotations

import warnings
from typing import Literal

import torch

from lightning_distill.utils.private_apis import cpu_has_bf16_kernels

#: Precision of forward passes. Parameters and images stay float32.
Precision = Literal["32-true", "bf16-mixed"]


def bf16_is_native(device: torch.device | str) -> bool:
    """Return True if a device has bf16 kernels; otherwise operations convert to float32 and back.

    Args:
        device: CPU (oneDNN needs AVX512 or Arm bf16) or CUDA device (compute capability 8.0 or higher).
    """
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.backends.mkldnn.is_available() and cpu_has_bf16_kernels()


def warn_if_emulated(device: torch.device | str) -> None:
    """Warn once per process if bf16 was requested on a device that emulates it slowly."""
    if not bf16_is_native(device):
        warnings.warn(
            "this device emulates bf16, which is many times slower; use precision 32-true",
            stacklevel=1,
        )
