"""``lightning-distill quickstart``: distil and evaluate a small data set that needs no download."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from rich.console import Console

from lightning_distill.callbacks import StudentEvaluation, SyntheticSetExport
from lightning_distill.commands.evaluate import evaluate
from lightning_distill.data import DigitsDataModule
from lightning_distill.distillers import DMDistiller
from lightning_distill.evaluation.evaluate import EvaluationResults
from lightning_distill.sets.storage import check_writable, read_set
from lightning_distill.visualization.image_grid import image_grid


def quickstart(
    out: str = "quickstart",
    *,
    ipc: int = 1,
    steps: int = 300,
    students: int = 5,
    protocol: str = "quick",
    network: str = "convnet",
    seed: int = 0,
) -> EvaluationResults:
    """Distil the digits of scikit-learn with DM and compare the set with a random subset and with all real data.

    The folder then holds ``best/set.safetensors``, ``best/card.json``, ``grid.png`` and ``results.csv``.

    Args:
        out: Folder for all results.
        ipc: Images per class.
        steps: Number of distillation steps.
        students: Number of students that score each set on the test split.
        protocol: Training protocol of the students: ``quick``, ``reference`` or ``tiny`` (for tests).
        network: Name of the surrogate and of the students' network, of this package or of timm.
        seed: Seed of the distillation and of the students.

    Returns:
        Rows of the random subset, of all real data and of the distilled set.

    Raises:
        ValueError: A number is out of range or a name is unknown.
        OSError: The folder cannot be written.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}; it must be at least 1")
    console, folder = Console(), Path(out)
    check_writable(folder)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    data = DigitsDataModule(real_per_class=64, steps_per_epoch=max(1, steps // 2), seed=seed)
    _, labels = data.train_arrays()
    console.print(f"Distilling {len(labels):,} digits of 8x8 px into {ipc * 10} images, {steps} steps of DM ...")
    export = SyntheticSetExport(str(folder))
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[
            StudentEvaluation(protocol, students=2, architectures=[network], random_baseline=False),
            export,
            ModelCheckpoint(folder / "checkpoints", monitor="val/acc", mode="max", save_last=True),
        ],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(DMDistiller(ipc=ipc, network=network, seed=seed), datamodule=data)
    console.print(export.gain.sentence() if export.gain else "The gain was not measured.", highlight=False)
    synthetic, _ = read_set(folder / "best")
    grid = image_grid(synthetic.pixels, synthetic.labels, synthetic.spec)
    Image.fromarray(grid).save(folder / "grid.png")
    console.print("Training students on a random subset, on all real data and on the distilled set ...")
    results = evaluate(
        str(folder / "best"),
        data,
        protocol=protocol,
        baselines=["random", "full"],
        students=students,
        architectures=[network],
        seed=seed,
        accelerator="cpu",
        out=str(folder / "results.csv"),
    )
    console.print(f"In {folder}: best/set.safetensors and its card.json, grid.png, results.csv, checkpoints")
    console.print("Next: your own arrays, or `lightning-distill fit --config benchmarks/configs/breastmnist_dm.yaml`")
    return results
