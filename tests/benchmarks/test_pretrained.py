"""The benchmark of linear probes on a frozen pretrained encoder."""

from __future__ import annotations

import csv

import pytest
from conftest import ROOT


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import pretrained

    monkeypatch.setattr(pretrained, "DM", dict(pretrained.DM))
    return pretrained


def test_all_rows_are_measured_once(script, tmp_path, capsys):
    script.main(["--quick", "--out", str(tmp_path)])
    with (tmp_path / "pretrained.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    picks = ["random", "herding", "herding_embedding", "kmeans_embedding", "full", "full_balanced"]
    assert [row["trained_on"] for row in rows] == [*picks, "DMDistiller", "DMDistiller"]
    assert {row["network"].partition("@")[0] for row in rows} == {"test_efficientnet:32"}
    assert [row["fit_network"].partition("@")[0] for row in rows[-2:]] == ["test_efficientnet:32", "convnet_w32"]
    assert {row["split"] for row in rows} == {"val"}
    assert [row["ipc"] for row in rows] == ["1"] * 4 + ["all"] * 2 + ["1"] * 2
    assert str(tmp_path) not in (tmp_path / "pretrained.csv").read_text()
    capsys.readouterr()
    script.main(["--quick", "--out", str(tmp_path)])
    assert capsys.readouterr().out == ""  # a second run finds all rows


def test_weights_are_asked_for(script, capsys):
    with pytest.raises(SystemExit):
        script.main([])
    assert "--weights FILE is needed" in capsys.readouterr().err


def test_committed_rows_are_of_the_encoder(script):
    with (ROOT / "benchmarks" / "results" / "pretrained.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert {row["network"] for row in rows} == {"tf_efficientnet_lite0:112@579344248a93"}
    assert {row["split"] for row in rows} == {"val"}
