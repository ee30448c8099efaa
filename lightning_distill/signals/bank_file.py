"""Signal bank file: one safetensors file with sums, counts and optional weights, and a description as JSON.

The file holds ``sums`` (P, K, D) float32, ``counts`` (P, K) float32 and ``weights/NAME`` (P, ...), and in its metadata
the draws, the description of the data, and a sha256 over all of it. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lightning_distill.sets.storage import check_file_writable, digest
from lightning_distill.signals.bank import SignalBank
from lightning_distill.signals.draws import SignalDraws
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import write_files_atomically

#: Version of the file format.
FORMAT = 1
WEIGHTS = "weights/"


def write_bank(path: str | os.PathLike[str], bank: SignalBank) -> Path:
    """Write a bank to one file, whole or not at all.

    Args:
        path: File to write, e.g. ``site_a.safetensors``; its folder is made.
        bank: Bank to write.

    Returns:
        The path.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    check_file_writable(path)
    tensors = {"sums": bank.sums, "counts": bank.counts} | {WEIGHTS + name: rows for name, rows in bank.weights.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about: dict[str, object] = {
        "format": FORMAT,
        "draws": bank.draws.to_dict(),
        "data": bank.spec.to_dict(),
        "fingerprints": list(bank.fingerprints),
        "about": dict(bank.about),
    }
    about["sha256"] = digest({name: tensor.numpy() for name, tensor in tensors.items()}, about)
    write_files_atomically({path: save(tensors, metadata={"bank": json.dumps(about)})})
    return path


def read_bank(path: str | os.PathLike[str]) -> SignalBank:
    """Read a bank and verify its digest.

    Args:
        path: File of `write_bank`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no bank, is damaged, or was changed after it was written.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a file of `lightning-distill signals`")
    try:
        with safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["bank"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        actual = digest({name: tensor.numpy() for name, tensor in tensors.items()}, about)
        bank = SignalBank(
            SignalDraws(**about["draws"]),
            DataSpec.from_dict(about["data"]),
            tensors["sums"],
            tensors["counts"],
            tuple(map(str, about["fingerprints"])),
            {name.removeprefix(WEIGHTS): rows for name, rows in tensors.items() if name.startswith(WEIGHTS)},
            dict(about["about"]),
        )
        expected = about["sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name} is not a readable signal bank: {error}; obtain the file again") from error
    if actual != expected:
        raise ValueError(f"{path.name} was changed after it was written (sha256 differs); obtain the file again")
    if bank.sums.dtype != torch.float32 or not bool(bank.sums.isfinite().all()) or bool((bank.counts < 0).any()):
        raise ValueError(f"{path.name} has sums or counts that no images give; obtain the file again")
    return bank
