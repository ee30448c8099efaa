"""``lightning-distill quickstart``: distil and evaluate a small data set that needs no download."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning_distill.commands._console import plain_console
from lightning_distill.commands.distill import distill
from lightning_distill.commands.evaluate import evaluate
from lightning_distill.data import DigitsDataModule
from lightning_distill.evaluation.evaluate import EvaluationResults
from lightning_distill.portfolio.budget import TooFewMinutesError
from lightning_distill.sets.storage import SET

#: Minutes that are taken for one that is needed.
SPARE = 1.25


def quickstart(
    out: str = "quickstart",
    *,
    ipc: int = 1,
    minutes: float = 2.0,
    students: int = 5,
    protocol: str = "quick",
    network: str = "convnet",
    seed: int = 0,
) -> EvaluationResults:
    """Distil the digits of scikit-learn within minutes, and compare the set with picked images and all real data.

    The folder then holds ``set.safetensors``, ``card.json``, ``grid.png``, ``report.html`` and ``results.csv``.

    Args:
        out: Folder for all results.
        ipc: Images per class.
        minutes: Time budget of the distillation in minutes, raised where a slow machine needs more; the scores on the
            test split come on top.
        students: Number of students that score each set.
        protocol: Training protocol of the students: ``quick``, ``reference`` or ``tiny`` (for tests).
        network: Network of distillation and students, of this package or of timm.
        seed: Seed of the distillation and of the students.

    Returns:
        Rows of random images, of herding and k-means picks, of all real data, and of the distilled set.

    Raises:
        ValueError: A number is out of range or a name is unknown.
        OSError: The folder cannot be written.
    """
    console, folder = plain_console(), Path(out)
    data = DigitsDataModule(real_per_class=64, seed=seed)
    console.print(f"Distilling scikit-learn's digits of 8x8 px into {ipc * 10} images, {minutes:g} minutes ...")
    options: dict[str, Any] = {
        "ipc": ipc, "network": network, "protocol": protocol, "students": students, "seed": seed, "accelerator": "cpu",
    }  # fmt: skip
    try:
        distill(data, minutes=minutes, out=out, **options)
    except TooFewMinutesError as error:  # a slow or a busy machine
        enough = math.ceil(SPARE * error.minutes)
        console.print(f"{minutes:g} minutes are too short on this machine; {enough} are taken ...")
        distill(data, minutes=enough, out=out, **options)
    console.print("Scoring picked images, all real data and the distilled set, once, on the test split ...")
    results = evaluate(
        str(folder / SET),
        data,
        protocol=protocol,
        baselines=["random", "herding", "kmeans", "full"],
        students=students,
        architectures=[network],
        seed=seed,
        accelerator="cpu",
        out=str(folder / "results.csv"),
    )
    console.print(f"In {folder}: set.safetensors and its card.json, grid.png, report.html, results.csv")
    console.print("Next: `lightning-distill distill --data MedMNISTDataModule --data.name breastmnist --minutes 10`")
    return results
