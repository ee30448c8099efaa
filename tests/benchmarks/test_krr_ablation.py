"""The ablation of KRR: its measure of drift, and a run on digits that goes on where rows exist."""

from __future__ import annotations

import importlib
import sys

import pytest
import torch
from conftest import ROOT


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return importlib.import_module("krr_ablation")


def test_share_of_high_frequencies(ablation):
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    board = ((rows + columns) % 2 * 2.0 - 1)[None, None]
    wave = torch.sin(2 * torch.pi * rows / 16)[None, None]
    assert ablation.high_frequency_share(board) == pytest.approx(1.0)
    assert ablation.high_frequency_share(wave) == pytest.approx(0.0, abs=1e-6)
    assert ablation.high_frequency_share(torch.cat([wave, board], 1)) == pytest.approx(2 / 3, abs=1e-3)


def test_every_variant_is_a_distiller(ablation):
    for _, changes in ablation.VARIANTS.values():
        options = {key: value for key, value in changes.items() if key not in ("method", "steps", "real_images")}
        method = changes.get("method", ablation.KRRDistiller)
        distiller = method(**{**(ablation.BASE if method is ablation.KRRDistiller else {"formation": 1}), **options})
        assert distiller.formation == options.get("formation", 1)
        assert {key: distiller.hparams[key] for key in options} == options


def test_rows_are_kept_and_only_missing_ones_are_made(ablation, monkeypatch, tmp_path, capsys):
    small = {"GRID": (("digits", 1),), "STEPS": 2, "STUDENTS": 1, "PROTOCOL": "tiny", "NETWORK": "convnet_w16"}
    for name, value in {**small, "REAL_IMAGES": 40, "OUT": tmp_path / "rows.csv"}.items():
        monkeypatch.setattr(ablation, name, value)
    assert ablation.main(["--only", "digits-1-herding", "digits-1-base"]) == 0
    first = (tmp_path / "rows.csv").read_text()
    assert ablation.main(["--only", "digits-1-base", "digits-1-herding"]) == 0
    assert (tmp_path / "rows.csv").read_text() == first
    rows = ablation.read_rows()
    assert list(rows) == ["digits-1-herding", "digits-1-base"]
    assert (rows["digits-1-base"]["steps"], rows["digits-1-base"]["split"]) == ("2", "val")
    assert float(rows["digits-1-base"]["moved"]) > 0
    assert capsys.readouterr().out.count("done") == 2
