"""Names of files, folders, users and hosts are in no output: sets, cards, checkpoints, CSVs, reports, logs, W&B.

The marker is in all of them: the folder, the npz file, the image folder, the user, the home folder and the host.
``config.yaml``, which Lightning saves for a repetition, is what the user wrote; TensorBoard names its files by host,
and the debug log of wandb, which stays on the machine, names the folder of a run where ``save_dir`` is absolute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from lightning_distill import DistillCheckpoint, DMDistiller
from lightning_distill.cli import main

MARKER = "zq7marker"
HOST = f"""
import platform, socket
socket.gethostname = platform.node = lambda: "{MARKER}host"
"""
SMALL = ["--protocol=tiny", "--students=2", "--architectures=[convnet_w16]"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Folder with the marker, with an npz file and an image folder, as the working folder of a user with the marker."""
    here = tmp_path / f"{MARKER}_ward"
    (here / "home").mkdir(parents=True)
    random = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 24), ("val", 12), ("test", 12)):
        labels = splits[f"{split}_labels"] = np.arange(count) % 2
        splits[f"{split}_images"] = random.integers(0, 60, (count, 8, 8), np.uint8)
        splits[f"{split}_images"][labels == 1, :4] += 150
    np.savez(here / f"{MARKER}_doe.npz", **splits)
    for number in range(20):
        path = here / f"{MARKER}_images" / ("ill", "well")[number % 2] / f"{MARKER}_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(splits["train_images"][number]).save(path)
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, f"{MARKER}user")
    monkeypatch.setenv("HOME", str(here / "home"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))  # offline files name the copies that sync uploads
    for name in [name for name in os.environ if name.startswith("WANDB_") and name not in ("WANDB_DATA_DIR",)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(here)
    return here


def hits(folder: Path) -> list[str]:
    """Outputs that hold the marker, members of archives included."""
    found = []
    inputs = (f"{MARKER}_doe.npz", f"{MARKER}_images", "home", "run.yaml", "config.yaml")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] in inputs or name.name == "config.yaml" or not path.is_file():
            continue
        if MARKER in str(name) and not name.name.startswith("events.out.tfevents"):
            found.append(f"name {name}")
        content = path.read_bytes()
        parts = {str(name): content}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                parts |= {f"{name}:{member}": archive.read(member) for member in archive.namelist()}
        found += [part for part, data in parts.items() if MARKER.encode() in data or MARKER.encode("utf-16-le") in data]
    return found


def config(here: Path) -> str:
    ours = "lightning_distill."
    loggers = "lightning.pytorch.loggers."
    callbacks = [
        {"class_path": f"{ours}StudentEvaluation",
         "init_args": {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"]}},
        {"class_path": f"{ours}SyntheticImageLogger"},
        {"class_path": f"{ours}SyntheticSetExport", "init_args": {"dirpath": str(here / "set")}},
        {"class_path": f"{ours}DistillCheckpoint", "init_args": {"dirpath": str(here / "ckpt")}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
         "init_args": {"dirpath": str(here / "theirs"), "monitor": "val/acc", "save_last": True}},
    ]  # fmt: skip
    trainer = {
        "max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False, "num_sanity_val_steps": 0,
        "log_every_n_steps": 1, "callbacks": callbacks,
        "logger": [
            {"class_path": f"{loggers}WandbLogger",
             "init_args": {"project": "p", "offline": True, "save_dir": "."}},
            {"class_path": f"{loggers}TensorBoardLogger", "init_args": {"save_dir": str(here / "tb")}},
            {"class_path": f"{loggers}CSVLogger", "init_args": {"save_dir": str(here / "csv")}},
        ],
    }  # fmt: skip
    content = {
        "model": {"class_path": f"{ours}DMDistiller",
                  "init_args": {"ipc": 1, "network": "convnet_w16", "init": "real", "formation": 1}},
        "data": {"class_path": f"{ours}NpzDataModule",
                 "init_args": {"path": str(here / f"{MARKER}_doe.npz"), "real_per_class": 8}},
        "trainer": trainer,
    }  # fmt: skip
    (here / "run.yaml").write_text(yaml.safe_dump(content))
    return str(here / "run.yaml")


def test_a_fit_writes_no_name_of_file_folder_user_or_host(place, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HOST)
    path = os.pathsep.join([str(tmp_path / "site"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "ignore", "-m", "lightning_distill", "fit", "--config", config(place)]
    for more in ([], ["--trainer.max_steps=3", f"--ckpt_path={place / 'ckpt' / 'last.ckpt'}"]):
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, timeout=250, env={**os.environ, "PYTHONPATH": path}
        )
        assert done.returncode == 0, done.stderr[-2000:]
    written = {name.relative_to(place).parts[0] for name in place.rglob("*") if name.is_file()}
    assert {"set", "ckpt", "theirs", "wandb", "tb", "csv"} <= written
    assert len(list(place.glob("wandb/offline-run-*/run-*.wandb"))) == 2
    assert hits(place) == []
    state = torch.load(place / "theirs" / "last.ckpt", weights_only=True)["callbacks"]
    paths = [value for each in state.values() if "dirpath" in each for value in each.values() if isinstance(value, str)]
    assert not any(os.path.isabs(value) for value in paths)


def test_commands_write_no_name_of_file_folder_or_user(place, capsys):
    npz = ["--data=NpzDataModule", f"--data.path={place / f'{MARKER}_doe.npz'}"]
    folder = ["--data=FolderDataModule", f"--data.root={place / f'{MARKER}_images'}"]
    for number, data in enumerate((npz, folder)):
        out = place / str(number)
        split = ["--split=val"] if number else []
        main(["coreset", *data, "--method=herding", "--ipc=2", f"--out={out / 'a'}"])
        main(["coreset", *data, "--method=random", "--ipc=1", f"--out={out / 'b'}"])
        main(["concat", str(out / "a"), str(out / "b"), f"--out={out / 'both'}"])
        main(["relabel", f"--set={out / 'a'}", *data, "--teachers=1", "--protocol=tiny", f"--out={out / 'soft'}",
              f"--save_teachers={out / 'teachers.safetensors'}"])  # fmt: skip
        main(["evaluate", f"--set={out / 'soft'}", *data, *SMALL, *split, f"--out={out / 'rows.csv'}",
              f"--predictions={out / 'predictions'}"])  # fmt: skip
        main(["report", str(out / "soft"), str(out / "rows.csv"), *data, f"--out={out / 'report.html'}"])
        main(["experts", *data, "--count=1", "--epochs=2", "--network=convnet_w16", f"--out={out / 'experts'}"])
        main(["audit-data", *data, f"--out={out / 'audit.csv'}"]) if number else None
        main(
            [
                "mix",
                f"--set={out / 'a'}",
                *data,
                *SMALL[:2],
                "--network=convnet_w16",
                "--real=[8]",
                *split,
                f"--out={out / 'mix.csv'}",
            ]
        )
    assert hits(place) == []


def test_a_moved_folder_goes_on_with_its_best_checkpoint(make_data, make_trainer, tmp_path):
    class Scored(DMDistiller):
        def validation_step(self, batch, batch_idx):
            self.log("score", -float(self.global_step))

    def fit(folder, steps, resume=None):
        saver = DistillCheckpoint(folder, monitor="score")
        trainer = make_trainer(steps, callbacks=[saver], enable_checkpointing=True)
        distiller = Scored(ipc=1, network="convnet_w16", init="real", formation=1)
        trainer.fit(distiller, datamodule=make_data(steps_per_epoch=2), ckpt_path=resume, weights_only=True)
        return saver

    first = fit(tmp_path / "a", 2)
    best = Path(first.best_model_path).name
    (tmp_path / "a").rename(tmp_path / "b")
    moved = fit(tmp_path / "b", 4, tmp_path / "b" / "last.ckpt")
    assert moved.best_model_path == str(tmp_path / "b" / best)  # the first is still the best
    assert float(moved.best_model_score) == -2
    (tmp_path / "b" / best).unlink()
    with pytest.warns(UserWarning, match=rf"the best checkpoint so far, {best}, is not in .*b; the best one from now"):
        again = fit(tmp_path / "b", 6, tmp_path / "b" / "last.ckpt")
    assert float(again.best_model_score) == -6


def test_cards_of_any_data_have_the_name_that_was_given(place):
    main(["coreset", "--data=NpzDataModule", f"--data.path={place / f'{MARKER}_doe.npz'}", "--data.name=clinic",
          "--ipc=1", "--out=a"])  # fmt: skip
    assert json.loads((place / "a" / "card.json").read_text())["data"]["name"] == "clinic"
