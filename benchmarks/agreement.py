"""Compare the accuracy of our implementation and the textbook implementation after the same steps.

    python benchmarks/agreement.py                      # writes benchmarks/results/agreement.csv
    python benchmarks/agreement.py --only dm,student    # any of dm, dc, dsa, student, mtt
    python benchmarks/agreement.py --quick              # tiny sizes, as a test

The data are FashionMNIST if its files are found, else MNIST, else digits; scores are on the validation split. Both
implementations distil the same number of steps from the same images, and the same students are trained on the results.
For ``student``, each implementation trains its own students on one random subset. One row per implementation; a row of
this version of the package is kept unless ``--again``. ``points_off`` is the difference to the textbook in points, with
the half width of its 95 % interval (Welch). Where bf16 is emulated, use ``--sides 32/max``.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from scipy import stats
from script import folder, listed, options

from lightning_distill.bench.accuracy import (
    distill,
    distill_reference,
    real_data,
    score_reference_students,
    score_set,
)
from lightning_distill.bench.cases import PATHS as ALL_PATHS
from lightning_distill.bench.cases import BenchmarkCase, Size, Variant
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.commands.experts import experts
from lightning_distill.evaluation import Scores, coreset_sampler
from lightning_distill.utils.hardware import resolve_device

SIDES = {"textbook": None, "32/max": Variant("32-true", "max"), "bf16/max": Variant("bf16-mixed", "max")}


#: Paths with a reference that computes the same; stored signals are compared in `signal_pool.yaml`.
PATHS = tuple(path for path in ALL_PATHS if path != "dm_pool")


@dataclass(frozen=True)
class Scale:
    """Sizes of distillation and training. The defaults are those of the published rows."""

    network: str = "convnet_w32"
    ipc: int = 10
    real_per_class: int = 256
    steps: dict[str, int] = field(default_factory=lambda: {"dm": 50, "dc": 5, "dsa": 5, "mtt": 5})
    expert_epochs: int = 2
    epochs: int = 100
    students: int = 5


QUICK = Scale("convnet_w16", 2, 4, dict.fromkeys(PATHS, 1), 2, 1, 2)


class Trial:
    """One path on real data, with either implementation.

    Args:
        work: Name of the path, one of `PATHS`.
        scale: Sizes of distillation and training.
        walks: Folder for expert trajectories, empty or with experts of the same scale.
    """

    def __init__(self, work: str, scale: Scale, walks: str) -> None:
        self.scale, device = scale, resolve_device("auto")
        self.data = real_data(scale.real_per_class)
        size = Size(ipc=scale.ipc, real_per_class=scale.real_per_class, network=scale.network)
        if work == "mtt" and not any(Path(walks).iterdir()):
            experts(self.data, walks, count=1, epochs=scale.expert_epochs, network=scale.network)
        self.job = BenchmarkCase(work, size, self.data, device, walks)

    @property
    def what(self) -> str:
        """Data, budget and split of the accuracy, for the column ``of``."""
        steps = "one random subset" if self.job.path == "student" else f"{self.scale.steps[self.job.path]} steps"
        spec, students = self.data.spec, f"{self.scale.students} students of {self.scale.epochs + 1} epochs"
        return f"{spec.name} ({spec.source}), ipc {self.scale.ipc}, {self.scale.network}, {steps}, {students}, val"

    def scores(self, variant: Variant | None) -> Scores:
        """Return the scores of the students of one implementation; ``None`` is the textbook."""
        job, scale = self.job, self.scale
        if job.path == "student":
            spec = self.data.spec
            counts = [scale.ipc] * spec.num_classes
            subset = coreset_sampler("random", self.data.train_arrays(), counts, spec, job.seed)(0)
            if variant is None:
                return score_reference_students(subset, job, scale.epochs, scale.students)
            return score_set(subset, self.data, scale.network, scale.epochs, scale.students, job.device, variant)
        steps = scale.steps[job.path]
        made = distill_reference(job, steps) if variant is None else distill(job, variant, steps)
        return score_set(made, self.data, scale.network, scale.epochs, scale.students, job.device)


def compare(ours: list[float], textbook: list[float]) -> tuple[float, float]:
    """Return the difference to the textbook in points and half the width of its 95 % interval (Welch's t)."""
    interval = stats.ttest_ind(ours, textbook, equal_var=False).confidence_interval(0.95)
    return 100 * (sum(ours) / len(ours) - sum(textbook) / len(textbook)), 50 * float(interval.high - interval.low)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--only", default=",".join(PATHS), help=f"comma-separated paths: {', '.join(PATHS)}")
    parser.add_argument(
        "--sides", default="32/max,bf16/max", help="variants of our implementation; the textbook is always run"
    )
    given = parser.parse_args(arguments)
    scale, made = (
        QUICK if given.quick else Scale(),
        provenance("python benchmarks/agreement.py" + " --quick" * given.quick),
    )
    columns = ("acc", "acc_std", "accs", "points_off", "points_off_ci95", "seconds", "of")
    book = ResumableCsv(folder(given) / "agreement.csv", ("work", "side"), columns, overwrite=given.again)
    for work in listed(parser, given.only, PATHS):
        with tempfile.TemporaryDirectory() as walks:
            for side in ("textbook", *listed(parser, given.sides, tuple(SIDES))):
                if not book.is_missing(work, side):
                    continue
                variant, began, trial = SIDES[side], time.perf_counter(), Trial(work, scale, walks)
                scores = trial.scores(variant)
                accs = scores.values("acc")
                row: dict[str, object] = {
                    "work": work, "side": side, "acc": round(scores.mean("acc"), 4),
                    "acc_std": round(scores.std("acc"), 4), "accs": " ".join(f"{acc:.4f}" for acc in accs),
                    "seconds": round(time.perf_counter() - began), "of": trial.what,
                }  # fmt: skip
                if variant is not None:
                    reference = next(r for r in book.rows if (r["work"], r["side"]) == (work, "textbook"))
                    points, half = compare(accs, [float(acc) for acc in reference["accs"].split()])
                    row |= {"points_off": round(points, 2), "points_off_ci95": round(half, 2)}
                print(work, side, *(row[name] for name in ("acc", "acc_std", "seconds")), flush=True)
                book.put({**row, **made})


if __name__ == "__main__":
    main()
