"""The command ``audit-set``."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console

from lightning_distill.cli import main
from lightning_distill.commands.audit_set import print_result
from lightning_distill.leakage import audit_run, audit_set, read_audit, shadows
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
    monkeypatch.setattr(audit_run, "EMBEDDING_STEPS", 2)
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
    assert "Strongest attacks on digits" in shown
    assert shown.count("│ image │") == 3  # the recipe's sets, the finished set and random picks: one row each
    assert "Not measured" in shown
    assert "There is no formal guarantee" in shown
    assert "Patients are unknown in these data: images were counted" in shown
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


def last_line(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_set_of_another_configuration_and_a_folder_of_another_audit_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(audit_run, "EMBEDDING_STEPS", 2)
    (tmp_path / "one.yaml").write_text(CONFIG)
    (tmp_path / "two.yaml").write_text(CONFIG.replace("ipc: 1", "ipc: 2"))
    export = ["--trainer.callbacks+=SyntheticSetExport", "--trainer.callbacks.dirpath=run"]
    main(["fit", "--config", "one.yaml", "--trainer.logger=false", "--trainer.limit_val_batches=0", *export])
    random = ["random", "--data", "DigitsDataModule", "--baselines", "[]", "--out", "audit"]
    main(["audit-set", *random, "--ipc", "1", *SMALL])
    for words, message in (
        (["two.yaml", "--set", "run/last", "--out", "never"], "made with ipc=1, the configuration says 2"),
        ([*random, "--ipc", "2"], "holds shadow sets of another recipe, other data or other settings"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["audit-set", *words, *SMALL])
        assert stop.value.code == 2
        assert message in last_line(capsys)
    assert not (tmp_path / "never").exists()


def test_a_class_that_a_half_lacks_is_named_before_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    arrays = {}
    for split, labels in (("train", [0] * 20 + [1] * 20 + [2]), ("val", [0, 1, 2]), ("test", [0, 1, 2])):
        arrays[f"{split}_images"] = random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.array(labels)[:, None]
    np.savez("rare.npz", **arrays)
    with pytest.raises(SystemExit) as stop:
        main(["audit-set", "random", "--data", "NpzDataModule", "--data.path", "rare.npz", "--ipc", "1", *SMALL])
    assert stop.value.code == 2
    assert "class '2'" in last_line(capsys)
    assert not (tmp_path / "audit").exists()


def test_an_interrupted_command_ends_with_130_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(audit_run, "EMBEDDING_STEPS", 2)
    write, written = shadows.ShadowRun._write, []

    def interrupted(self, shadow, *rest):
        if shadow == 3 and 3 not in written:
            written.append(3)
            raise KeyboardInterrupt
        written.append(shadow)
        write(self, shadow, *rest)

    monkeypatch.setattr(shadows.ShadowRun, "_write", interrupted)
    words = ["audit-set", "random", "--data", "DigitsDataModule", "--ipc", "1", "--baselines", "[]", *SMALL]
    words += ["--out", str(tmp_path / "audit")]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 130
    assert "stopped" in capsys.readouterr().err
    main(words)
    assert written == [0, 1, 2, 3, 3, 4, 5, 6, 7], "finished shadow sets are not made again"


def test_every_cell_stands_under_its_column(tmp_path, make_data, monkeypatch):
    monkeypatch.setattr(audit_run, "EMBEDDING_STEPS", 2)
    options = {"network": "convnet_w16", "protocol": "tiny", "queries": 1, "accelerator": "cpu"}
    result = audit_set(
        "random", make_data(2, size=12), ipc=1, shadows=8, baselines=[], out=tmp_path / "audit", **options
    )
    console = Console(record=True, width=200)
    print_result(result, console)
    lines = console.export_text().splitlines()
    head = next(line for line in lines if "TPR at 1 %" in line)
    (row,) = [line for line in lines if line.startswith("│ random real images")]
    strongest = result.strongest("random")
    at = [place for place, mark in enumerate(row) if mark == "│"]
    cells = [head[start + 1 : end].strip() for start, end in pairwise(at)]
    values = [row[start + 1 : end].strip() for start, end in pairwise(at)]
    shown = dict(zip((cell.strip("┃ ") for cell in cells), values, strict=True))
    assert shown["unit"] == "image"
    assert shown["attack"] == strongest.attack
    assert shown["AUC"].startswith(f"{strongest.rates.auc:.3f}")
