"""Which knob to turn, in plain words, from what was measured here."""

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
#: Less than this is no difference.
WORTH = 1.05
#: By path and name of a variant.
Results = Mapping[tuple[str, str], InterleavedTimer]


def recommend_settings(results: Results, device: str) -> list[str]:
    """What to change on this machine, the most general first.

    Args:
        results: what was measured.
        device: where, ``cpu`` or ``cuda``.
    """
    paths = dict.fromkeys(path for path, _ in results)
    return [*of_machine(device), *of_precision(results), *(line for path in paths for line in of_path(path, results))]


def of_machine(device: str) -> list[str]:
    """What is missing or lies idle."""
    lines = []
    if device == "cpu" and torch.cuda.is_available():
        lines.append("a CUDA device lies idle: use --trainer.accelerator gpu")
    if not compiler_available():
        what = "triton" if torch.cuda.is_available() else "g++"
        lines.append(f"no compiler found, everything runs eagerly: install {what} and run this again")
    if not bf16_is_native(device):
        lines.append(
            "no bf16 units: bf16 is only emulated here and was left out, stay with --trainer.precision 32-true"
        )
    threads, cores = torch.get_num_threads(), physical_cores()
    if device == "cpu" and threads != cores:
        lines.append(f"torch uses {threads} threads on {cores} physical cores: try OMP_NUM_THREADS={cores}")
    return lines


def of_precision(results: Results) -> list[str]:
    """Bfloat16 against float32, both compiled or both eager."""
    gains = {}
    for (path, name), turns in results.items():
        same = results.get((path, name.replace("bf16", "32")))
        if name.startswith("bf16") and same is not None:
            gains[path] = same.median(same.ours) / turns.median(turns.ours)
    if not gains:
        return []
    mean, each = statistics.geometric_mean(gains.values()), ", ".join(f"{p} {gain:.1f}x" for p, gain in gains.items())
    if mean >= WORTH:
        return [f"use --trainer.precision bf16-mixed: {mean:.1f}x faster than float32 here ({each})"]
    if mean <= 1 / WORTH:
        return [f"bf16 is slower on this machine ({each}): stay with --trainer.precision 32-true"]
    return [f"bf16 and float32 are equally fast on this machine ({each}): stay with --trainer.precision 32-true"]


def of_path(path: str, results: Results) -> list[str]:
    """The fastest variant of a path, and when it pays."""
    mine = {name: turns for (other, name), turns in results.items() if other == path}
    if EAGER not in mine or len(mine) < 2:
        return []
    eager, best = mine[EAGER], min(mine, key=lambda name: mine[name].median(mine[name].ours))
    before, after = eager.median(eager.ours), mine[best].median(mine[best].ours)
    if before / after < WORTH:
        return [f"{path}: nothing beats eager float32 here: {settings_for(path, EAGER)}"]
    line = f"{path}: {settings_for(path, best)}: {before / after:.1f}x faster than eager float32 here"
    extra = mine[best].warm_up - eager.warm_up
    if best.endswith("max") and extra > 0:
        steps = math.ceil(extra / (before - after))
        kind = "epochs" if path == "student" else "steps"
        line += f"; compile=max pays after {steps:,} {kind} (warm-up {mine[best].warm_up:.0f} s)"
    return [line]


def settings_for(path: str, name: str) -> str:
    """The options that make a variant: those of `fit`, or for students those of `evaluate`."""
    precision, compile = name.split("/")
    full = "bf16-mixed" if precision == "bf16" else "32-true"
    if path == "student":
        return f"evaluate --precision {full} --compile {compile}"
    return f"--trainer.precision {full} --model.compile {compile}"


def physical_cores() -> int:
    """Cores this process may use, two hyper-threads counted as one."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(topology.format(cpu)).read_text() for cpu in os.sched_getaffinity(0)})
    except OSError:
        return len(os.sched_getaffinity(0))
