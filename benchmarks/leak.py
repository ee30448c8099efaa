"""Measure the effect of a leaking split: DermaMNIST split by lesions and by images.

    python benchmarks/leak.py --root ../shared/data/medmnist     # writes benchmarks/results/leak.csv
    python benchmarks/leak.py --quick                            # generated lesions, as a test

All images are pooled and split again for every seed, a fifth for test: with scikit-learn's StratifiedGroupKFold, so
that no lesion is in both splits, and with a stratified split of the same number of single images. One student per seed
is trained on all training images of its split, for the same number of steps, and scored on the test images: one row
each. A killed run resumes. One row per split holds means, standard deviations and t-intervals over seeds. One row holds
the differences (images less lesions), their standard errors and Welch's intervals; since the test images differ, all of
these are over students *and* splits. ``shared`` is the number of test images with a lesion that is in train too.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from scipy import stats
from script import folder, options
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from lightning_distill import ArrayDataModule, MedMNISTDataModule
from lightning_distill.bench.results import ResumableCsv, Row, provenance
from lightning_distill.data import SequentialLoader
from lightning_distill.data.checks.groups import overlaps
from lightning_distill.evaluation import LabeledSet, Protocol, StudentEvaluator, evaluate_students, get_protocol
from lightning_distill.spec import DataSpec

METRICS = ("acc", "balanced_acc", "auroc")
SPLITS = ("lesions", "images")
NETWORK, SEEDS, FOLDS = "convnet_w16", 5, 5
#: Fifteen epochs, about 470 steps: ten students take a quarter of an hour on one core.
SHORT = Protocol("short", 14)
COLUMNS = (
    "source", "network", "protocol", "augmentation", "epochs", "students", "train", "test", "shared",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_std", "_ci95_low", "_ci95_high")), "seconds",
)  # fmt: skip

Pool = tuple[np.ndarray, np.ndarray, np.ndarray]


def pooled(data: ArrayDataModule) -> Pool:
    """Return images, labels and lesions of all splits of a file together."""
    given = data.load_splits()
    images, labels = (np.concatenate(parts) for parts in zip(*given.splits.values(), strict=True))
    return images, labels, np.concatenate([given.groups[split] for split in given.splits])


def generated(lesions: int = 120) -> Pool:
    """Generate lesions of one to three noisy images each, 8x8 px, two classes."""
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(lesions), random.integers(1, 4, lesions))
    patterns = random.integers(0, 200, (lesions, 1, 8, 8))
    images = patterns[groups] + random.integers(0, 56, (len(groups), 1, 8, 8))
    return images.astype(np.uint8), groups % 2, groups


def rows_of(split: str, pool: Pool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows of train and test, by lesions or by images, with equal sizes."""
    _, labels, lesions = pool
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    train, test = next(iter(folds.split(labels, labels, lesions)))
    if split == "images":
        train, test = train_test_split(np.arange(len(labels)), test_size=len(test), random_state=seed, stratify=labels)
    return np.sort(train), np.sort(test)


def student(split: str, pool: Pool, spec: DataSpec, protocol: Protocol, seed: int) -> dict[str, float]:
    """Train and score one student, and count the test images that share a lesion with train."""
    images, labels, lesions = pool
    train, test = rows_of(split, pool, seed)
    shared = overlaps({"train": lesions[train], "test": lesions[test]})
    x = images[train].astype(np.float64)
    spec = replace(spec, mean=tuple(x.mean((0, 2, 3)).tolist()), std=tuple(x.std((0, 2, 3)).tolist()))
    training_set = LabeledSet(torch.from_numpy(images[train]), torch.from_numpy(labels[train]), spec)
    evaluator = StudentEvaluator(protocol, students=1, architectures=[NETWORK], seed=seed, compile="off")
    began = time.perf_counter()
    scores = evaluate_students(evaluator, lambda _: training_set, SequentialLoader(images[test], labels[test], 256))
    seconds = time.perf_counter() - began
    counts = {"train": len(train), "test": len(test), "shared": sum(len(overlap.rows[1]) for overlap in shared)}
    return {**{metric: scores.mean(metric) for metric in METRICS}, **counts, "seconds": seconds}


def scores_of(row: Row) -> dict[str, float]:
    """Read the numbers that `student` returned from their row."""
    return {name: float(row[name]) for name in (*METRICS, "train", "test", "shared", "seconds")}


def summary(students: list[dict[str, float]]) -> dict[str, object]:
    """Compute means, standard deviations and t-intervals over seeds."""
    row: dict[str, object] = {"seconds": f"{sum(scores['seconds'] for scores in students):.1f}"}
    for metric in METRICS:
        values = [scores[metric] for scores in students]
        interval = stats.ttest_1samp(values, 0).confidence_interval()
        row |= cells(metric, float(np.mean(values)), float(np.std(values, ddof=1)), interval)
    return row | {name: f"{np.mean([scores[name] for scores in students]):.1f}" for name in ("train", "test", "shared")}


def difference(leaking: list[dict[str, float]], clean: list[dict[str, float]]) -> dict[str, object]:
    """Compute the difference of the scores (leaking less clean), its standard error and Welch's interval."""
    row: dict[str, object] = {}
    for metric in METRICS:
        ours, theirs = ([scores[metric] for scores in students] for students in (leaking, clean))
        welch = stats.ttest_ind(ours, theirs, equal_var=False)
        error = float(np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / len(ours)))
        row |= cells(metric, float(np.mean(ours) - np.mean(theirs)), error, welch.confidence_interval())
    return row


def cells(metric: str, mean: float, std: float, interval: tuple[float, float]) -> dict[str, object]:
    """Format the four columns of a metric."""
    values = dict(zip(("", "_std", "_ci95_low", "_ci95_high"), (mean, std, *interval), strict=True))
    return {f"{metric}{end}": f"{value:.5f}" for end, value in values.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", help="folder of dermamnist.npz; default: that of MedMNISTDataModule")
    parser.add_argument("--seeds", type=int, help=f"number of students per split, default {SEEDS}; at least 2")
    given = parser.parse_args(arguments)
    if given.quick:
        pool, protocol = generated(), get_protocol("tiny")
        data = ArrayDataModule((pool[0], pool[1]), channels="first", name="generated", source="generated")
    else:
        source = "all splits pooled, not the official file"
        data = MedMNISTDataModule("dermamnist", root=given.root, download=given.root is None, source=source)
        pool, protocol = pooled(data), SHORT
    spec, seeds = data.spec, given.seeds or (2 if given.quick else SEEDS)
    typed = " --quick" * given.quick + f" --seeds {given.seeds}" * bool(given.seeds)
    made = {
        "dataset": spec.name, "source": spec.source, "network": NETWORK, "protocol": protocol.name,
        "augmentation": protocol.augmentation or spec.augmentation, "epochs": protocol.epochs + 1,
        **provenance(f"python benchmarks/leak.py{typed}"),
    }  # fmt: skip
    book = ResumableCsv(folder(given) / "leak.csv", ("dataset", "split", "seeds"), COLUMNS, overwrite=given.again)
    for seed in range(seeds):
        for split in SPLITS:
            if book.is_missing(spec.name, split, seed):
                scores = student(split, pool, spec, protocol, seed)
                print(split, seed, scores, flush=True)
                book.put({**made, "split": split, "seeds": seed, "students": 1, **scores})
    rows = [row for row in book.rows if row["dataset"] == spec.name and row["students"] == "1"]
    lesions, images = ([scores_of(row) for row in rows if row["split"] == split][:seeds] for split in SPLITS)
    whole = {**made, "students": seeds, "seeds": f"0-{seeds - 1}"}
    for split, students in zip(SPLITS, (lesions, images), strict=True):
        book.put({**whole, "split": split, **summary(students)})
    book.put({**whole, "split": "images less lesions", **difference(images, lesions)})


if __name__ == "__main__":
    main()
