"""``lightning-distill bench``: time the hot paths on this machine and recommend settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from lightning_distill.bench.advice import EAGER, recommend_settings
from lightning_distill.bench.cases import PATHS, Size, Variant, check_paths
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.bench.measure import Accelerator, measure_path
from lightning_distill.bench.results import PROVENANCE_COLUMNS, TIME_COLUMNS, provenance
from lightning_distill.commands._options import command_line
from lightning_distill.functional.compile import compiler_available
from lightning_distill.networks import check_network
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.csv_rows import write_csv
from lightning_distill.utils.hardware import machine_description, resolve_device
from lightning_distill.utils.precision import bf16_is_native

NAMES = {
    EAGER: "eager float32", "32/max": "compiled float32", "bf16/max": "compiled bf16", "bf16/off": "eager bf16",
}  # fmt: skip
#: Paths with short steps; all their variants are measured before further variants of the other paths.
LIGHT = ("dm", "student")
#: Expected warm-up of a compiled variant in seconds, before the first one was measured.
WARM_UP = 20.0
Result = dict[tuple[str, str], InterleavedTimer]


def bench(
    paths: list[str] | None = None,
    *,
    seconds: float = 240.0,
    network: str = "convnet",
    classes: int = 10,
    channels: int = 3,
    side: int = 32,
    ipc: int = 10,
    real_per_class: int = 256,
    inner: int = 5,
    syn_steps: int = 5,
    accelerator: Accelerator = "auto",
    out: str | None = None,
) -> Result:
    """Time the hot paths on noise images, interleaved with a reference implementation, and recommend settings.

    A step of ``dc`` and ``dsa`` includes the inner epochs of the network. Variants that do not fit into the time budget
    are skipped and listed.

    Args:
        paths: Any of ``dm``, ``student``, ``dsa``, ``mtt``, ``dc``. Default: all, in this order.
        seconds: Time budget in seconds. A variant that would exceed it is not started.
        network: Name of the network, of this package or of timm.
        classes: Number of classes of the noise images.
        channels: Number of channels of the noise images.
        side: Height and width of the noise images in pixels.
        ipc: Synthetic images per class.
        real_per_class: Real images of each class in a step.
        inner: Epochs of the network between two image steps of ``dc`` and ``dsa``; the papers use 50 at ipc 10.
        syn_steps: Steps of the student in a step of ``mtt``; the paper uses 20.
        accelerator: Device: ``cpu``, ``gpu``, or ``auto`` for CUDA where it is available.
        out: CSV file that the rows are written to.

    Returns:
        Timings by path and variant.

    Raises:
        ValueError: A path or the network is unknown.
        OSError: The folder of ``out`` cannot be written.
    """
    command = command_line(bench, locals(), without=("out",))
    selected, device = list(paths or PATHS), resolve_device(accelerator)
    check_paths(selected)
    check_network(network)
    if out is not None:
        check_writable(Path(out).parent)
    size = Size(classes, channels, side, ipc, real_per_class, None, network, None, inner, syn_steps)
    console = Console()
    console.print(f"{machine_description()}: {size}")
    results, left_out = _measure_all(selected, size, seconds, accelerator, console)
    console.print(_table(results, f"milliseconds a step on {device}; in brackets: speed-up over the reference"))
    if left_out:
        console.print(f"No time left for {', '.join(left_out)}: give more --seconds, or fewer --paths.")
    console.print("Recommended settings:")
    for line in recommend_settings(results, device) or ["no recommendation: too few variants were measured"]:
        console.print(f"  {line}", highlight=False)
    if out is not None:
        made = {"size": str(size), **provenance(command)}
        rows = [{"work": path, "variant": name, **turns.row(), **made} for (path, name), turns in results.items()]
        write_csv(Path(out), ("work", "variant", *TIME_COLUMNS, "size", *PROVENANCE_COLUMNS), rows)
    return results


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


def _measure_all(
    paths: Sequence[str], size: Size, seconds: float, accelerator: Accelerator, console: Console
) -> tuple[Result, list[str]]:
    cases, results, left_out, end = (
        _order(paths, resolve_device(accelerator)),
        Result(),
        list[str](),
        time.perf_counter() + seconds,
    )
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(cases))
        for done, (path, variant) in enumerate(cases):
            name, left = f"{path}, {NAMES[str(variant)]}", end - time.perf_counter()
            bar.update(task, description=name, completed=done)
            if left < _expected(path, variant, results):
                left_out.append(name)
                continue
            compiling = WARM_UP * sum(variant.compile == "max" for _, variant in cases[done:])
            share = max(1.0, (left - compiling) / (len(cases) - done))
            results[path, str(variant)] = measure_path(path, size, variant, 1, 10, share, accelerator)
    return results, left_out


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


def _table(results: Result, title: str) -> Table:
    variants = [name for name in NAMES if any(name == measured for _, measured in results)]
    table = Table(title=title)
    for column in ("path", "reference", *(f"ours, {NAMES[name]}" for name in variants), "warm-up s"):
        table.add_column(column, justify="left" if column == "path" else "right")
    for path in dict.fromkeys(path for path, _ in results):
        timers = {name: results[path, name] for name in variants if (path, name) in results}
        reference = min(timer.median(timer.reference) for timer in timers.values())
        cells = [f"{1000 * t.median(t.ours):,.0f} ({t.ratio:.1f}x)" if (t := timers.get(n)) else "-" for n in variants]
        warm = " / ".join(f"{timers[name].warm_up:.0f}" if name in timers else "-" for name in variants)
        table.add_row(path, f"{1000 * reference:,.0f}", *cells, warm)
    return table
