"""File of a teacher ensemble: one safetensors file with the parameters, the spec and a hash. Nothing is pickled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lightning_distill.evaluation.teachers import TeacherEnsemble
from lightning_distill.functional.network import Parameters
from lightning_distill.sets.storage import Arrays, digest
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import write_files_atomically

KEY, FREQUENCIES = "teachers", "frequencies"


def save_teachers(path: str | os.PathLike[str], teachers: TeacherEnsemble) -> Path:
    """Write teachers to one safetensors file; on failure an older file is kept.

    The networks were trained on the real data and can reveal it. The file is for reuse on the same machine and is not
    part of a shared set.

    Args:
        path: Path of the file. Its folder is created if missing.
        teachers: Trained teachers.

    Returns:
        The path.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {FREQUENCIES: teachers.frequencies.numpy()}
    for number, parameters in enumerate(teachers.parameters):
        arrays |= {f"{number}/{name}": value.detach().cpu().contiguous().numpy() for name, value in parameters.items()}
    about = {
        "spec": teachers.spec.to_dict(),
        "network": teachers.network,
        "temperature": teachers.temperature,
        "augmentation": teachers.augmentation,
        "record": dict(teachers.record),
        "sha256": digest(arrays),
    }
    write_files_atomically({path: save(arrays, metadata={KEY: json.dumps(about, ensure_ascii=False)})})
    return path


def load_teachers(path: str | os.PathLike[str]) -> TeacherEnsemble:
    """Read teachers written by `save_teachers`, and verify the hash of the parameters.

    Args:
        path: Path of the file.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file holds no teachers, or the parameters do not match the hash.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no teacher file {path.name!r} in {path.parent}; write it with --save_teachers FILE")
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})[KEY])
            arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        expected, spec = about["sha256"], DataSpec.from_dict(about["spec"])
        frequencies = torch.from_numpy(arrays[FREQUENCIES])
        parameters: list[Parameters] = [{} for _ in range(int(about["record"]["teachers"]))]
        for key, array in arrays.items():
            number, _, name = key.partition("/")
            if name:
                parameters[int(number)][name] = torch.from_numpy(array)
        teachers = TeacherEnsemble(
            spec=spec,
            network=str(about["network"]),
            parameters=parameters,
            temperature=float(about["temperature"]),
            frequencies=frequencies,
            augmentation=str(about["augmentation"]),
            record=about["record"],
        )
    except (SafetensorError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path.name} is not a readable teacher file: {error}; train the teachers again") from error
    if digest(arrays) != expected:
        raise ValueError(f"{path.name} was changed after it was written (sha256 differs); train the teachers again")
    return teachers
