"""Compare sets of DC, DSA and DM after few steps with their start, by learning rate of the images.

    python benchmarks/small_budgets.py                      # all missing rows
    python benchmarks/small_budgets.py --only 'digits-dc-*' # data-method-ipc-lr-seed, as a pattern
    python benchmarks/small_budgets.py --quick              # scikit-learn's digits, as a test

One run of a method is scored after several numbers of steps, on the validation split, with the student seeds of its
start (0 steps). ``relative_step`` is the norm of the first step over the norm of an image in normalised units, a mean
over images; ``moved`` is the same for the whole way. The rates of DC and DSA in `distillers.presets` and the least
useful steps follow from the rows.
"""

from __future__ import annotations

import itertools
import logging
import time
import warnings
from fnmatch import fnmatch

import torch
from lightning import Callback, LightningModule, Trainer
from script import folder, options
from torch import Tensor

from lightning_distill import DCDistiller, DigitsDataModule, Distiller, DMDistiller, DSADistiller, MedMNISTDataModule
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, TrainedStudents

KEYS = ("dataset", "method", "ipc", "init", "formation", "lr", "seed", "steps")
COLUMNS = (
    "pixels", "network", "protocol", "students", "relative_step", "moved", "acc", "acc_std", "balanced_acc",
    "balanced_acc_std", "fit_seconds",
)  # fmt: skip
NETWORK = "convnet_w16"
METHODS: dict[str, type[Distiller]] = {"dc": DCDistiller, "dsa": DSADistiller, "dm": DMDistiller}
#: Learning rates of the images. DC and DSA: the papers' 0.1 and fractions of it.
RATES = {"dc": (0.1, 0.03, 0.01, 0.003, 0.001), "dsa": (0.1, 0.03, 0.01, 0.003, 0.001), "dm": (1.0, 4.0)}
STEPS = {"dc": (30, 60), "dsa": (30, 60), "dm": (30, 100, 300)}


class Snapshots(Callback):
    """Sets after some numbers of steps, and the length of the first step."""

    def __init__(self, steps: tuple[int, ...]) -> None:
        self.steps = steps
        self.sets: dict[int, tuple[LabeledSet, float]] = {}
        self.relative_step = 0.0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep the start."""
        assert isinstance(module, Distiller)
        self.start = module.synthetic.images.detach().clone()
        self._keep(0, module)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        """Keep the set after the numbers of steps, and the length of the first step."""
        assert isinstance(module, Distiller)
        if trainer.global_step == 1:
            self.relative_step = self._moved(module.synthetic.images)
        if trainer.global_step in self.steps:
            self._keep(trainer.global_step, module)

    def _moved(self, images: Tensor) -> float:
        norms = (images.detach() - self.start).flatten(1).norm(dim=1) / self.start.flatten(1).norm(dim=1)
        return float(norms.mean())

    def _keep(self, step: int, module: Distiller) -> None:
        synthetic = module.synthetic
        stored = LabeledSet(synthetic.pixels(), synthetic.labels.clone(), synthetic.spec, formation=synthetic.formation)
        self.sets[step] = stored, self._moved(synthetic.images)


def score(data: ArrayDataModule, distilled: LabeledSet, students: int, protocol: str) -> dict[str, str]:
    """Train students on a set and score them on the validation split."""
    evaluator = StudentEvaluator(protocol, students=students, architectures=[NETWORK])
    trained = evaluator.train(lambda student: distilled)
    scored = TrainedStudents(trained.students, spec=distilled.spec, device="cpu", started_at=time.perf_counter())
    scores = scored.update_all(data.val_dataloader()).scores()
    cells = {metric: scores.mean(metric) for metric in ("acc", "balanced_acc")}
    cells |= {f"{metric}_std": scores.std(metric) for metric in ("acc", "balanced_acc")}
    return {name: f"{value:.5f}" for name, value in cells.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--only", default="*", help="patterns of runs, data-method-ipc-lr-seed, separated by commas")
    parser.add_argument("--root", help="folder of the MedMNIST files")
    parser.add_argument("--init", default="real", help="start of the images")
    parser.add_argument("--formation", type=int, default=1, help="sub-images along each side")
    parser.add_argument("--seeds", type=int, default=2, help="number of distillation seeds")
    given = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    names = ("digits",) if given.quick else ("digits", "breastmnist", "pneumoniamnist")
    students, protocol = (1, "tiny") if given.quick else (3, "quick")
    csv = ResumableCsv(folder(given) / "small_budgets.csv", KEYS, COLUMNS, given.again)
    opened: dict[str, ArrayDataModule] = {}
    for seed, name, method, ipc in itertools.product(range(given.seeds), names, METHODS, (1, 10)):
        steps = (1, 2) if given.quick else STEPS[method]
        for lr in RATES[method]:
            run = f"{name}-{method}-{ipc}-{lr:g}-{seed}"
            key = name, method, ipc, given.init, given.formation
            wanted = any(fnmatch(run, pattern) for pattern in given.only.split(","))
            if not wanted or not csv.is_missing(*key, lr, seed, steps[-1]):
                continue
            print(run, flush=True)
            if name not in opened:
                root = {"root": given.root, "download": False} if given.root else {}
                opened[name] = (
                    DigitsDataModule(real_per_class=64)
                    if name == "digits"
                    else MedMNISTDataModule(name, **root, source=None, real_per_class=64)
                )
                opened[name].prepare_data()
                opened[name].setup()
            data, snapshots, began = opened[name], Snapshots(steps), time.perf_counter()
            trainer = quiet_trainer(steps[-1], "32-true", "cpu", [snapshots])
            options_ = {"init": given.init, "formation": given.formation, "lr": lr, "seed": seed, "network": NETWORK}
            options_ |= {"pool": 0} if method == "dm" else {}
            trainer.fit(METHODS[method](ipc=ipc, compile="off", **options_), datamodule=data)
            seconds = time.perf_counter() - began
            for step, (distilled, moved) in snapshots.sets.items():
                at = (*key, 0.0, seed, 0) if step == 0 else (*key, lr, seed, step)
                if not csv.is_missing(*at):
                    continue
                row = dict(zip(KEYS, at, strict=True)) | {
                    "pixels": distilled.pixels[0].numel(), "network": NETWORK, "protocol": protocol,
                    "students": students, "relative_step": f"{snapshots.relative_step if step else 0:.5f}",
                    "moved": f"{moved:.4f}", **score(data, distilled, students, protocol),
                    "fit_seconds": f"{seconds * step / steps[-1]:.1f}",
                    **provenance("python benchmarks/small_budgets.py"),
                }  # fmt: skip
                csv.put(row)
                print(f"  {step} steps: {row['balanced_acc']} balanced, moved {moved:.3f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
