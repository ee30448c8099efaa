"""The command ``audit-set``."""

from __future__ import annotations

import json

import pytest

from lightning_distill.cli import main
from lightning_distill.leakage import audit, read_audit
from lightning_distill.sets.storage import read_set

CONFIG = """
model:
  class_path: lightning_distill.DMDistiller
  init_args: {ipc: 1, network: convnet_w16, formation: 1, compile: "off"}
data:
  class_path: DigitsDataModule
  init_args: {real_per_class: 4}
trainer:
  max_steps: 1
"""
SMALL = ["--shadows", "8", "--network", "convnet_w16", "--protocol", "tiny", "--queries", "1", "--accelerator", "cpu"]


def test_a_configuration_is_audited_with_its_set_card_and_sheet(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(audit, "EMBEDDING_STEPS", 2)
    config = tmp_path / "fit.yaml"
    config.write_text(CONFIG)
    export = ["--trainer.callbacks+=SyntheticSetExport", f"--trainer.callbacks.dirpath={tmp_path / 'run'}"]
    main(["fit", "--config", str(config), "--trainer.logger=false", "--trainer.limit_val_batches=0", *export])
    made, sheet = tmp_path / "run" / "last", tmp_path / "sheet.html"
    main([
        "audit-set", "--config", str(config), "--set", str(made), "--attach", "true", "--sheet", str(sheet),
        "--out", str(tmp_path / "audit"), "--baselines", "random", *SMALL,
    ])  # fmt: skip
    shown = " ".join(capsys.readouterr().out.split())
    assert "Attacks on digits" in shown
    assert "Not measured" in shown
    assert "There is no formal guarantee" in shown
    data, card = read_set(made)
    assert read_audit(card, data)["about"]["shadows"] == 8
    assert card["audit"]["set_sha256"] in sheet.read_text()
    assert json.loads((tmp_path / "audit" / "audit.json").read_text())["rows"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the YAML file of fit"),
        (["random"], "name the data, e.g. --data"),
        (["random", "--data", "DigitsDataModule", "--shadows", "4"], "shadows=4; an even number of at least 8"),
        (["random", "--data", "DigitsDataModule", "--shadows", "9"], "shadows=9; an even number of at least 8"),
        (["random", "--data", "DigitsDataModule", "--baselines", "nothing"], "unknown baseline 'nothing'"),
        (["random", "--data", "DigitsDataModule", "--attach", "true"], "give synthetic_set"),
        (["no.yaml", "--data", "DigitsDataModule"], "there is no configuration no.yaml"),
        (["random", "--data", "DigitsDataModule", "--set", "nothing"], "no set file"),
    ],
)
def test_wrong_words_end_with_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["audit-set", *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
