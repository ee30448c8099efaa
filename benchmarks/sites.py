"""Compare training data at several sites: own images, synthetic sets of other sites, and pooled images.

    python benchmarks/sites.py --root ../shared/data/medmnist     # writes benchmarks/results/sites.csv
    python benchmarks/sites.py --only breastmnist
    python benchmarks/sites.py --quick                            # scikit-learn's digits, as a test

Each data set is split into four sites of unequal size and class balance (`SitesDataModule`; DermaMNIST by lesions).
Three sites distil their own training images with DM and share only the set. Students are trained on the images of one
site (classes weighted equally), on the set of one site, on the three sets together (``concat``), on the same number of
random real images, on the images of one site and the other sites' sets, and on all images of the three sites. Every
student is scored on the test images of each of the four sites and of all sites, one row each. A killed run resumes.
Sets are stored in ``runs/sites``.
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

SHARES, SHARING = [0.45, 0.25, 0.1, 0.2], 3  # the first three sites share sets, the fourth does not
BALANCE = 2.0  # with 1, a site with two classes may have only five test images
METRICS = ("acc", "balanced_acc", "auroc")
NETWORK, IPC, STUDENTS = "convnet_w16", 10, 3
#: Half of the quick protocol: 151 epochs for sets, 300 steps for real images.
SHORT = Protocol("short", 150)
SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "dermamnist": "lesion-disjoint split, not the official file",
}
COLUMNS = (
    "source", "shares", "balance", "network", "protocol", "epochs", "students", "seeds", "fit_steps", "images",
    "tested_images", *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_ci95_low", "_ci95_high")),
    "seconds",
)  # fmt: skip

Draw = Callable[[int], LabeledSet]


def sites_of(make: Callable[[], ArrayDataModule]) -> list[SitesDataModule]:
    """Return the sites of a data set, with 64 real images per class in a step of distillation."""
    return [
        SitesDataModule(make(), site, shares=SHARES, balance=BALANCE, real_per_class=64) for site in range(len(SHARES))
    ]


def distilled_set(site: SitesDataModule, steps: int, place: Path) -> LabeledSet:
    """Distil the set of a site with DM, or read it if it exists. Small classes get fewer synthetic images."""
    if not (place / "last" / "set.safetensors").is_file():
        counts = np.bincount(site.train_arrays()[1], minlength=site.spec.num_classes)
        trainer = Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            limit_val_batches=0,
            callbacks=[SyntheticSetExport(str(place))],
        )
        ipc = [min(IPC, int(count)) for count in counts]
        trainer.fit(DMDistiller(ipc=ipc, preset="paper", network=NETWORK, compile="off"), datamodule=site)
    return read_set(place / "last")[0]


def pooled(sites: list[SitesDataModule]) -> Arrays:
    """Return the training images of several sites together."""
    images, labels = zip(*(site.train_arrays() for site in sites), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def always(data: LabeledSet) -> Draw:
    """Return a sampler that gives every student the same training data."""
    return lambda student: data


def learners(
    sites: list[SitesDataModule], sets: list[LabeledSet], whole: ArrayDataModule
) -> Iterator[tuple[str, Draw]]:
    """Yield the name and the sampler of each kind of training data."""
    spec, sharing = whole.spec, sites[:SHARING]
    own = [class_weighted_full_data(site.train_arrays(), site.spec)(0) for site in sharing]
    counts = [np.bincount(made.labels, minlength=spec.num_classes).tolist() for made in sets]
    picks = [
        coreset_sampler("random", site.train_arrays(), count, site.spec, site.site)
        for site, count in zip(sharing, counts, strict=True)
    ]
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
    """Return the test images of every site and of all sites, with group numbers if the data have groups."""
    names = [f"site {site.site}" + (" (shares nothing)" if site.site >= SHARING else "") for site in sites]
    data = dict(zip([*names, "all sites"], [*sites, whole], strict=True))
    tests = {}
    for name, module in data.items():
        images, labels = module.splits["test"]
        groups = module.groups.get("test")
        numbers = None if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1].reshape(-1))
        tests[name] = SequentialLoader(images, labels, 256), numbers
    return tests


def cells(predictions: Predictions, scores: dict[str, list[float]]) -> dict[str, str]:
    """Format mean, standard deviation over students, and interval over images (or lesions) of each metric."""
    row: dict[str, str] = {}
    for metric, values in scores.items():
        interval = bootstrap_interval(predictions, metric)
        numbers = (float(np.mean(values)), float(np.std(values, ddof=1)), interval.low, interval.high)
        row |= {
            f"{metric}{end}": f"{n:.5f}"
            for end, n in zip(("", "_std", "_ci95_low", "_ci95_high"), numbers, strict=True)
        }
    return row


def measure(
    name: str, make: Callable[[], ArrayDataModule], protocol: Protocol, steps: int, book: ResumableCsv, place: Path
) -> None:
    """Add all missing rows of a data set."""
    sites, whole = sites_of(make), make()
    for module in (*sites, whole):
        module.setup()
    sets = [distilled_set(site, steps, place / name / f"site_{site.site}") for site in sites[:SHARING]]
    tests = tests_of(sites, whole)
    for learned, draw in learners(sites, sets, whole):
        if not any(book.is_missing(name, learned, tested) for tested in tests):
            continue
        images, began = len(draw(0).labels), time.perf_counter()
        used = protocol.for_real_data(images) if "images of" in learned else protocol
        trained = StudentEvaluator(used, students=STUDENTS, architectures=[NETWORK], compile="off").train(draw)
        seconds = time.perf_counter() - began
        for tested, (batches, groups) in tests.items():
            scored = TrainedStudents(trained.students, trained.spec, device="cpu", started_at=began).update_all(batches)
            scores, predictions = scored.scores(), scored.predictions("test", groups)
            book.put({
                "dataset": name, "learned": learned, "tested": tested, "source": whole.spec.source,
                "shares": SHARES, "balance": BALANCE, "network": NETWORK, "protocol": used.name,
                "epochs": used.epochs + 1, "students": STUDENTS, "seeds": f"0-{STUDENTS - 1}", "fit_steps": steps,
                "images": images, "tested_images": len(predictions.targets), "seconds": f"{seconds:.1f}",
                **cells(predictions, {metric: scores.values(metric) for metric in METRICS}),
                **provenance("python benchmarks/sites.py"),
            })  # fmt: skip
        print(f"{name}, {learned}: {100 * scores.mean('balanced_acc'):.1f} % balanced, {seconds:.0f} s", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", help="folder of the npz files; default: that of MedMNISTDataModule")
    parser.add_argument("--only", help=f"comma-separated data sets: {','.join(SOURCES)}")
    given = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    names = listed(parser, given.only or ",".join(SOURCES), tuple(SOURCES))
    makes: dict[str, Callable[[], ArrayDataModule]] = {
        name: partial(MedMNISTDataModule, name, root=given.root, download=given.root is None, source=SOURCES[name])
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
