"""The whole way, from the shell, on generated files of the shapes that RetinaMNIST and 224 px sets have."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from lightning_distill import load_set
from lightning_distill.cli import main
from lightning_distill.evaluation.metrics.predictions import Predictions


def write(name: str, counts: tuple[int, int, int], size: int, channels: int, classes: int) -> None:
    """A file in MedMNIST's form, whose brightness grows with the class."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        labels = np.arange(count) % classes
        shape = (count, size, size) if channels == 1 else (count, size, size, channels)
        images = random.integers(0, 60, shape, dtype=np.uint8)
        images += (160 // classes * labels).astype(np.uint8).reshape(-1, *[1] * (len(shape) - 1))
        arrays |= {f"{split}_images": images, f"{split}_labels": labels[:, None].astype(np.uint8)}
    np.savez(name, **arrays)


def go_the_whole_way(name: str, size: int) -> list[dict[str, str]]:
    """Fit, export and evaluate a set; the rows of the table."""
    data = ["--data=MedMNISTDataModule", f"--data.name={name}", f"--data.size={size}", "--data.root=.",
            "--data.download=false"]  # fmt: skip
    main(["fit", "--model=DMDistiller", "--model.ipc=1", "--model.network=convnet_w16", "--model.compile=off", *data,
          "--data.real_per_class=2", "--trainer.max_steps=2", "--trainer.logger=false", "--trainer.accelerator=cpu",
          "--trainer.enable_progress_bar=false", "--trainer.callbacks+=SyntheticSetExport",
          "--trainer.callbacks.dirpath=out"])  # fmt: skip
    main(["evaluate", "--set=out/last", *data, "--protocol=tiny", "--students=2", "--architectures=[convnet_w16]",
          "--baselines=[random]", "--accelerator=cpu", "--out=rows.csv", "--predictions=said"])  # fmt: skip
    with Path("rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trained_on"] for row in rows] == ["random", "DMDistiller"]
    return rows


def test_a_file_of_the_shape_of_retinamnist_goes_the_whole_way(tmp_path, monkeypatch):
    """1,600 photographs in five ordered grades: kappa and MAE are those of what the students said."""
    monkeypatch.chdir(tmp_path)
    write("retinamnist.npz", (1080, 120, 400), 28, 3, 5)
    rows = go_the_whole_way("retinamnist", 28)
    images, labels = load_set("out/last").tensors
    assert images.shape == (5 * 4, 3, 28, 28)  # 2 x 2 sub-images in each of five stored images
    assert labels.tolist() == [grade for grade in range(5) for _ in range(4)]
    files = [Predictions.read(path) for path in sorted(Path("said").rglob("*.safetensors"))]
    expected = []
    for predictions in files:
        guesses, truth = predictions.logits.argmax(2).numpy(), predictions.targets.numpy()
        assert guesses.shape == (2, 400)
        kappas = [cohen_kappa_score(truth, guess, weights="quadratic") for guess in guesses]
        expected.append((np.mean(kappas), np.abs(guesses - truth).mean()))
    written = [(float(row["kappa"]), float(row["mae"])) for row in rows]
    np.testing.assert_allclose(sorted(written), sorted(expected), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "channels", "classes"),
    [("breastmnist", 1, 2), pytest.param("dermamnist", 3, 7, marks=pytest.mark.long)],
)
def test_files_of_224_pixels_go_the_whole_way(tmp_path, monkeypatch, name, channels, classes):
    monkeypatch.chdir(tmp_path)
    write(f"{name}_224.npz", (4 * classes, classes, classes), 224, channels, classes)
    rows = go_the_whole_way(name, 224)
    assert all(0 <= float(row["acc"]) <= 1 and row["kappa"] == "" for row in rows)
    images, labels = load_set("out/last").tensors
    assert images.shape == (4 * classes, channels, 224, 224)
    assert labels.tolist() == [label for label in range(classes) for _ in range(4)]
