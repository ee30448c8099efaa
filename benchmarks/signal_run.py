"""Compare whole runs of DM: the textbook implementation, new networks every step, and a pool of networks.

    python benchmarks/signal_run.py                   # writes benchmarks/results/signal_run.csv
    python benchmarks/signal_run.py --quick           # tiny sizes, as a test

FashionMNIST where its files exist, else MNIST, else digits: 28 px, ten images a class from random real images, 256 real
images of each class in a step, lr 1, the paper's settings. All start from the same images, run one after the other in
one process, and take the same number of steps; the seconds are those of the whole distillation, with the filling of the
pool and compilation. The pool also runs in bfloat16. The set of the last step is scored on the validation split by
float32 students of one protocol.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from script import folder, options

from lightning_distill.bench.accuracy import distill, distill_reference, real_data, score_set
from lightning_distill.bench.cases import BenchmarkCase, Size, Variant
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.evaluation import LabeledSet
from lightning_distill.utils.hardware import resolve_device

STUDENTS, EPOCHS, STEPS, POOL, NETWORK = 5, 300, 1000, 30, "convnet_w32"
COLUMNS = ("data", "network", "steps", "acc", "acc_std", "seconds", "times_textbook")


def main(arguments: list[str] | None = None) -> None:
    given = options(__doc__).parse_args(arguments)
    network, steps, students, epochs = ("convnet_w16", 3, 2, 1) if given.quick else (NETWORK, STEPS, STUDENTS, EPOCHS)
    data = real_data(4 if given.quick else 256)
    size = Size(ipc=10, real_per_class=data.real_per_class, network=network)
    case, pool = BenchmarkCase("dm", size, data, resolve_device("auto")), 2 if given.quick else POOL
    full, half = Variant("32-true", "auto"), Variant("bf16-mixed", "auto")
    runs: dict[str, Callable[[], LabeledSet]] = {
        "textbook": partial(distill_reference, case, steps),
        "new network every step": partial(distill, case, full, steps),
        f"pool of {pool}": partial(distill, case, full, steps, pool=pool),
        f"pool of {pool}, bf16": partial(distill, case, half, steps, pool=pool),
    }
    book = ResumableCsv(folder(given) / "signal_run.csv", ("run",), COLUMNS, overwrite=True)
    first = 0.0
    for name, run in runs.items():
        began = time.perf_counter()
        made = run()
        seconds = time.perf_counter() - began
        first = first or seconds
        scores = score_set(made, data, network, epochs, students, case.device)
        book.put({
            "run": name, "data": f"{data.spec.name} ({data.spec.source})", "network": network, "steps": steps,
            "acc": f"{scores.mean('acc'):.4f}", "acc_std": f"{scores.std('acc'):.4f}", "seconds": f"{seconds:.1f}",
            "times_textbook": f"{first / seconds:.2f}", **provenance("python benchmarks/signal_run.py"),
        })  # fmt: skip
        print(f"{name}: {seconds:.0f} s, {first / seconds:.1f}x, {100 * scores.mean('acc'):.1f} % on val", flush=True)


if __name__ == "__main__":
    main()
