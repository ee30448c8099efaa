"""Time as many path and variant pairs as fit into a time budget, most informative first."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lightning_distill.bench.advice import EAGER
from lightning_distill.bench.cases import Size, Variant
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.bench.measure import Accelerator, measure_path
from lightning_distill.functional.compile import compiler_available
from lightning_distill.utils.hardware import resolve_device
from lightning_distill.utils.precision import bf16_is_native
from lightning_distill.utils.progress import ProgressReport

#: Printed name of each variant.
NAMES = {
    EAGER: "eager float32", "32/max": "compiled float32", "bf16/max": "compiled bf16", "bf16/off": "eager bf16",
}  # fmt: skip
#: Paths with short steps; all their variants are measured before further variants of the other paths.
LIGHT = ("dm", "student")
#: Expected warm-up of a compiled variant in seconds, before the first one was measured.
WARM_UP = 20.0
#: Timings by path and variant.
Result = dict[tuple[str, str], InterleavedTimer]


def measure_within(
    paths: Sequence[str], size: Size, seconds: float, accelerator: Accelerator, on_progress: ProgressReport
) -> tuple[Result, list[str]]:
    """Time paths and variants until the budget is used up.

    Args:
        paths: Measured paths.
        size: Sizes of data, set and network.
        seconds: Time budget in seconds. A variant that would exceed it is not started.
        accelerator: Device: ``cpu``, ``gpu`` or ``auto``.
        on_progress: Function called with the current path and variant, and the number of finished and of all pairs.

    Returns:
        Timings, and names of the path and variant pairs that were left out.
    """
    end = time.perf_counter() + seconds
    cases = _order(paths, resolve_device(accelerator))
    results, left_out = Result(), list[str]()
    for done, (path, variant) in enumerate(cases):
        name, left = f"{path}, {NAMES[str(variant)]}", end - time.perf_counter()
        on_progress(name, done, len(cases))
        if left < _expected(path, variant, results):
            left_out.append(name)
            continue
        compiling = WARM_UP * sum(variant.compile == "max" for _, variant in cases[done:])
        share = max(1.0, (left - compiling) / (len(cases) - done))
        results[path, str(variant)] = measure_path(path, size, variant, 1, 10, share, accelerator)
    return results, left_out


def _order(paths: Sequence[str], device: str) -> list[tuple[str, Variant]]:
    """Return the path and variant pairs to measure, most informative first."""
    variants = [Variant(), Variant("bf16-mixed", "max"), Variant("32-true", "max")]
    if not compiler_available():
        variants = [Variant(), Variant("bf16-mixed", "off")]
    if not bf16_is_native(device):  # emulated, its first step alone may take minutes
        variants = [variant for variant in variants if variant.precision == "32-true"]
    light, heavy = [p for p in paths if p in LIGHT], [p for p in paths if p not in LIGHT]
    return [
        *((path, variant) for variant in variants for path in light),
        *((path, variant) for path in heavy for variant in variants[:2]),
        *((path, variant) for path in heavy for variant in variants[2:]),
    ]


def _expected(path: str, variant: Variant, results: Result) -> float:
    """Return the expected seconds for a warm-up and one pair, from earlier timings of the path and the variant."""
    if (path, EAGER) not in results:
        return 0.0
    eager, slower, warm_up = results[path, EAGER], 1.0, WARM_UP if variant.compile == "max" else 0.0
    for (other, name), turns in results.items():
        if name == str(variant) and (other, EAGER) in results:
            reference = results[other, EAGER]
            slower = max(slower, turns.median(turns.ours) / reference.median(reference.ours))
            warm_up = max(warm_up, turns.warm_up)
    return warm_up + 2 * (eager.median(eager.reference) + slower * eager.median(eager.ours))
