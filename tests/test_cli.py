"""The command line as people type it: the files they run, small; and what they see when they mistype."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, blobs

from lightning_distill.cli import main
from lightning_distill.storage import read_set

CONFIGS = sorted((ROOT / "benchmarks/configs").glob("*.yaml"))
SHAPES = {"dermamnist": (7, 3), "pneumoniamnist": (2, 1), "breastmnist": (2, 1)}


@pytest.fixture
def medmnist_root(tmp_path, monkeypatch):
    """Small files with the true shapes, classes and dtypes, found through MEDMNIST_ROOT."""
    for name, (classes, channels) in SHAPES.items():
        arrays = {}
        for seed, split in enumerate(("train", "val", "test")):
            arrays[f"{split}_images"], arrays[f"{split}_labels"] = blobs(classes, 6, 28, channels, seed)
        np.savez_compressed(tmp_path / f"{name}.npz", **arrays)
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small(folder, ipc=1):
    callbacks = yaml.safe_load(CONFIGS[0].read_text())["trainer"]["callbacks"]
    for callback in callbacks:
        if "dirpath" in callback["init_args"]:
            callback["init_args"]["dirpath"] = str(folder / callback["class_path"].rsplit(".", 1)[1])
        else:
            callback["init_args"] = {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"]}
    return [
        f"--trainer.callbacks={json.dumps(callbacks)}", f"--model.init_args.ipc={ipc}", "--trainer.max_steps=2",
        "--model.init_args.network=convnet_w16", "--data.init_args.real_per_class=8", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
        "--data.init_args.steps_per_epoch=2",
    ]  # fmt: skip


def test_there_is_a_config_for_every_data_set():
    assert [path.stem for path in CONFIGS] == ["breastmnist", "dermamnist", "digits", "pneumoniamnist"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config_fits_validates_tests_and_its_set_is_evaluated(config, medmnist_root, capsys):
    out = medmnist_root / "out"
    options = ["--config", str(config), *small(out)]
    main(["fit", *options])
    checkpoint = str(out / "ModelCheckpoint" / "last.ckpt")
    capsys.readouterr()
    main(["validate", *options, f"--ckpt_path={checkpoint}"])
    assert "val/acc" in capsys.readouterr().out
    main(["test", *options, f"--ckpt_path={checkpoint}"])
    assert "test/acc" in capsys.readouterr().out
    folder = out / "ExportSyntheticSet" / "best"
    synthetic, card = read_set(folder)
    assert synthetic.spec.name == config.stem
    assert card["hyper_parameters"]["ipc"] == 1
    assert (out / "SyntheticImages" / "step-2.png").is_file()
    data = ["DigitsDataModule"] if config.stem == "digits" else ["MedMNISTDataModule", f"--data.name={config.stem}"]
    main([
        "evaluate", f"--set={folder}", "--data", *data, "--protocol=tiny", "--students=2",
        "--architectures=[convnet_w16]", "--baselines=[random,full,kmeans]", f"--out={out / 'r.csv'}",
    ])  # fmt: skip
    shown = capsys.readouterr().out
    assert "all real data" in shown
    with (out / "r.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trained_on"] for row in rows] == ["random", "all real data", "kmeans", "DMDistiller"]
    assert [row["ipc"] for row in rows] == ["1", "all", "1", "1"]
    assert {row["split"] for row in rows} == {"test"}
    assert all("--architectures '[convnet_w16]'" in row["command"] for row in rows)
    assert str(medmnist_root) not in (out / "r.csv").read_text()


def test_quickstart_makes_what_it_promises(tmp_path, capsys):
    main([
        "quickstart", f"--out={tmp_path}", "--ipc=1", "--steps=3", "--students=2", "--protocol=tiny",
        "--network=convnet_w16",
    ])  # fmt: skip
    shown = capsys.readouterr().out
    for word in ("random", "all real data", "DMDistiller", "±"):
        assert word in shown
    assert {"best", "grid.png", "results.csv"} <= {path.name for path in tmp_path.iterdir()}
    synthetic, _ = read_set(tmp_path / "best")
    assert len(synthetic.labels) == 10


def test_overview_lists_every_command(capsys):
    main([])
    shown = capsys.readouterr().out
    for command in ("quickstart", "fit", "validate", "test", "evaluate"):
        assert f"\n  {command} " in shown
    main(["--version"])
    assert capsys.readouterr().out.strip() == "0.1.0"


@pytest.mark.parametrize("command", ["fit", "evaluate", "quickstart"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert "--" in capsys.readouterr().out


FIT = ["fit", "--model=DMDistiller", "--data=DigitsDataModule", "--trainer.max_steps=1", "--trainer.accelerator=cpu"]
MEDMNIST = ["fit", "--model=DMDistiller", "--data=MedMNISTDataModule", "--trainer.max_steps=1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*FIT, "--model.ipc=0"], "ipc=0"),
        ([*FIT, "--model.ipc=500"], "class '0' has"),
        ([*FIT, "--model.network=convnetz"], "closest names: convnet"),
        ([*MEDMNIST, "--data.name=pneumonia"], "closest: pneumoniamnist"),
        ([*MEDMNIST, "--data.name=breastmnist", "--data.size=32"], "size=32; MedMNIST has 28, 64, 128, 224"),
        ([*MEDMNIST, "--data.name=bloodmnist", "--data.download=false"], "bloodmnist.npz is not in"),
        (["evaluate", "--set=nowhere", "--data=DigitsDataModule"], "no set file"),
        (["quickstart", "--protocol=slow"], "unknown protocol 'slow'"),
        (["fitt"], "fit"),
    ],
)
def test_bad_input_ends_with_what_is_wrong_and_the_way_out(arguments, message, medmnist_root, capsys):
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert message in errors
    assert "Traceback" not in errors


def test_a_set_that_does_not_fit_the_data_is_refused(medmnist_root, capsys, make_data):
    from lightning_distill.evaluation import TrainingSet
    from lightning_distill.storage import write_set

    spec = make_data().spec
    write_set("other", TrainingSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), spec), {})
    for data, message in (
        (["DigitsDataModule"], "the set's classes are 0, 1; those of digits are 0, 1, 2"),
        (["MedMNISTDataModule", "--data.name=breastmnist"], "the set's images are (1, 8, 8) but breastmnist"),
    ):
        with pytest.raises(SystemExit):
            main(["evaluate", "--set=other", "--data", *data])
        assert message in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        main(["evaluate", "--set=other", "--data=DigitsDataModule", "--baselines=[best]"])
    assert "unknown baseline 'best'; use any of random" in " ".join(capsys.readouterr().err.split())
