"""A run killed with SIGKILL and resumed ends with the images of the run that was never killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from lightning import Callback

from lightning_distill.distillers.quiet import quiet_trainer

RUN = """
import sys, time
from pathlib import Path
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
import lightning_distill
from lightning_distill import DigitsDataModule, StudentEvaluation

folder, pause = Path(sys.argv[1]), float(sys.argv[2])

class Slowly(Callback):
    def on_train_batch_end(self, trainer, *_):
        (folder / "step").write_text(str(trainer.global_step))
        time.sleep(pause)

keep = ModelCheckpoint(folder, every_n_train_steps=2, save_last=True)
students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"])
trainer = Trainer(
    max_steps=12, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[keep, students, Slowly()], num_sanity_val_steps=0,
)
method, options = {
    "dm": (lightning_distill.DMDistiller, {}),
    "dsa": (lightning_distill.DSADistiller, {"outer_loop": 5, "inner_loop": 2}),
    "krr": (lightning_distill.KRRDistiller, {"pool_size": 2, "max_age": 4}),
    "krr_networks": (lightning_distill.KRRDistiller, {"pool_size": 2, "max_age": 4, "pool_networks": ["mlp"]}),
}[sys.argv[3]]
distiller = method(ipc=1, network="convnet_w16", seed=5, **options)
data = DigitsDataModule(real_per_class=8, steps_per_epoch=4)
trainer.fit(distiller, datamodule=data, ckpt_path="last", weights_only=True)
import torch
end = {"images": distiller.synthetic.images.detach(), "acc": trainer.callback_metrics["val/acc"]}
torch.save(end, folder / "end.pt")
"""


#: Further points of the same methods.
LONG = [pytest.param(*case, marks=pytest.mark.long) for case in (("dm", 3), ("dsa", 9))]


def start(folder, pause: float, method: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUN, str(folder), str(pause), method],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(("method", "kill_at"), [("dm", 7), ("dsa", 3), ("krr", 7), *LONG])
def test_killed_and_resumed_run_is_bit_identical(method, kill_at, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = start(tmp_path / "whole", 0, method)
    killed = start(tmp_path / "killed", 0.3, method)
    step = tmp_path / "killed" / "step"
    deadline = time.monotonic() + 120
    while not (step.is_file() and (step.read_text() or "0") >= str(kill_at)):
        assert killed.poll() is None, killed.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "end.pt").exists()
    resumed = start(tmp_path / "killed", 0, method)
    for process in (whole, resumed):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    ends = [torch.load(tmp_path / name / "end.pt", weights_only=True) for name in ("whole", "killed")]
    assert torch.equal(ends[0]["images"], ends[1]["images"])
    assert ends[0]["acc"] == ends[1]["acc"]


@pytest.mark.parametrize("method", ["DMDistiller", "KRRDistiller"])
def test_a_longer_run_goes_on_at_the_rate_of_its_own_schedule(tmp_path, method):
    import lightning_distill

    class Rates(Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def fit(steps: int) -> None:
        distiller = getattr(lightning_distill, method)(
            ipc=1, network="convnet_w16", lr=1.0, lr_schedule="cosine", compile="off"
        )
        trainer = quiet_trainer(steps, "32-true", "cpu", [Rates()])
        data = lightning_distill.DigitsDataModule(real_per_class=8)
        last = tmp_path / "last.ckpt"
        trainer.fit(distiller, datamodule=data, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
        trainer.save_checkpoint(last)

    rates: list[float] = []
    fit(2)
    fit(4)
    assert rates == pytest.approx([1.0, 0.5, 0.5, (1 - 0.5**0.5) / 2])
