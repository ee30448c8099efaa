"""Two gloo processes, each with half of the classes, make the images of one process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from lightning_distill import DigitsDataModule

RUN = """
import sys, torch
from lightning import Trainer
import lightning_distill
from lightning_distill import DigitsDataModule, StudentEvaluation

folder, devices, network, method = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
options = eval(sys.argv[5])
trainer = Trainer(
    max_steps=3, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    callbacks=[StudentEvaluation("tiny", students=2, architectures=["convnet_w16"])],
)
distiller = getattr(lightning_distill, method)(ipc=2, network=network, seed=1, **options)
trainer.fit(distiller, datamodule=DigitsDataModule(real_per_class=8))
if trainer.is_global_zero:
    values = {name: value.clone() for name, value in trainer.callback_metrics.items()}
    torch.save({"images": distiller.synthetic.images.detach().clone(), **values}, folder + f"/{devices}.pt")
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
@pytest.mark.parametrize(
    ("method", "network", "options"),
    [
        ("DMDistiller", "convnet_w16", {}),
        ("DMDistiller", "convnet_batch", {}),
        ("DMDistiller", "convnet_w16", {"pool": 2, "pool_images": "all"}),
        ("DCDistiller", "convnet_w16", {"outer_loop": 2, "inner_loop": 2}),
        ("DSADistiller", "convnet_w16", {"collective": True, "outer_loop": 2, "inner_loop": 1}),
        ("KRRDistiller", "convnet_w16", {"pool_size": 2, "max_age": 2, "optimizer": "sgd"}),
        ("KRRDistiller", "convnet_batch", {"pool_size": 2, "max_age": 2, "optimizer": "sgd"}),
        ("MTTDistiller", "convnet_w16", {"max_start": 2, "expert_epochs": 2, "syn_steps": 2, "lr": 10.0}),
    ],
)
def test_two_processes_equal_one(method, network, options, make_experts, tmp_path):
    if method == "MTTDistiller":
        options = {**options, "experts": make_experts(DigitsDataModule(real_per_class=8))}
    script = tmp_path / "run.py"
    script.write_text(RUN)
    for devices in (1, 2):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(script), str(tmp_path), str(devices), network, method, str(options)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / f"{devices}.pt", weights_only=True) for devices in (1, 2))
    torch.testing.assert_close(two["images"], one["images"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(two["distill/loss"], one["distill/loss"], rtol=1e-5, atol=1e-6)
    assert two["val/acc"] == pytest.approx(one["val/acc"].item(), abs=1e-6)
