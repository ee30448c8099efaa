"""Compare additions to trajectory matching from the medical literature, at equal numbers of image steps.

    python benchmarks/trajectories.py --root ../shared/data/medmnist
    python benchmarks/trajectories.py --root ... --only 'breastmnist-*'     # data-method-lr, as a pattern
    python benchmarks/trajectories.py --quick                               # scikit-learn's digits, as a test

``mtt`` is trajectory matching. ``window`` draws the start epochs from a window that grows over the run (PTM; its
removal of overlapping images is not tried: the paper's code is not public). ``shape`` adds the distance between the
angles of the student's and the expert's path (HoP-TM). ``easy`` matches the parameters with small errors first
(HoP-TM; the share of parameters grows linearly here instead of a threshold by an absolute error). ``hop_tm`` has all
three. Ten images per class with 2 x 2 sub-images from herding, two experts of twelve epochs, 100 steps with ten student
steps each, ConvNet of width 32, three students of the protocol ``quick`` with hard labels, validation split, one seed.
The last step counts. The learning rate of the images is that of `RATES` which is best for ``mtt``; the others use it.
"""

from __future__ import annotations

import itertools
import logging
import time
import warnings
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import torch
import torch.nn.functional as F
from script import HERE, folder, options
from torch import Tensor

from lightning_distill import DigitsDataModule, MedMNISTDataModule, MTTDistiller
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.mtt.inner_loop import StudentTraining
from lightning_distill.distillers.mtt.train_experts import train_experts
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet, StudentEvaluator
from lightning_distill.functional.unroll import sgd_path

KEYS = ("dataset", "method", "lr", "seed")
SCORES = ("acc", "balanced_acc")
COLUMNS = (
    "source", "ipc", "formation", "network", "protocol", "students", "split", "steps", "fit_seconds",
    *(f"{metric}{end}" for metric in SCORES for end in ("", "_std")),
)  # fmt: skip
SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "dermamnist": "lesion-disjoint split, not the official file",
}
RATES = (10.0, 100.0, 1000.0)
METHODS = ("mtt", "window", "shape", "easy", "hop_tm")
#: Factor of the shape term, as in HoP-TM.
SHAPE = 0.5
#: Share of the parameters that are matched in the first step, and the share of the run after which all are.
FIRST, ALL_AFTER = 0.3, 0.5


def angles(points: Sequence[Tensor]) -> Tensor:
    """Return the cosine of the angle at point i between the directions to points j and k, ``(n, n, n)``.

    A direction of a point to itself is 0, and so are its cosines.

    >>> corner = [torch.tensor(p) for p in ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0])]
    >>> [round(float(angles(corner)[at]), 4) + 0 for at in ((0, 1, 2), (1, 0, 2), (0, 1, 1), (0, 0, 1))]
    [0.0, 0.7071, 1.0, 0.0]
    """
    stacked = torch.stack(list(points))
    directions = F.normalize(stacked[None] - stacked[:, None], dim=2)
    return directions @ directions.transpose(1, 2)


def shape_distance(student: Sequence[Tensor], expert: Sequence[Tensor]) -> Tensor:
    """Return the mean smooth L1 distance between the angles of two paths (HoP-TM, arXiv 2509.24177)."""
    return F.smooth_l1_loss(angles(student), angles(expert))


def flat(weights: Sequence[Tensor]) -> Tensor:
    """Return all weights in one vector."""
    return torch.cat([w.reshape(-1) for w in weights])


class PathDistiller(MTTDistiller):
    """Trajectory matching of the shape of the path, and of the easy parameters first.

    Args:
        shape: Factor of the shape term.
        easy_steps: Steps after which all parameters are matched; 0 matches all from the first step.
        options: Arguments of `MTTDistiller`.
    """

    def __init__(self, *, shape: float = SHAPE, easy_steps: int = 0, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.shape, self.easy_steps = shape, easy_steps
        self._easy: Tensor | None = None

    def segment_loss(self, expert: int, epoch: int, training: StudentTraining) -> Tensor:
        """Return the distance of the chosen parameters and of the shapes."""
        epochs = epoch, epoch + self.expert_epochs // 2, epoch + self.expert_epochs
        start, middle, target = (flat(self.expert_weights(expert, t)) for t in epochs)
        assert self.synthetic.lr is not None
        path = sgd_path(training, self.expert_weights(expert, epoch), self.synthetic.lr, self.syn_steps)
        half, end = flat(path[self.syn_steps // 2]), flat(path[-1])
        easy = self._easy_parameters((end - target).square().detach())
        distance = (end - target).square()[easy].sum() / (start - target).square()[easy].sum()
        return distance + self.shape * shape_distance((start, half, end), (start, middle, target))

    def _easy_parameters(self, errors: Tensor) -> Tensor:
        """Return a mask of the parameters to match; one that was matched once stays."""
        share = min(1.0, FIRST + (1 - FIRST) * self.global_step / self.easy_steps) if self.easy_steps else 1.0
        now = errors <= errors.kthvalue(max(1, int(share * len(errors)))).values
        self._easy = now if self._easy is None else self._easy | now
        return self._easy


def make(method: str, steps: int, **options: object) -> MTTDistiller:
    """Return the distiller of a method."""
    if method in ("window", "hop_tm"):
        options |= {"max_start_initial": 2, "grow_steps": steps}
    if method in ("mtt", "window"):
        return MTTDistiller(**options)  # type: ignore[arg-type]
    shape = 0.0 if method == "easy" else SHAPE
    return PathDistiller(shape=shape, easy_steps=0 if method == "shape" else round(ALL_AFTER * steps), **options)


def score(data: ArrayDataModule, learned: LabeledSet, network: str, protocol: str, students: int) -> dict[str, str]:
    """Train students on a set and return their scores on the validation split."""
    evaluator = StudentEvaluator(protocol, students=students, architectures=[network])
    scores = evaluator.train(lambda student: learned).update_all(data.val_dataloader()).scores()
    cells = {metric: scores.mean(metric) for metric in SCORES}
    cells |= {f"{metric}_std": scores.std(metric) for metric in SCORES}
    return {name: f"{value:.5f}" for name, value in cells.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--only", default="*", help="patterns of runs, data-method-lr, separated by commas")
    parser.add_argument("--root", type=Path, help="folder of the MedMNIST files")
    given = parser.parse_args(arguments)
    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(1)
    names = ("digits",) if given.quick else tuple(SOURCES)
    network, protocol, students = ("convnet_w16", "tiny", 2) if given.quick else ("convnet_w32", "quick", 3)
    epochs, start, steps, inner = (5, 3, 2, 2) if given.quick else (12, 8, 100, 10)
    formation, rates = (1, RATES[:1]) if given.quick else (2, RATES)
    csv = ResumableCsv(folder(given) / "trajectories.csv", KEYS, COLUMNS, given.again)
    place = (folder(given) if given.quick else HERE.parent / "runs") / "trajectories"
    for name, method in itertools.product(names, METHODS):
        known = [row for row in csv.rows if (row["dataset"], row["method"]) == (name, "mtt")]
        best = [float(max(known, key=lambda row: float(row["balanced_acc"]))["lr"])] if known else []
        for lr in rates if method == "mtt" else best:
            run = f"{name}-{method}-{lr:g}"
            if not any(fnmatch(run, p) for p in given.only.split(",")) or not csv.is_missing(name, method, lr, 0):
                continue
            print(run, flush=True)
            data = (
                DigitsDataModule(real_per_class=1)
                if given.quick
                else MedMNISTDataModule(
                    name, root=str(given.root), download=False, source=SOURCES[name], real_per_class=1
                )
            )
            data.prepare_data()
            data.setup()
            train_experts(data, place / name, count=2, epochs=epochs, network=network, accelerator="cpu")
            distiller = make(
                method, steps, ipc=10, lr=lr, init="herding", formation=formation, network=network, compile="off",
                experts=str(place / name), max_start=start, expert_epochs=epochs - start - 1, syn_steps=inner,
            )  # fmt: skip
            began = time.perf_counter()
            quiet_trainer(steps, "32-true", "cpu", []).fit(distiller, datamodule=data)
            seconds = time.perf_counter() - began
            cells = score(data, exported_set(distiller.synthetic), network, protocol, students)
            about = {
                "source": data.spec.source, "ipc": 10, "formation": formation, "network": network,
                "protocol": protocol, "students": students, "split": "val", "steps": steps,
                "fit_seconds": f"{seconds:.1f}",
            }  # fmt: skip
            row = dict(zip(KEYS, (name, method, lr, 0), strict=True)) | about | cells
            csv.put(row | provenance("python benchmarks/trajectories.py"))
            print(f"  {100 * float(cells['balanced_acc']):.1f} balanced, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
