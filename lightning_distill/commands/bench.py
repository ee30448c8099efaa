"""``lightning-distill bench``: time the hot paths on this machine and recommend settings."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from lightning_distill.bench.advice import recommend_settings
from lightning_distill.bench.cases import PATHS, Size, check_paths
from lightning_distill.bench.measure import Accelerator
from lightning_distill.bench.results import PROVENANCE_COLUMNS, TIME_COLUMNS, provenance
from lightning_distill.bench.schedule import NAMES, Result, measure_within
from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import command_line, report_to
from lightning_distill.networks import check_network
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.utils.csv_rows import write_csv
from lightning_distill.utils.hardware import machine_description, resolve_device


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
        check_file_writable(out)
    size = Size(classes, channels, side, ipc, real_per_class, None, network, None, inner, syn_steps)
    console = plain_console()
    console.print(f"{machine_description()}: {size}")
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        results, left_out = measure_within(selected, size, seconds, accelerator, report_to(bar))
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
