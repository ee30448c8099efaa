"""What a timing was made on, in words that name no host."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

#: Vector and matrix units worth telling, the strongest first: the flag in /proc/cpuinfo and its name here.
UNITS = {"amx_bf16": "AMX bf16", "avx512_bf16": "AVX512 bf16", "avx512f": "AVX512", "avx2": "AVX2"}


def machine_description() -> str:
    """The GPU, or the number of threads, the processor and its strongest units: "2 threads, AMD EPYC, AVX512 bf16".

    Clouds give one name to processors of several generations; the units tell a twofold difference of speed that the
    name does not.
    """
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    about = processor_info()
    model = about.get("model name") or platform.processor() or platform.machine()
    flags = about.get("flags", "").split()
    units = [name for flag, name in UNITS.items() if flag in flags][:1]
    return ", ".join([f"{torch.get_num_threads()} threads", model, *units])


def processor_info(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """The first processor's fields as Linux tells them; empty elsewhere."""
    try:
        first = path.read_text().split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
