"""Measure what an (epsilon, delta) guarantee costs: DM from noisy signal banks, ten images a class.

    python benchmarks/guarantee.py --root ../shared/data      # writes benchmarks/results/guarantee.csv
    python benchmarks/guarantee.py --only pneumoniamnist
    python benchmarks/guarantee.py --quick                    # scikit-learn's digits, as a test

For each data set, noisy banks with epsilon 8, 4, 2 and 1 (unit: one image; class counts declared public) and a bank
without noise of the same draws, clip and constants; DM from noise on each of them; DM with new networks and real images
in every step, from noise and from herding picks; and as many random real images. Nothing is selected: every set is that
of the last step. The CSV holds sigma and sampling rate of the smallest and of the largest class.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from script import folder, listed, options

from lightning_distill import DigitsDataModule, DMDistiller, MedMNISTDataModule, MNISTDataModule, NpzDataModule
from lightning_distill.bench.measure import silence_lightning
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet, StudentEvaluator, TrainedStudents, get_protocol
from lightning_distill.evaluation.baselines import coreset_sampler
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval
from lightning_distill.signals import SignalBank
from lightning_distill.signals.guarantee import compute_noisy_bank

METRICS = ("acc", "balanced_acc", "auroc")
NETWORK, IPC, STUDENTS, DRAWS, STEPS, LR, SAMPLE = "convnet_w32", 10, 3, 100, 500, 4.0, 500
EPSILONS, DELTA, CLIP = (8.0, 4.0, 2.0, 1.0), 1e-5, 1.0
MEAN, STD = 127.5, 63.75
NAMES = ("pneumoniamnist", "mednist6", "mnist", "fashionmnist")
COLUMNS = (
    "source", "epsilon", "delta", "unit", "clip", "sigma", "rate", "draws", "network", "protocol", "students", "steps",
    "images", *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_ci95_low", "_ci95_high")),
    "bank_seconds", "set_seconds",
)  # fmt: skip


def open_data(name: str, root: Path, fashion: Path | None) -> ArrayDataModule:
    """Return the data module of a name; DM with new networks takes 128 real images of a class in a step."""
    medmnist = root / "medmnist"
    if name == "pneumoniamnist":
        return MedMNISTDataModule(
            name, root=str(medmnist), download=False, source="reassembled, official pixels", real_per_class=128
        )
    if name == "mednist6":
        path = str(medmnist / "mednist6_28.npz")
        options: dict[str, Any] = {"augmentation": "dsa_noflip", "source": "MedNIST, own split", "real_per_class": 128}
        return NpzDataModule(path, name="mednist6", **options)
    if name == "fashionmnist":
        return MNISTDataModule("fashionmnist", root=str(fashion or root), real_per_class=128)
    return MNISTDataModule(root=str(root), real_per_class=128)


def distil(data: ArrayDataModule | None, steps: int, **options: Any) -> tuple[LabeledSet, float]:
    """Return a set of DM and the seconds it took."""
    began = time.perf_counter()
    distiller = DMDistiller(ipc=IPC, lr=LR, formation=1, compile="off", **options)
    with silence_lightning():
        quiet_trainer(steps, "32-true", "cpu", []).fit(distiller, datamodule=data)
    synthetic = distiller.synthetic
    return LabeledSet(synthetic.pixels(), synthetic.labels, synthetic.spec), time.perf_counter() - began


def sets(
    data: ArrayDataModule, network: str, draws: int, steps: int
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield the name of each kind of training data, and a function that makes it with its cells."""
    channels = data.spec.shape[0]
    shared: dict[str, Any] = {
        "draws": draws, "network": network, "mean": [MEAN] * channels, "std": [STD] * channels, "compile": "off",
    }  # fmt: skip

    def noisy(epsilon: float) -> dict[str, Any]:
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # small classes are shown in the columns sigma and rate
            bank = compute_noisy_bank(data, epsilon=epsilon, delta=DELTA, clip=CLIP, sample_size=SAMPLE, **shared)
        seconds, terms = time.perf_counter() - began, bank.about["guarantee"]
        made, set_seconds = distil(None, steps, signals=[bank])
        ends = {name: f"{min(terms[name]):.3g}-{max(terms[name]):.3g}" for name in ("sigma", "rate")}
        return {
            "set": made, "epsilon": f"{terms['epsilon']:.3f}", "delta": DELTA, "unit": "image", "clip": CLIP,
            "draws": draws, "steps": steps, "bank_seconds": seconds, "set_seconds": set_seconds, **ends,
        }  # fmt: skip

    def exact() -> dict[str, Any]:
        began = time.perf_counter()
        (bank,) = SignalBank.compute(data, **shared)
        seconds = time.perf_counter() - began
        made, set_seconds = distil(None, steps, signals=[bank])
        return {"set": made, "draws": draws, "steps": steps, "bank_seconds": seconds, "set_seconds": set_seconds}

    def fresh(init: str) -> dict[str, Any]:
        made, seconds = distil(data, steps, network=network, init=init, pool=0)
        return {"set": made, "steps": steps, "set_seconds": seconds}

    for epsilon in EPSILONS:
        yield f"epsilon {epsilon:g}", partial(noisy, epsilon)
    yield "bank without noise", exact
    yield "DM, from noise", partial(fresh, "noise")
    yield "DM, from herding", partial(fresh, "herding")
    yield "random images", dict


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--root", type=Path, default=Path("../shared/data"), help="folder of medmnist/ and of idx files"
    )
    parser.add_argument("--fashion", type=Path, help="folder of FashionMNIST's idx files; default: root")
    parser.add_argument("--only", default=",".join(NAMES), help=f"comma-separated data sets: {','.join(NAMES)}")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    names = ["digits"] if given.quick else listed(parser, given.only, NAMES)
    network, protocol, draws, steps = (
        ("convnet_w16", get_protocol("tiny"), 2, 2) if given.quick else (NETWORK, get_protocol("quick"), DRAWS, STEPS)
    )
    keys = ("dataset", "learned", "split")
    book = ResumableCsv(folder(given) / "guarantee.csv", keys, COLUMNS, overwrite=given.again)
    for name in names:
        data = DigitsDataModule(real_per_class=64) if given.quick else open_data(name, given.root, given.fashion)
        data.setup()
        for learned, make in sets(data, network, draws, steps):
            if not book.is_missing(name, learned, "test"):
                continue
            cells = make()
            made = cells.pop("set", None)
            pick = coreset_sampler("random", data.train_arrays(), [IPC] * data.spec.num_classes, data.spec, 0)
            draw = pick if made is None else partial(lambda made, student: made, made)
            began = time.perf_counter()
            evaluator = StudentEvaluator(protocol, students=STUDENTS, architectures=[network], compile="off")
            trained = evaluator.train(draw)
            for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
                scored = TrainedStudents(trained.students, trained.spec, device="cpu", started_at=began)
                scored = scored.update_all(loader)
                scores, predictions = scored.scores(), scored.predictions(split)
                row: dict[str, object] = {}
                for metric in METRICS:
                    interval, values = bootstrap_interval(predictions, metric), scores.values(metric)
                    numbers = (float(np.mean(values)), float(np.std(values, ddof=1)), interval.low, interval.high)
                    ends = ("", "_std", "_ci95_low", "_ci95_high")
                    row |= {f"{metric}{end}": f"{number:.5f}" for end, number in zip(ends, numbers, strict=True)}
                for key in ("bank_seconds", "set_seconds"):
                    row[key] = f"{cells[key]:.1f}" if key in cells else ""
                book.put({
                    "dataset": name, "learned": learned, "split": split, "source": data.spec.source, **{**cells, **row},
                    "network": network, "protocol": protocol.name, "students": STUDENTS, "images": len(draw(0).labels),
                    **provenance("python benchmarks/guarantee.py"),
                })  # fmt: skip
            print(f"{name}, {learned}: {100 * scores.mean('balanced_acc'):.1f} % balanced on test", flush=True)


if __name__ == "__main__":
    main()
