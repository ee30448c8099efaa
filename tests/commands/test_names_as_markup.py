"""Names of classes and data are printed as they are."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import blobs

from lightning_distill import ArrayDataModule, DataSpec
from lightning_distill.cli import main


def test_class_names_like_markup_are_shown(tmp_path, monkeypatch, capsys):
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = blobs(2, 8, 8, 1, seed)
    np.savez(tmp_path / "data.npz", **arrays)
    monkeypatch.chdir(tmp_path)
    names = ["--data=NpzDataModule", "--data.path=data.npz", "--data.class_names=['[/]','[red]:smile:']"]
    students = ["--protocol=tiny", "--students=2", "--architectures=[convnet_w16]"]
    main(["evaluate", *names, "--ipc=2", "--baselines=[herding]", *students])
    shown = capsys.readouterr().out
    assert "[/]" in shown or "[red]:smile:" in shown


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\nb", "a\x07", "\x9b2J"])
def test_control_characters_are_refused(name):
    with pytest.raises(ValueError, match="characters that cannot be printed; rename it"):
        DataSpec("t", (1, 8, 8), ("a", name), (0.0,), (1.0,))
    data = ArrayDataModule(blobs(2, 8, 8, 1, 0), class_names=["a", name])
    with pytest.raises(ValueError, match="characters that cannot be printed"):
        data.setup()
