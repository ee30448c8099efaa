"""Bfloat16 where the processor has no units for it: said once, and the same results."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from lightning_distill import DMDistiller
from lightning_distill.utils.precision import bf16_is_native, warn_if_emulated


def test_native_is_what_the_processor_says():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith("flags")).split()
    except (OSError, StopIteration):
        pytest.skip("no /proc/cpuinfo with flags on this system")
    assert bf16_is_native("cpu") == ("avx512bw" in flags and "avx512vl" in flags and "avx512dq" in flags)


def test_emulation_is_said_once_a_process():
    code = (
        "import lightning_distill.utils.precision as p; p.bf16_is_native = lambda device: False\n"
        "for _ in range(3): p.warn_if_emulated('cpu')"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert output.count("emulates bf16") == 1
    assert "use precision 32-true" in output


def test_native_bf16_is_silent(monkeypatch):
    monkeypatch.setattr("lightning_distill.utils.precision.bf16_is_native", lambda device: True)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        warn_if_emulated("cpu")
    assert record == []


def test_a_fit_and_its_students_warn_and_go_on(make_data, make_trainer, monkeypatch):
    monkeypatch.setattr("lightning_distill.utils.precision.bf16_is_native", lambda device: False)
    distiller = DMDistiller(ipc=1, network="convnet_w16")
    with pytest.warns(UserWarning, match="emulates bf16"):
        make_trainer(2, precision="bf16-mixed").fit(distiller, datamodule=make_data())
    assert torch.isfinite(distiller.synthetic.images).all()
