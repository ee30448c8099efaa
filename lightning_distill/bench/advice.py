"""Recommended settings from the measured timings."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping
from pathlib import Path

import torch

from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.functional.compile import compiler_available
from lightning_distill.utils.precision import bf16_is_native

EAGER = "32/off"
#: Smallest ratio of two timings that counts as a difference.
MIN_SPEEDUP = 1.05
#: Timers by path and variant name.
Results = Mapping[tuple[str, str], InterleavedTimer]


def recommend_settings(results: Results, device: str) -> list[str]:
    """Recommend settings for this machine, the most general first.

    Args:
        results: Timers by path and variant name.
        device: Device of the measurement, ``cpu`` or ``cuda``.

    Returns:
        One sentence per recommendation.
    """
    paths = dict.fromkeys(path for path, _ in results)
    return [
        *machine_advice(device),
        *precision_advice(results),
        *(line for path in paths for line in path_advice(path, results)),
    ]


def machine_advice(device: str) -> list[str]:
    """Report missing compilers, unused devices and thread settings."""
    lines = []
    if device == "cpu" and torch.cuda.is_available():
        lines.append("a CUDA device is unused: use --trainer.accelerator gpu")
    if not compiler_available():
        what = "triton" if torch.cuda.is_available() else "g++"
        lines.append(f"no compiler found, all code runs eagerly: install {what} and run bench again")
    if not bf16_is_native(device):
        lines.append("no native bf16: bf16 is emulated and was left out, use --trainer.precision 32-true")
    threads, cores = torch.get_num_threads(), physical_cores()
    if device == "cpu" and threads != cores:
        lines.append(f"torch uses {threads} threads on {cores} physical cores: try OMP_NUM_THREADS={cores}")
    return lines


def precision_advice(results: Results) -> list[str]:
    """Compare bfloat16 with float32, both compiled or both eager."""
    gains = {}
    for (path, name), timer in results.items():
        same = results.get((path, name.replace("bf16", "32")))
        if name.startswith("bf16") and same is not None:
            gains[path] = same.median(same.ours) / timer.median(timer.ours)
    if not gains:
        return []
    mean, each = statistics.geometric_mean(gains.values()), ", ".join(f"{p} {gain:.1f}x" for p, gain in gains.items())
    if mean >= MIN_SPEEDUP:
        return [f"use --trainer.precision bf16-mixed: {mean:.1f}x faster than float32 here ({each})"]
    if mean <= 1 / MIN_SPEEDUP:
        return [f"bf16 is slower on this machine ({each}): stay with --trainer.precision 32-true"]
    return [f"bf16 and float32 are equally fast on this machine ({each}): stay with --trainer.precision 32-true"]


def path_advice(path: str, results: Results) -> list[str]:
    """Recommend the fastest variant of a path and the run length from which it pays."""
    variants = {name: timer for (other, name), timer in results.items() if other == path}
    if EAGER not in variants or len(variants) < 2:
        return []
    eager, best = variants[EAGER], min(variants, key=lambda name: variants[name].median(variants[name].ours))
    before, after = eager.median(eager.ours), variants[best].median(variants[best].ours)
    if before / after < MIN_SPEEDUP:
        return [f"{path}: no variant is faster than eager float32: {settings_for(path, EAGER)}"]
    line = f"{path}: {settings_for(path, best)}: {before / after:.1f}x faster than eager float32 here"
    extra = variants[best].warm_up - eager.warm_up
    if best.endswith("max") and extra > 0:
        steps = math.ceil(extra / (before - after))
        kind = "epochs" if path == "student" else "steps"
        line += f"; compile=max pays after {steps:,} {kind} (warm-up {variants[best].warm_up:.0f} s)"
    return [line]


def settings_for(path: str, name: str) -> str:
    """Format the command-line options of a variant, for `fit` or, for students, `evaluate`."""
    precision, compile = name.split("/")
    full = "bf16-mixed" if precision == "bf16" else "32-true"
    if path == "student":
        return f"evaluate --precision {full} --compile {compile}"
    pool = " --model.pool 100" if path == "dm_pool" else ""
    return f"--trainer.precision {full} --model.compile {compile}{pool}"


def physical_cores() -> int:
    """Count the physical cores available to this process."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(topology.format(cpu)).read_text() for cpu in os.sched_getaffinity(0)})
    except OSError:
        return len(os.sched_getaffinity(0))
