"""Compare what sites can share without images: their sets joined, their signal banks merged, or all their images.

    python benchmarks/signal_sites.py --root ../shared/data     # writes benchmarks/results/signal_sites.csv
    python benchmarks/signal_sites.py --only pneumoniamnist,dermamnist
    python benchmarks/signal_sites.py --quick                   # scikit-learn's digits, as a test

The training images of a data set are cut into three sites by label skew (`class_shares` with ``balance`` 0.5;
DermaMNIST by lesions). Every site computes a bank with the same 50 draws and constants for mean and std, all in one
pass with masks. DM distils from the bank of each site, whose sets are joined, from the merged banks, from the banks of
the first two sites (the third joins later), and from the bank of all images. All start from noise, ten images a class;
a class that a site lacks is left out of its set. The merged bank also gives as many images as the joined sets have.
Beside them: the images of the largest site, all images, and as many random ones. Three seeds of the cut and the noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from script import folder, listed, options

from lightning_distill import DigitsDataModule, DMDistiller, MedMNISTDataModule, MNISTDataModule
from lightning_distill.bench.measure import silence_lightning
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.sites import class_shares, site_of
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.evaluation import LabeledSet, Protocol, StudentEvaluator, TrainedStudents, get_protocol
from lightning_distill.evaluation.baselines import class_weighted_full_data, coreset_sampler
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval
from lightning_distill.sets.merge import merge_sets
from lightning_distill.signals import SignalBank, merge_banks

SHARES, BALANCE = [0.5, 0.3, 0.2], 0.5
METRICS = ("acc", "balanced_acc", "auroc")
NETWORK, IPC, STUDENTS, DRAWS, STEPS, LR = "convnet_w16", 10, 3, 50, 500, 4.0
MEAN, STD = 127.5, 63.75
SHORT = Protocol("short", 150)
SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "dermamnist": "lesion-disjoint split, not the official file",
    "mnist": "official files",
}
COLUMNS = (
    "source", "shares", "balance", "counts", "network", "protocol", "epochs", "students", "draws", "fit_steps",
    "images", *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_ci95_low", "_ci95_high")), "seconds",
)  # fmt: skip

Draw = Callable[[int], LabeledSet]


def distil(bank: SignalBank, ipc: int, seed: int, steps: int) -> LabeledSet:
    """Distil a set from a bank, without the classes of which the bank has no image."""
    has_images = bank.counts[0] > 0
    present, absent, whole = has_images.nonzero().flatten(), (~has_images).nonzero().flatten(), bank
    if len(absent):  # their sums get a neighbour's images; the set leaves them out below
        sums, counts = bank.sums.clone(), bank.counts.clone()
        sums[:, absent], counts[:, absent] = sums[:, present[:1]], counts[:, present[:1]]
        whole = SignalBank(bank.draws, bank.spec, sums, counts, bank.fingerprints)
    distiller = DMDistiller(ipc=ipc, signals=[whole], lr=LR, formation=1, seed=seed, compile="off")  # type: ignore[list-item]
    with silence_lightning():
        quiet_trainer(steps, "32-true", "cpu", []).fit(distiller)
    kept = torch.isin(distiller.synthetic.labels, present)
    return LabeledSet(distiller.synthetic.pixels()[kept], distiller.synthetic.labels[kept], bank.spec)


def learners(
    data: ArrayDataModule, sites: list[SignalBank], pooled: SignalBank, rows: np.ndarray, seed: int, steps: int
) -> Iterator[tuple[str, Callable[[], Draw]]]:
    """Yield the name of each kind of training data, and a function that makes its sampler."""
    images, labels = data.train_arrays()
    spec, made = pooled.spec, dict[str, LabeledSet]()

    def keep(name: str, bank: SignalBank, ipc: int = IPC) -> LabeledSet:
        if name not in made:
            made[name] = distil(bank, ipc, seed, steps)
        return made[name]

    def joined() -> LabeledSet:
        return merge_sets([keep(f"site {number}", bank) for number, bank in enumerate(sites)])

    def always(make: Callable[[], LabeledSet]) -> Callable[[], Draw]:
        return lambda: (lambda data: lambda student: data)(make())

    largest = rows == 0
    yield "own images of site 0", lambda: class_weighted_full_data((images[largest], labels[largest]), spec)
    yield "set of site 0", always(lambda: keep("site 0", sites[0]))
    yield "sets of all sites joined", always(joined)
    yield "banks of sites 0 and 1 merged", always(lambda: keep("two", merge_banks(sites[:2])))
    yield "banks of all sites merged", always(lambda: keep("merged", merge_banks(sites)))
    yield "banks merged, as many images as joined", always(lambda: keep("more", merge_banks(sites), IPC * len(SHARES)))
    yield "bank of all images", always(lambda: keep("pooled", pooled))
    yield "random images", lambda: coreset_sampler("random", (images, labels), [IPC] * spec.num_classes, spec, seed)
    yield "all images", lambda: class_weighted_full_data((images, labels), spec)


def measure(
    name: str, data: ArrayDataModule, seed: int, protocol: Protocol, draws: int, steps: int, book: ResumableCsv
) -> None:
    """Add all missing rows of a data set and a seed."""
    labels, groups = data.train_arrays()[1], data.groups.get("train")
    rows = site_of(labels, groups, class_shares(data.spec.num_classes, SHARES, BALANCE, seed), seed)
    masks = torch.from_numpy(np.stack([*(rows == site for site in range(len(SHARES))), rows >= 0]))
    channels = data.spec.shape[0]
    began = time.perf_counter()
    *sites, pooled = SignalBank.compute(
        data, draws=draws, network=NETWORK, seed=seed, mean=[MEAN] * channels, std=[STD] * channels, masks=masks,
        compile="off",
    )  # fmt: skip
    print(f"{name}, seed {seed}: banks in {time.perf_counter() - began:.0f} s", flush=True)
    counts = [bank.counts[0].int().tolist() for bank in sites]
    for learned, make in learners(data, sites, pooled, rows, seed, steps):
        if not book.is_missing(name, seed, learned, "test"):
            continue
        began = time.perf_counter()
        draw = make()
        images = len(draw(0).labels)
        used = protocol.for_real_data(images) if learned in ("own images of site 0", "all images") else protocol
        trained = StudentEvaluator(used, students=STUDENTS, architectures=[NETWORK], compile="off").train(draw)
        for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
            groups = data.groups.get(split)
            numbers = (
                None if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1].reshape(-1))
            )
            scored = TrainedStudents(trained.students, trained.spec, device="cpu", started_at=began).update_all(loader)
            scores, predictions = scored.scores(), scored.predictions(split, numbers)
            row: dict[str, object] = {}
            for metric in METRICS:
                interval, values = bootstrap_interval(predictions, metric), scores.values(metric)
                numbers_of = (float(np.mean(values)), float(np.std(values, ddof=1)), interval.low, interval.high)
                ends = ("", "_std", "_ci95_low", "_ci95_high")
                row |= {f"{metric}{end}": f"{value:.5f}" for end, value in zip(ends, numbers_of, strict=True)}
            book.put({
                "dataset": name, "seed": seed, "learned": learned, "split": split, "source": data.spec.source,
                "shares": SHARES, "balance": BALANCE, "counts": counts, "network": NETWORK, "protocol": used.name,
                "epochs": used.epochs + 1, "students": STUDENTS, "draws": draws, "fit_steps": steps, "images": images,
                **row, "seconds": f"{time.perf_counter() - began:.1f}",
                **provenance("python benchmarks/signal_sites.py"),
            })  # fmt: skip
        print(f"{name}, seed {seed}, {learned}: {100 * scores.mean('balanced_acc'):.1f} % balanced", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument(
        "--root", type=Path, default=Path("../shared/data"), help="folder of medmnist/ and of idx files"
    )
    parser.add_argument("--only", default=",".join(SOURCES), help=f"comma-separated data sets: {','.join(SOURCES)}")
    parser.add_argument("--seeds", type=int, default=3, help="number of cuts and distillations")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    makes: dict[str, Callable[[], ArrayDataModule]] = {
        name: partial(MNISTDataModule, root=str(given.root))
        if name == "mnist"
        else partial(MedMNISTDataModule, name, root=str(given.root / "medmnist"), download=False, source=SOURCES[name])
        for name in listed(parser, given.only, tuple(SOURCES))
    }
    makes = {"digits": DigitsDataModule} if given.quick else makes
    protocol, draws, steps, seeds = (
        (get_protocol("tiny"), 2, 2, 1) if given.quick else (SHORT, DRAWS, STEPS, given.seeds)
    )
    keys = ("dataset", "seed", "learned", "split")
    book = ResumableCsv(folder(given) / "signal_sites.csv", keys, COLUMNS, overwrite=given.again)
    for seed in range(seeds):
        for name, make in makes.items():
            data = make()
            data.setup()
            measure(name, data, seed, protocol, draws, steps, book)


if __name__ == "__main__":
    main()
