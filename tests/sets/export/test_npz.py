"""The npz file is in MedMNIST's form."""

from __future__ import annotations

import numpy as np

from lightning_distill import NpzDataModule, export_set
from lightning_distill.sets.storage import read_set


def test_numpy_reads_it_without_pickle(tmp_path, make_set):
    for channels, shape in ((1, (6, 12, 13)), (3, (6, 12, 13, 3)), (2, (6, 12, 13, 2))):
        source = make_set(channels, "float16", soft=True, name=f"set{channels}")
        out = export_set(source, tmp_path / f"out{channels}", to="npz")
        with np.load(out / "set.npz", allow_pickle=False) as file:
            assert file["train_images"].shape == shape
            assert file["train_images"].dtype == np.float16
            assert file["train_labels"].shape == (6, 1)
            assert file["train_labels"].dtype == np.uint8
            np.testing.assert_array_equal(file["train_soft_labels"], read_set(source)[0].soft_labels.numpy())


def test_our_npz_module_trains_on_it(tmp_path, make_set):
    source = make_set(3)
    module = NpzDataModule(export_set(source, tmp_path / "out", to="npz") / "set.npz", val_fraction=0.5)
    module.setup()
    assert module.spec.shape == (3, 12, 13)
    assert module.spec.num_classes == 3


def test_multi_label_rows_are_columns(tmp_path, make_set):
    source = make_set(multi_label=True)
    with np.load(export_set(source, tmp_path / "out", to="npz") / "set.npz") as file:
        data = read_set(source)[0]
        np.testing.assert_array_equal(file["train_labels"], data.spec.targets(data.labels).numpy())
