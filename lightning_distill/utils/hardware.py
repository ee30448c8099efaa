"""Description of the machine for result files, without a host name."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Literal

import torch

#: Device of students and embedding networks; ``auto`` is CUDA where it is available.
Accelerator = Literal["auto", "cpu", "cuda"]
#: Vector and matrix units that change speed, strongest first: flag in /proc/cpuinfo and printed name.
UNITS = {"amx_bf16": "AMX bf16", "avx512_bf16": "AVX512 bf16", "avx512f": "AVX512", "avx2": "AVX2"}


def machine_description() -> str:
    """Name the GPU, or the threads, processor and strongest vector units, e.g. "2 threads, AMD EPYC, AVX512 bf16".

    Cloud providers give one name to several processor generations; the vector units distinguish them.
    """
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    about = processor_info()
    model = about.get("model name") or platform.processor() or platform.machine()
    flags = about.get("flags", "").split()
    units = [name for flag, name in UNITS.items() if flag in flags][:1]
    return ", ".join([f"{torch.get_num_threads()} threads", model, *units])


def processor_info(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Read the fields of the first processor from /proc/cpuinfo; empty on other systems."""
    try:
        first = path.read_text().split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def resolve_device(accelerator: str) -> str:
    """Return the torch device type of an accelerator option.

    Args:
        accelerator: ``cpu``, ``gpu`` or ``cuda``, or ``auto`` for CUDA if available, otherwise the CPU.

    Raises:
        ValueError: The accelerator is unknown, or there is no GPU.
    """
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise ValueError(f"unknown accelerator {accelerator!r}; use one of auto, cpu, cuda")
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ValueError(f"accelerator={accelerator!r}, but PyTorch finds no GPU; use auto or cpu")
    if accelerator == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if accelerator == "gpu" else accelerator
