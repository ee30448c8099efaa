"""Compare hard and soft labels of picked images, with the natural and the balanced prior, on the validation split.

    python benchmarks/relabel.py --root ../shared/data/medmnist     # writes benchmarks/results/relabel.csv
    python benchmarks/relabel.py --only breastmnist
    python benchmarks/relabel.py --quick                            # scikit-learn's digits, as a test

The images are herding picks, ten a class. The students differ in their labels alone: same images, same seeds. The
teachers of a data set are trained once and kept in ``runs/relabel``. A killed run resumes at the missing row. The test
split is not read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from script import HERE, folder, listed, options

from lightning_distill import (
    DigitsDataModule,
    MedMNISTDataModule,
    NpzDataModule,
    evaluate,
    load_teachers,
    save_teachers,
    train_teachers,
)
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.teachers import TeacherEnsemble

IPC, STUDENTS, TEACHERS, METHOD = 10, 3, 3, "herding"
METRICS = ("acc", "balanced_acc", "auroc", "ece", "nll")
#: Labels and prior of the rows of a data set.
LABELS = (("hard", ""), ("soft", "natural"), ("soft", "balanced"))
SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "mednist6_28": "six modalities, own split",
    "dermamnist": "lesion-disjoint split, not the official file",
}
COLUMNS = (
    "source", "split", "ipc", "images", "network", "protocol", "students", "seeds", "precision",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_std")), "worst_recall", "worst_class", "seconds",
    "teachers", "temperature", "teacher_balanced_acc", "teacher_seconds",
)  # fmt: skip


def module_of(name: str, root: str | None) -> ArrayDataModule:
    """Return the data module of a data set; the six modalities are a plain npz file in the same folder."""
    if name == "mednist6_28":
        return NpzDataModule(Path(root or ".") / f"{name}.npz", name=name, source=SOURCES[name])
    return MedMNISTDataModule(name, root=root, download=root is None, source=SOURCES[name])


def kept_teachers(path: Path, data: ArrayDataModule, count: int, network: str, protocol: str) -> TeacherEnsemble:
    """Read the teachers of a data set, or train them; the record holds the seconds of their training."""
    if not path.is_file():
        began = time.perf_counter()
        teachers = train_teachers(data, count, network=network, protocol=protocol, compile="off")
        record = {**teachers.record, "seconds": round(time.perf_counter() - began, 1)}
        save_teachers(path, TeacherEnsemble(**{**vars(teachers), "record": record}))
    return load_teachers(path)


def measure(data: ArrayDataModule, count: int, network: str, protocol: str, book: ResumableCsv, place: Path) -> None:
    """Add all missing rows of a data set."""
    name = data.spec.name
    missing = [(labels, prior) for labels, prior in LABELS if book.is_missing(name, METHOD, labels, prior)]
    for labels, prior in missing:
        path, about = place / f"{name}.safetensors", {}
        if labels == "soft":
            about = dict(kept_teachers(path, data, count, network, protocol).record)
        (row,) = evaluate(
            data=data,
            ipc=IPC,
            baselines=[METHOD],
            labels="soft" if labels == "soft" else "hard",
            teachers=str(path),
            prior="balanced" if prior == "balanced" else "natural",
            split="val",
            students=STUDENTS,
            protocol=protocol,
            architectures=[network],
            accelerator="cpu",
            compile="off",
        )
        scores = about.get("val_balanced_acc", [])
        book.put({
            **row.to_dict(), "dataset": name, "labels": labels, "prior": prior,
            "teachers": about.get("teachers", ""), "temperature": about.get("temperature", ""),
            "teacher_balanced_acc": "/".join(map(str, scores)) if isinstance(scores, list) else "",
            "teacher_seconds": about.get("seconds", ""), **provenance("python benchmarks/relabel.py"),
        })  # fmt: skip
        text = f"{100 * row.acc:.1f} % accuracy, {100 * row.balanced_acc:.1f} % balanced"
        print(f"{name}, {METHOD}, {labels} {prior}: {text}, {row.seconds:.0f} s", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", help="folder of the npz files; default: that of MedMNISTDataModule")
    parser.add_argument("--only", help=f"comma-separated data sets: {','.join(SOURCES)}")
    parser.add_argument("--teachers", type=int, default=TEACHERS, help="number of teachers of each data set")
    given = parser.parse_args(arguments)
    names = listed(parser, given.only or ",".join(SOURCES), tuple(SOURCES))
    makes: list[Callable[[], ArrayDataModule]] = [partial(module_of, name, given.root) for name in names]
    makes = [DigitsDataModule] if given.quick else makes
    network, protocol = ("convnet_w16", "tiny") if given.quick else ("convnet_w32", "quick")
    keys = ("dataset", "trained_on", "labels", "prior")
    book = ResumableCsv(folder(given) / "relabel.csv", keys, COLUMNS, overwrite=given.again)
    place = (folder(given) if given.quick else HERE.parent / "runs") / "relabel"
    for make in makes:
        measure(make(), given.teachers, network, protocol, book, place)


if __name__ == "__main__":
    main()
