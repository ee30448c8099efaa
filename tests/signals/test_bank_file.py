from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lightning_distill.signals import SignalBank, read_bank, write_bank


@pytest.fixture
def bank(make_data) -> SignalBank:
    return SignalBank.compute(make_data(), draws=2, network="convnet_w16", train_steps=1, compile="off")[0]


def test_a_bank_is_read_as_it_was_written(bank, tmp_path):
    again = read_bank(write_bank(tmp_path / "folder" / "a.safetensors", bank))
    assert (again.draws, again.spec, again.fingerprints, again.about) == (
        bank.draws, bank.spec, bank.fingerprints, bank.about,
    )  # fmt: skip
    assert torch.equal(again.sums, bank.sums)
    assert torch.equal(again.counts, bank.counts)
    assert all(torch.equal(again.weights[name], rows) for name, rows in bank.weights.items())


def test_no_flipped_bit_is_believed(bank, tmp_path):
    path = write_bank(tmp_path / "a.safetensors", bank)
    content, random = path.read_bytes(), np.random.default_rng(0)
    for position in random.integers(0, len(content), 60):
        broken = bytearray(content)
        broken[position] ^= 1 << int(random.integers(8))
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="obtain the file again"):
            read_bank(path)


def test_cut_foreign_and_missing_files_are_named(bank, tmp_path):
    path = write_bank(tmp_path / "a.safetensors", bank)
    content = path.read_bytes()
    for length in (0, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a readable signal bank"):
            read_bank(path)
    save_file({"sums": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="not a readable signal bank"):
        read_bank(path)
    with pytest.raises(FileNotFoundError, match="lightning-distill signals"):
        read_bank(tmp_path / "none.safetensors")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        write_bank(tmp_path, bank)


def test_the_file_holds_no_path_and_no_pickle(bank, tmp_path):
    path = write_bank(tmp_path / "a.safetensors", bank)
    assert str(tmp_path).encode() not in path.read_bytes()
    with safe_open(path, framework="np") as file:
        assert {"sums", "counts"} <= {*file.keys()}
