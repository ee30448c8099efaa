"""Damaged files of experts are refused when they are opened."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightning_distill.distillers.mtt.experts import ExpertFiles, epoch_path, write_epoch, write_expert_card

WEIGHTS = {"0.weight": torch.linspace(-1, 1, 40).reshape(4, 10), "0.bias": torch.zeros(4)}


@pytest.fixture
def folder(make_data, tmp_path):
    spec = make_data().spec
    one = tmp_path / "experts" / "000"
    write_expert_card(one, "net", spec, {})
    for epoch in range(3):
        write_epoch(one, epoch, {name: tensor + epoch for name, tensor in WEIGHTS.items()})
    return one, lambda: ExpertFiles(one.parent, "net", WEIGHTS, spec, 2)


def test_no_flipped_bit_of_the_parameters_is_believed(folder):
    one, opened = folder
    assert torch.equal(opened().parameters_at(0, 2)["0.bias"], torch.full((4,), 2.0))
    path, random = epoch_path(one, 1), np.random.default_rng(0)
    data = path.read_bytes()
    for place in random.integers(0, len(data), 120):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            parameters = opened().parameters_at(0, 1)
        except ValueError as error:
            assert "000" in str(error)  # noqa: PT017
        else:  # a bit of the name of the digest
            assert all(torch.equal(parameters[name], WEIGHTS[name] + 1) for name in WEIGHTS)


def test_file_that_is_damaged_during_the_run_or_stands_for_another_epoch_is_refused(folder):
    one, opened = folder
    files = opened()
    shutil.copy(epoch_path(one, 2), epoch_path(one, 1))
    with pytest.raises(ValueError, match=r"000/epoch-001\.safetensors is truncated or damaged .*sha256 differs"):
        files.parameters_at(0, 1)
    with pytest.raises(ValueError, match="sha256 differs"):
        opened()


def test_files_without_a_digest_are_read_unless_they_are_not_finite(folder):
    one, opened = folder
    save_file(WEIGHTS, epoch_path(one, 1))
    assert torch.equal(opened().parameters_at(0, 1)["0.weight"], WEIGHTS["0.weight"])
    save_file({**WEIGHTS, "0.bias": torch.full((4,), float("nan"))}, epoch_path(one, 1))
    with pytest.raises(ValueError, match="numbers that are not finite"):
        opened()


def test_card_of_an_expert_is_json(folder):
    assert json.loads((folder[0] / "card.json").read_text())["network"] == "net"
