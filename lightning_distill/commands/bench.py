"""``lightning-distill bench``: what a step takes on this machine, and which knob to turn."""

from __future__ import annotations

import inspect
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from lightning_distill.bench.advice import EAGER, recommend_settings
from lightning_distill.bench.cases import PATHS, Size, Variant, check_paths
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.bench.measure import Accelerator, measure_path, resolve_device
from lightning_distill.bench.results import PROVENANCE_COLUMNS, TIME_COLUMNS, provenance
from lightning_distill.functional.compile import compiler_available
from lightning_distill.networks import check_network
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.csv_rows import write_csv
from lightning_distill.utils.hardware import machine_description
from lightning_distill.utils.precision import bf16_is_native

NAMES = {
    EAGER: "eager float32", "32/max": "compiled float32", "bf16/max": "compiled bf16", "bf16/off": "eager bf16",
}  # fmt: skip
#: Their steps are short: they get all variants before the others get more than one.
LIGHT = ("dm", "student")
#: Seconds a compiled variant is expected to need before its first step, until one has been seen.
WARM_UP = 20.0
Result = dict[tuple[str, str], InterleavedTimer]


def bench(
    paths: list[str] | None = None,
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
    """Time the hot paths on noise, ours in turn with a plain implementation, and say which knob to turn.

    A step of ``dc`` and ``dsa`` includes the inner epochs of the network. What no longer fits into the time is left
    out and named.

    Args:
        paths: any of ``dm``, ``student``, ``dsa``, ``mtt``, ``dc``; default all, in this order.
        seconds: nothing new is begun that would end later.
        network: by our names or timm's.
        classes: of the noise.
        channels: of the noise.
        side: of its square images, in pixels.
        ipc: synthetic images a class.
        real_per_class: real images of a class in a step.
        inner: epochs of the network between two image steps (``dc``, ``dsa``; the papers have 50 at ipc 10).
        syn_steps: steps of the student (``mtt``; the paper has 20).
        accelerator: where to compute.
        out: CSV to write the rows to.

    Returns:
        What was measured, by path and variant.

    Raises:
        ValueError: unknown path or network.
        OSError: the folder of ``out`` cannot be written.
    """
    command = _command(locals())
    chosen, device = list(paths or PATHS), resolve_device(accelerator)
    check_paths(chosen)
    check_network(network)
    if out is not None:
        check_writable(Path(out).parent)
    size = Size(classes, channels, side, ipc, real_per_class, None, network, None, inner, syn_steps)
    console = Console()
    console.print(f"{machine_description()}: {size}")
    results, left_out = _measure_all(chosen, size, seconds, accelerator, console)
    console.print(_table(results, f"milliseconds a step on {device}; in brackets: times faster than the textbook"))
    if left_out:
        console.print(f"No time left for {', '.join(left_out)}: give more --seconds, or fewer --paths.")
    console.print("Which knob to turn:")
    for line in recommend_settings(results, device) or ["nothing to say: too little was measured"]:
        console.print(f"  {line}", highlight=False)
    if out is not None:
        made = {"size": str(size), **provenance(command)}
        rows = [{"work": path, "variant": name, **turns.row(), **made} for (path, name), turns in results.items()]
        write_csv(Path(out), ("work", "variant", *TIME_COLUMNS, "size", *PROVENANCE_COLUMNS), rows)
    return results


def _command(given: dict[str, object]) -> str:
    """What was typed, without defaults and places."""
    parts = ["lightning-distill", "bench"]
    for name, parameter in inspect.signature(bench).parameters.items():
        if name != "out" and given[name] != parameter.default:
            value = given[name]
            parts += [f"--{name}", f"[{','.join(value)}]" if isinstance(value, list) else str(value)]
    return shlex.join(parts)


def _order(paths: Sequence[str], device: str) -> list[tuple[str, Variant]]:
    """What to measure, the most telling first."""
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
    jobs, results, left_out, end = (
        _order(paths, resolve_device(accelerator)),
        Result(),
        list[str](),
        time.perf_counter() + seconds,
    )
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(jobs))
        for done, (path, variant) in enumerate(jobs):
            name, left = f"{path}, {NAMES[str(variant)]}", end - time.perf_counter()
            bar.update(task, description=name, completed=done)
            if left < _expected(path, variant, results):
                left_out.append(name)
                continue
            compiling = WARM_UP * sum(variant.compile == "max" for _, variant in jobs[done:])
            share = max(1.0, (left - compiling) / (len(jobs) - done))
            results[path, str(variant)] = measure_path(path, size, variant, 1, 10, share, accelerator)
    return results, left_out


def _expected(path: str, variant: Variant, results: Result) -> float:
    """Seconds for a warm-up and one pair, from what was seen of this path and of this variant."""
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
    variants = [name for name in NAMES if any(name == found for _, found in results)]
    table = Table(title=title)
    for column in ("path", "textbook", *(f"ours, {NAMES[name]}" for name in variants), "warm-up s"):
        table.add_column(column, justify="left" if column == "path" else "right")
    for path in dict.fromkeys(path for path, _ in results):
        mine = {name: results[path, name] for name in variants if (path, name) in results}
        textbook = min(turns.median(turns.reference) for turns in mine.values())
        cells = [f"{1000 * t.median(t.ours):,.0f} ({t.ratio:.1f}x)" if (t := mine.get(n)) else "-" for n in variants]
        warm = " / ".join(f"{mine[name].warm_up:.0f}" if name in mine else "-" for name in variants)
        table.add_row(path, f"{1000 * textbook:,.0f}", *cells, warm)
    return table
