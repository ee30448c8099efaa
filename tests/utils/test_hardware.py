"""Timings are told apart by what they were made on, without a host's name."""

from __future__ import annotations

import platform

import pytest
import torch

from lightning_distill.utils import hardware as module
from lightning_distill.utils.hardware import machine_description, processor_info


@pytest.mark.parametrize(
    ("flags", "units"),
    [
        ("fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", ", AMX bf16"),
        ("fpu avx2 avx512f avx512_bf16", ", AVX512 bf16"),
        ("avx2 avx512f", ", AVX512"),
        ("sse avx2", ", AVX2"),
        ("sse", ""),
    ],
)
def test_one_name_of_several_generations_is_told_apart(monkeypatch, tmp_path, flags, units):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\nmodel name\t: No\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "processor_info", lambda: processor_info(file))
    assert machine_description() == f"{torch.get_num_threads()} threads, Some CPU{units}"


def test_systems_without_cpuinfo_and_gpus_have_a_name(monkeypatch, tmp_path):
    assert processor_info(tmp_path / "missing") == {}
    monkeypatch.setattr(module, "processor_info", dict)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine_description() == f"{torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert machine_description() == "NVIDIA H200"


def test_no_host_name():
    assert platform.node() not in machine_description().replace(",", " ").split()
