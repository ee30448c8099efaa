"""Measure the speedup over a textbook implementation, alternately in one process.

    python benchmarks/speed.py                          # writes benchmarks/results/speed.csv
    python benchmarks/speed.py --only dm,mtt            # any of the paths
    python benchmarks/speed.py --authors FOLDER         # a checkout of VICO-UoE/DatasetCondensation as third side
    python benchmarks/speed.py --quick                  # tiny sizes, as a test

A row made by this version of the package on this machine is kept unless ``--again``. Ten classes of 3x32x32 noise, 10
synthetic and 256 real images per class, ConvNet depth 3 width 128; DC and DSA with 50 inner epochs, MTT with 20 student
steps; a step of a student is an epoch. In rows named "(authors)" the columns of the textbook hold the authors' code.
Rows of bf16 are left out where it is emulated. ``agreement.py`` compares the accuracy of both implementations.
"""

from __future__ import annotations

from functools import partial

import authors
import torch._inductor.config
from script import folder, listed, options

from lightning_distill.bench.cases import PATHS, ReferenceStep, Size, Variant, make_reference
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.bench.measure import measure_path
from lightning_distill.bench.results import TIME_COLUMNS, ResumableCsv, provenance
from lightning_distill.utils.hardware import machine_description, resolve_device
from lightning_distill.utils.precision import bf16_is_native

EAGER, FLOAT, BFLOAT = Variant(), Variant("32-true", "max"), Variant("bf16-mixed", "max")
VARIANTS = {
    "dm": [FLOAT, BFLOAT, EAGER], "dm_pool": [FLOAT, BFLOAT], "dc": [BFLOAT, FLOAT], "dsa": [BFLOAT, FLOAT],
    "student": [FLOAT, BFLOAT], "mtt": [BFLOAT, FLOAT],
}  # fmt: skip
#: Target speedups by work and variant. The column ``met`` is yes or no.
TARGETS: dict[tuple[str, str], float] = {
    ("dm", "bf16/max"): 5.0,
    ("dm", "32/max"): 1.8,
    ("dm_pool", "bf16/max"): 45.0,
    ("dm_pool", "32/max"): 10.0,
    ("dc", "bf16/max"): 3.0,
    ("dsa", "bf16/max"): 3.0,
    ("student", "bf16/max"): 4.0,
    ("mtt", "bf16/max"): 2.0,
}
PAIRS = {"dm": 5, "dm_pool": 5, "dc": 2, "dsa": 2, "student": 20, "mtt": 2}
TINY = Size(2, 1, 8, 2, 4, None, "convnet_w16", 2, 1, 2)


def row_of(work: str, variant: Variant, size: Size, pairs: int, rival: ReferenceStep) -> dict[str, object]:
    """Time one path and a reference alternately, and return the row."""
    turns: InterleavedTimer = measure_path(work, size, variant, warmup=1, pairs=pairs, reference=rival)
    print(f"{work} {variant}: {turns.median(turns.ours):.3f} s, {turns.ratio:.2f}x", flush=True)
    row: dict[str, object] = {"variant": variant, **turns.row()}
    target = TARGETS.get((work, str(variant)))
    return row if target is None else {**row, "target": target, "met": "yes" if turns.ratio >= target else "no"}


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--only", default=",".join(VARIANTS), help=f"comma-separated paths: {', '.join(VARIANTS)}")
    parser.add_argument("--authors", metavar="FOLDER", help="a checkout of VICO-UoE/DatasetCondensation")
    given = parser.parse_args(arguments)
    works = listed(parser, given.only, PATHS)
    theirs = partial(authors.Authors, authors.load(given.authors)) if given.authors else None
    size, pairs = (TINY, dict.fromkeys(PATHS, 1)) if given.quick else (Size(), PAIRS)
    made = provenance(
        "python benchmarks/speed.py" + " --quick" * given.quick + " --authors FOLDER" * bool(given.authors)
    )
    columns = (*TIME_COLUMNS[:7], "target", "met", *TIME_COLUMNS[7:])
    book = ResumableCsv(folder(given) / "speed.csv", ("work", "variant", "machine"), columns, overwrite=given.again)
    native = bf16_is_native(resolve_device("auto"))
    with torch._inductor.config.patch(force_disable_caches=True):
        for work in works:
            for variant in VARIANTS[work]:
                if not native and variant.precision == "bf16-mixed":
                    print(f"{work} {variant}: left out, bf16 is only emulated here", flush=True)
                elif book.is_missing(work, variant, machine_description()):
                    book.put({"work": work, **row_of(work, variant, size, pairs[work], make_reference), **made})
            best, name = BFLOAT if native else FLOAT, f"{work} (authors)"
            if theirs is not None and work in authors.PATHS and book.is_missing(name, best, machine_description()):
                book.put({"work": name, **row_of(work, best, size, pairs[work], theirs), **made})


if __name__ == "__main__":
    main()
