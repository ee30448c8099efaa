"""Files of a stranger run no code: neither pickles nor class paths in sets, checkpoints, experts, teachers or CSVs.

A YAML config is code and is not among them, see README.
"""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lightning_distill import DMDistiller, load_set
from lightning_distill.cli import main
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.teacher_file import load_teachers
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set, save_set
from lightning_distill.utils.checkpoint_file import PickledCheckpointError

EVIL = "evil_{}.Evil"
CODE = """
from pathlib import Path
from lightning_distill import DMDistiller
Path({ran!r}).touch()

class Evil(DMDistiller):
    pass
"""
NESTED = {"class_path": "evil_nested.Evil", "init_args": {"x": {"class_path": "subprocess.Popen"}}}


class Payload:
    """Touch a file when it is unpickled."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return Path.touch, (Path(self.ran),)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Path of a file that exists once a stranger's code ran; modules ``evil_*`` in the working folder make it."""
    path = tmp_path / "ran"
    for name in ("ckpt", "nested"):
        (tmp_path / f"evil_{name}.py").write_text(CODE.format(ran=str(path)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    assert not path.exists(), "code of a file ran"


@pytest.fixture
def checkpoint(make_data, make_trainer, tmp_path):
    trainer = make_trainer(1, limit_val_batches=0)
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16", init="real", formation=1), datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    return torch.load(tmp_path / "a.ckpt", weights_only=True)


def refused(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def quiet(command: str) -> list[str]:
    return [
        command, "--model=DMDistiller", "--model.network=convnet_w16", "--model.ipc=1", "--data=DigitsDataModule",
        "--trainer.logger=false", "--trainer.accelerator=cpu", "--trainer.max_steps=1",
        "--trainer.enable_checkpointing=false", "--ckpt_path=evil.ckpt",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["validate", "test"])
@pytest.mark.parametrize("name", [EVIL.format("ckpt"), "os.system", "lightning_distill.load_set", 3])
def test_class_of_a_checkpoint_is_not_imported(command, name, checkpoint, ran, capsys):
    checkpoint["hyper_parameters"] |= {"_class_path": name, "_instantiator": "lightning.pytorch.cli.instantiate_module"}
    torch.save(checkpoint, "evil.ckpt")
    message = refused(quiet(command), capsys)
    assert f"the checkpoint names the class {name!r}" in message
    assert "--model if you trust" in message


@pytest.mark.parametrize(
    "names",
    [
        {"_instantiator": "evil_ckpt.Evil"},
        {"_instantiator": "lightning.pytorch.cli.instantiate_module", "_class_path": "evil_ckpt.Evil"},
        {"_instantiator": "lightning.pytorch.cli.instantiate_module", "_class_path": "subprocess.Popen"},
    ],
)
def test_load_from_checkpoint_imports_nothing(names, checkpoint, ran):
    checkpoint["hyper_parameters"] |= names
    torch.save(checkpoint, "evil.ckpt")
    with pytest.raises(ValueError, match="blocked to prevent arbitrary code execution"):
        DMDistiller.load_from_checkpoint("evil.ckpt")


@pytest.mark.parametrize("command", ["fit", "validate", "test"])
def test_no_command_unpickles_a_checkpoint(command, checkpoint, ran, capsys):
    checkpoint["hyper_parameters"]["x"] = Payload(ran)
    torch.save(checkpoint, "evil.ckpt")
    ran.unlink(missing_ok=True)
    assert "checkpoint evil.ckpt holds Python objects, which may run code" in refused(quiet(command), capsys)


def test_load_from_checkpoint_unpickles_nothing(checkpoint, ran):
    checkpoint["hyper_parameters"]["x"] = Payload(ran)
    torch.save(checkpoint, "evil.ckpt")
    ran.unlink(missing_ok=True)
    with pytest.raises(PickledCheckpointError, match="holds Python objects"):
        DMDistiller.load_from_checkpoint("evil.ckpt")


@pytest.fixture
def evil_set(ran, make_data):
    """A set file whose card and specification are full of class paths."""
    spec = make_data().spec
    card = make_card("evil_nested.Evil", {"network": NESTED, "_class_path": "evil_nested.Evil"}, {}, "noise", 1)
    card |= {"class_path": "evil_nested.Evil", "init_args": NESTED, "method": "evil_nested.Evil"}
    save_set("set", LabeledSet(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.arange(2), spec), card)
    return "set"


def test_reading_a_set_imports_no_class_of_its_card(evil_set):
    assert len(load_set(evil_set)) == 2
    assert read_set(evil_set)[1]["class_path"] == "evil_nested.Evil"


def test_evaluate_report_concat_and_relabel_import_no_class_of_a_card(evil_set, capsys):
    images = np.random.default_rng(0).integers(0, 255, (24, 8, 8), np.uint8)
    splits = {f"{split}_{key}": value for split in ("train", "val", "test")
              for key, value in (("images", images), ("labels", np.arange(24) % 2))}  # fmt: skip
    np.savez("data.npz", **splits)
    data = ["--data=NpzDataModule", "--data.path=data.npz"]
    small = ["--protocol=tiny", "--students=2", "--architectures=[convnet_w16]"]
    main(["evaluate", f"--set={evil_set}", *data, *small, "--out=results.csv"])
    main(["report", evil_set, "results.csv", "--out=report.html", *data])
    main(["concat", evil_set, evil_set, "--out=both"])
    main(["relabel", f"--set={evil_set}", "--out=soft", "--teachers=1", "--protocol=tiny", *data])
    assert Path("report.html").is_file()


def test_csv_predictions_and_teachers_take_no_class_paths(ran, make_data, capsys):
    with open("results.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "candidate", "method", "acc", "command"])
        writer.writerow(["evil_nested.Evil", json.dumps(NESTED), "evil_nested.Evil", "0.5", "import evil_nested"])
    with pytest.raises(SystemExit):
        main(["report", "results.csv", "--out=report.html"])
    arrays = {"logits": np.zeros((1, 2, 2), np.float32)}
    about = {"class_path": "evil_nested.Evil", "spec": json.dumps(asdict(make_data().spec) | NESTED), "card": "{}"}
    save_file(arrays, "p.safetensors", metadata=about)
    for read in (Predictions.read, load_teachers):
        with pytest.raises(ValueError, match=r"p\.safetensors"):
            read(Path("p.safetensors"))
