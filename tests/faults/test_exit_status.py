"""Signals: SIGTERM saves the step and exits with 143, Ctrl-C exits with 130, and a resumed run equals a whole one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

SLOW = """
import signal, sys, time
from pathlib import Path
from lightning import Callback
from lightning_distill.cli import main

class Slowly(Callback):
    def on_train_batch_end(self, trainer, *_):
        Path(sys.argv[1]).write_text(str(trainer.global_step))
        time.sleep(0.1)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    main(sys.argv[2:])
"""


def config(folder) -> str:
    """A small run of ten steps with two validations, in a file."""
    trainer = {
        "max_steps": 10, "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0,
        "callbacks": [
            {"class_path": "lightning_distill.StudentEvaluation",
             "init_args": {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"]}},
            {"class_path": "lightning_distill.SyntheticSetExport",
             "init_args": {"dirpath": str(folder / "set"), "yardsticks": []}},
            {"class_path": "lightning_distill.DistillCheckpoint", "init_args": {"dirpath": str(folder / "ckpt")}},
            {"class_path": "__main__.Slowly"},
        ],
    }  # fmt: skip
    model = {"class_path": "lightning_distill.DMDistiller",
             "init_args": {"ipc": 1, "network": "convnet_w16", "init": "real", "formation": 1}}  # fmt: skip
    data = {"class_path": "lightning_distill.DigitsDataModule",
            "init_args": {"real_per_class": 8, "steps_per_epoch": 5}}  # fmt: skip
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump({"model": model, "data": data, "trainer": trainer}))
    (folder / "slow.py").write_text(SLOW)
    return str(folder / "run.yaml")


def start(folder, *options) -> subprocess.Popen:
    words = [sys.executable, "-W", "ignore", str(folder / "slow.py"), str(folder / "step"), "fit"]
    return subprocess.Popen(
        [*words, "--config", str(folder / "run.yaml"), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def signal_at(process, folder, step: int, number: int) -> str:
    """Send a signal once a step is made; return what the process wrote to standard error."""
    deadline = time.monotonic() + 180
    while not ((folder / "step").is_file() and int((folder / "step").read_text() or 0) >= step):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=180)[1]


def end(folder) -> tuple[torch.Tensor, dict]:
    checkpoint = torch.load(folder / "ckpt" / "last.ckpt", weights_only=True)
    return checkpoint["state_dict"]["synthetic.images"], checkpoint


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_a_stopped_run_says_so_and_goes_on_exactly(number, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        config(folder)
    other = start(whole)
    process = start(stopped)
    errors = signal_at(process, stopped, 7, number)
    expected = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[number]
    assert process.returncode == expected, errors
    if number != signal.SIGKILL:
        assert errors.strip().splitlines()[-1] == "lightning-distill: stopped"
    saved = int(end(stopped)[1]["global_step"])
    assert saved == (int((stopped / "step").read_text()) if number == signal.SIGTERM else 5)
    last = str(stopped / "ckpt" / "last.ckpt")
    if number == signal.SIGTERM:
        refused = start(stopped, f"--ckpt_path={last}", "--model.init_args.seed=7")
        message = refused.communicate(timeout=180)[1]
        assert refused.returncode == 2
        assert "seed=0 (now 7)" in message
        assert "--resume_with_changes true" in message
    resumed = start(stopped, f"--ckpt_path={last}")
    for each in (other, resumed):
        errors = each.communicate(timeout=180)[1]
        assert each.returncode == 0, errors
    (images, checkpoint), (again, resumed_checkpoint) = end(whole), end(stopped)
    assert checkpoint["global_step"] == resumed_checkpoint["global_step"] == 10
    assert torch.equal(images, again)
    for name in ("best", "last"):
        files = [folder / "set" / name / "set.safetensors" for folder in (whole, stopped)]
        assert files[0].read_bytes() == files[1].read_bytes()
