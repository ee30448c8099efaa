"""Two gloo processes, each with half of the classes, make the images of one process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from lightning_distill import DigitsDataModule

RUN = """
import json, sys, torch
from lightning import Trainer
import lightning_distill
from lightning_distill import DigitsDataModule, StudentEvaluation

folder, devices = sys.argv[1], int(sys.argv[2])
for name, (method, network, options) in json.loads(sys.argv[3]).items():
    trainer = Trainer(
        max_steps=3, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        callbacks=[StudentEvaluation("tiny", students=2, architectures=["convnet_w16"])],
    )
    assert trainer.world_size == devices
    distiller = getattr(lightning_distill, method)(ipc=2, network=network, seed=1, **options)
    trainer.fit(distiller, datamodule=DigitsDataModule(real_per_class=8))
    if trainer.is_global_zero:
        values = {key: value.clone() for key, value in trainer.callback_metrics.items()}
        torch.save({"images": distiller.synthetic.images.detach().clone(), **values}, f"{folder}/{name}-{devices}.pt")
"""
CASES = {
    "dm": ("DMDistiller", "convnet_w16", {}),
    "dm_latent": ("DMDistiller", "convnet_w16", {"latent": "untrained"}),
    "dm_batch_norm": ("DMDistiller", "convnet_batch", {}),
    "dm_pool": ("DMDistiller", "convnet_w16", {"pool": 2, "pool_images": "all"}),
    "dc": ("DCDistiller", "convnet_w16", {"outer_loop": 2, "inner_loop": 2}),
    "dsa": ("DSADistiller", "convnet_w16", {"collective": True, "outer_loop": 2, "inner_loop": 1}),
    "krr": ("KRRDistiller", "convnet_w16", {"pool_size": 2, "max_age": 2, "optimizer": "sgd"}),
    "krr_batch_norm": ("KRRDistiller", "convnet_batch", {"pool_size": 2, "max_age": 2, "optimizer": "sgd"}),
    "krr_networks": (
        "KRRDistiller",
        "convnet_w16",
        {"pool_size": 2, "max_age": 2, "optimizer": "sgd", "pool_networks": ["mlp"]},
    ),
    "mtt": ("MTTDistiller", "convnet_w16", {"max_start": 2, "expert_epochs": 2, "syn_steps": 2, "lr": 10.0}),
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_equal_one(make_experts, tmp_path):
    """All methods run one after the other in the same processes: their imports cost more than the runs."""
    experts = str(make_experts(DigitsDataModule(real_per_class=8)))
    cases = {name: (*case[:2], {**case[2], **({"experts": experts} if name == "mtt" else {})})
             for name, case in CASES.items()}  # fmt: skip
    script, port = tmp_path / "run.py", str(free_port())
    script.write_text(RUN)
    processes = []
    for devices in (1, 2):
        for rank in range(devices):
            world = {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                     "MASTER_PORT": port} if devices > 1 else {}  # fmt: skip
            processes.append(subprocess.Popen(
                [sys.executable, "-W", "ignore", str(script), str(tmp_path), str(devices), json.dumps(cases)],
                env={**os.environ, "OMP_NUM_THREADS": "1", **world}, stderr=subprocess.PIPE, text=True,
            ))  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=280)
        assert process.returncode == 0, errors[-3000:]
    for name in cases:
        one, two = (torch.load(tmp_path / f"{name}-{devices}.pt", weights_only=True) for devices in (1, 2))
        torch.testing.assert_close(
            two["images"], one["images"], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
        torch.testing.assert_close(two["distill/loss"], one["distill/loss"], rtol=1e-5, atol=1e-6)
        assert two["val/acc"] == pytest.approx(one["val/acc"].item(), abs=1e-6), name
