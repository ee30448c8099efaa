"""Sites that share sets instead of patients: what one has alone, what all have together, what an outsider gets.

    python benchmarks/sites.py --root ../shared/data/medmnist     # writes benchmarks/results/sites.csv
    python benchmarks/sites.py --only breastmnist
    python benchmarks/sites.py --quick                            # scikit-learn's digits, to see that it runs

Each data set is cut into four sites of unequal size and class balance (`SitesDataModule`; DermaMNIST by lesions).
Three of them distil their own training images by DM and share nothing but the set. Students then learn from a site's
own images (each class weighing the same, which is no straw man where classes are rare), from one site's set, from the
three sets together (``concat``), from as many random real images (which nobody may share), from a site's own images and
the others' sets, and from all images of the three sites (which nobody has). Every student is shown the test images of
every site, also of the fourth, and of all: a row each, so that a run that was killed goes on. Sets lie in
``runs/sites``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer
from script import HERE, folder, listed, options

from lightning_distill import DigitsDataModule, DMDistiller, MedMNISTDataModule, SitesDataModule, SyntheticSetExport
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule, SequentialLoader
from lightning_distill.evaluation import LabeledSet, Protocol, StudentEvaluator, TrainedStudents, get_protocol
from lightning_distill.evaluation.baselines import Arrays, class_weighted_full_data, coreset_sampler
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.sets.merge import merge_sets
from lightning_distill.sets.storage import read_set

SHARES, SHARING = [0.45, 0.25, 0.1, 0.2], 3  # the first three share, the fourth shares nothing
BALANCE = 2.0  # at 1 a site of two classes may be left with five test images
METRICS = ("acc", "balanced_acc", "auroc")
NETWORK, IPC, STUDENTS = "convnet_w16", 10, 3
#: Half of the quick protocol: 151 epochs of a set, 300 steps of real images.
SHORT = Protocol("short", 150)
SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "dermamnist": "lesion-disjoint split, not the official file",
}
COLUMNS = (
    "source", "shares", "balance", "network", "protocol", "epochs", "students", "seeds", "fit_steps", "images",
    "tested_images", *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_low", "_high")), "seconds",
)  # fmt: skip

Draw = Callable[[int], LabeledSet]


def sites_of(make: Callable[[], ArrayDataModule]) -> list[SitesDataModule]:
    """The sites of a data set; 64 real images of each class in a step of distillation."""
    return [
        SitesDataModule(make(), site, shares=SHARES, balance=BALANCE, real_per_class=64) for site in range(len(SHARES))
    ]


def distilled(site: SitesDataModule, steps: int, place: Path) -> LabeledSet:
    """What a site shares: its set by DM, made once; with fewer images of a class that it has fewer of."""
    if not (place / "last" / "set.safetensors").is_file():
        there = np.bincount(site.train_arrays()[1], minlength=site.spec.num_classes)
        trainer = Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[SyntheticSetExport(str(place))],
        )
        ipc = [min(IPC, int(count)) for count in there]
        trainer.fit(DMDistiller(ipc=ipc, network=NETWORK, compile="off"), datamodule=site)
    return read_set(place / "last")[0]


def pooled(sites: list[SitesDataModule]) -> Arrays:
    """The training images of several sites together."""
    images, labels = zip(*(site.train_arrays() for site in sites), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def always(data: LabeledSet) -> Draw:
    """The same for every student."""
    return lambda student: data


def learners(
    sites: list[SitesDataModule], sets: list[LabeledSet], whole: ArrayDataModule
) -> Iterator[tuple[str, Draw]]:
    """What students learn from, by name."""
    spec, sharing = whole.spec, sites[:SHARING]
    own = [class_weighted_full_data(site.train_arrays(), site.spec)(0) for site in sharing]
    picks = [coreset_sampler("random", site.train_arrays(), np.bincount(made.labels, minlength=spec.num_classes).tolist(),
                    site.spec, site.site) for site, made in zip(sharing, sets, strict=True)]  # fmt: skip
    everyone = class_weighted_full_data(pooled(sharing), spec)
    for number in range(SHARING):
        yield f"own images of site {number}", always(own[number])
        yield f"set of site {number}", always(sets[number])
    yield "sets of all sharing", always(merge_sets(sets))
    yield "random images, as many", lambda i: merge_sets([pick(i) for pick in picks])
    for number in range(SHARING):
        others = [made for site, made in enumerate(sets) if site != number]
        yield f"own images of site {number} and the others' sets", always(merge_sets([own[number], *others]))
    yield "all images of all sharing", everyone


def tests_of(
    sites: list[SitesDataModule], whole: ArrayDataModule
) -> dict[str, tuple[SequentialLoader, torch.Tensor | None]]:
    """The test images of every site and of all, with their groups where they have some."""
    names = [f"site {site.site}" + (" (shares nothing)" if site.site >= SHARING else "") for site in sites]
    data = dict(zip([*names, "all sites"], [*sites, whole], strict=True))
    found = {}
    for name, module in data.items():
        images, labels = module.splits["test"]
        groups = module.groups.get("test")
        numbers = None if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1].reshape(-1))
        found[name] = SequentialLoader(images, labels, 256), numbers
    return found


def cells(said: Predictions, scores: dict[str, list[float]]) -> dict[str, str]:
    """Mean and std over students of every metric, and the interval over images (over lesions where they are known)."""
    row: dict[str, str] = {}
    for metric, values in scores.items():
        interval = bootstrap_interval(said, metric)
        numbers = (float(np.mean(values)), float(np.std(values, ddof=1)), interval.low, interval.high)
        row |= {f"{metric}{end}": f"{n:.5f}" for end, n in zip(("", "_std", "_low", "_high"), numbers, strict=True)}
    return row


def measure(
    name: str, make: Callable[[], ArrayDataModule], protocol: Protocol, steps: int, book: ResumableCsv, place: Path
) -> None:
    """Every row of a data set that is not there."""
    sites, whole = sites_of(make), make()
    for module in (*sites, whole):
        module.setup()
    sets = [distilled(site, steps, place / name / f"site_{site.site}") for site in sites[:SHARING]]
    tests = tests_of(sites, whole)
    for learned, draw in learners(sites, sets, whole):
        if not any(book.is_missing(name, learned, tested) for tested in tests):
            continue
        images, began = len(draw(0).labels), time.perf_counter()
        way = protocol.for_real_data(images) if "images of" in learned else protocol
        sitting = StudentEvaluator(way, STUDENTS, [NETWORK], compile="off").train(draw)
        seconds = time.perf_counter() - began
        for tested, (batches, groups) in tests.items():
            seen = TrainedStudents(sitting.students, sitting.spec, "cpu", began).update_all(batches)
            scores, said = seen.scores(), seen.predictions("test", groups)
            book.put({
                "dataset": name, "learned": learned, "tested": tested, "source": whole.spec.source,
                "shares": SHARES, "balance": BALANCE, "network": NETWORK, "protocol": way.name,
                "epochs": way.epochs + 1, "students": STUDENTS, "seeds": f"0-{STUDENTS - 1}", "fit_steps": steps,
                "images": images, "tested_images": len(said.targets), "seconds": f"{seconds:.1f}",
                **cells(said, {metric: scores.values(metric) for metric in METRICS}),
                **provenance("python benchmarks/sites.py"),
            })  # fmt: skip
        print(f"{name}, {learned}: {100 * scores.mean('balanced_acc'):.1f} % balanced, {seconds:.0f} s", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", help="folder of the npz files; default as MedMNISTDataModule finds it")
    parser.add_argument("--only", help=f"data sets, any of {','.join(SOURCES)}")
    given = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    names = listed(parser, given.only or ",".join(SOURCES), tuple(SOURCES))
    there = given.root is not None
    makes: dict[str, Callable[[], ArrayDataModule]] = {
        name: partial(MedMNISTDataModule, name, root=given.root, download=not there, source=SOURCES[name])
        for name in names
    }
    makes = {"digits": DigitsDataModule} if given.quick else makes
    protocol, steps = (get_protocol("tiny"), 2) if given.quick else (SHORT, 300)
    book = ResumableCsv(folder(given) / "sites.csv", ("dataset", "learned", "tested"), COLUMNS, overwrite=given.again)
    place = (folder(given) if given.quick else HERE.parent / "runs") / "sites"
    for name, make in makes.items():
        measure(name, make, protocol, steps, book, place)


if __name__ == "__main__":
    main()
