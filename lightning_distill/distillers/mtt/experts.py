"""Expert trajectories on disk: the parameters of a network after every epoch of its training, without pickle.

A folder holds one expert: ``epoch-000.safetensors`` (before training), ``epoch-001.safetensors``, ... and
``card.json``. Each file appears whole or not at all, so a training that was cut off leaves a shorter trajectory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_distill.sets.storage import Card, digest
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import write_files_atomically

CARD = "card.json"
#: Key of the digest in the metadata of a file. Files of version 0.1.0 have none.
DIGEST = "sha256"


def write_epoch(folder: str | Path, epoch: int, parameters: Mapping[str, Tensor]) -> None:
    """Write ``epoch-NNN.safetensors``: float32 parameters by name.

    Raises:
        OSError: The folder cannot be written, or the disk is full.
    """
    tensors = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in parameters.items()}
    metadata = {DIGEST: digest_of_epoch(epoch, tensors)}
    write_files_atomically({epoch_path(folder, epoch): save(tensors, metadata)})


def digest_of_epoch(epoch: int, tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the parameters of an epoch, their names and its number."""
    return digest({"epoch": np.array(epoch), **{name: tensor.numpy() for name, tensor in tensors.items()}})


def write_expert_card(folder: str | Path, network: str, spec: DataSpec | None, training: Mapping[str, object]) -> None:
    """Write ``card.json``: the network, the data and the training of an expert.

    Args:
        folder: Folder of the expert; made if absent.
        network: Name of the network.
        spec: Description of the data; ``None`` where it is unknown.
        training: Plain data about the training, e.g. the optimizer's settings.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    card = {"network": network, "data": None if spec is None else spec.to_dict(), "training": dict(training)}
    write_files_atomically({Path(folder) / CARD: json.dumps(card, indent=2, ensure_ascii=False).encode()})


def read_expert_card(folder: str | Path) -> Card:
    """Return the card of one expert.

    Raises:
        FileNotFoundError: The folder has no card.
        ValueError: The card cannot be read.
    """
    try:
        card: Card = json.loads((Path(folder) / CARD).read_text())
        card["network"], card["data"], card["training"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        name = Path(folder).name
        raise ValueError(f"the card of expert {name} cannot be read ({error}); make the expert again") from error
    return card


def epoch_path(folder: str | Path, epoch: int) -> Path:
    """Return the path of the file of one epoch; epoch 0 is before training."""
    return Path(folder) / f"epoch-{epoch:03d}.safetensors"


def epochs_in(folder: str | Path) -> int:
    """Return the number of training epochs that a folder holds without a gap; -1 where epoch 0 is missing."""
    epoch = 0
    while epoch_path(folder, epoch).is_file():
        epoch += 1
    return epoch - 1


class ExpertFiles:
    """Expert trajectories below a folder, checked before they are used.

    Args:
        folder: Folder with one folder for each expert.
        network: Required name of the network.
        parameters: Parameters of such a network; names and shapes of the experts' must be equal.
        spec: Description of the data on which the experts must have been trained.
        epochs: Least number of epochs of each expert.

    Raises:
        FileNotFoundError: The folder has no experts.
        ValueError: The experts have another architecture, image size or data set, too few epochs, or a damaged file.
    """

    def __init__(
        self, folder: str | Path, network: str, parameters: Mapping[str, Tensor], spec: DataSpec, epochs: int
    ) -> None:
        self.folders: Sequence[Path] = sorted(path.parent for path in Path(folder).glob(f"*/{CARD}"))
        if not self.folders:
            raise FileNotFoundError(
                f"no experts in {folder}: make them with `lightning-distill experts --data ... --out {folder}` or the "
                "callback ExpertTrajectoryRecorder, one folder each"
            )
        for one in self.folders:
            _validate_network_and_data(one, network, spec)
            if (count := epochs_in(one)) < epochs:
                raise ValueError(
                    f"expert {one.name} has {max(count, 0)} epochs, max_start + expert_epochs needs {epochs}; train "
                    "experts for longer or lower max_start"
                )
            for epoch in range(epochs + 1):
                _validate_file(epoch_path(one, epoch), epoch, parameters)

    def __len__(self) -> int:
        return len(self.folders)

    def last_epoch(self, expert: int) -> int:
        """Return the last epoch of an expert."""
        return epochs_in(self.folders[expert])

    def parameters_at(self, expert: int, epoch: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Return the parameters by name of one expert after an epoch.

        Raises:
            ValueError: The file was damaged during the run.
        """
        tensors = _read_epoch(epoch_path(self.folders[expert], epoch), epoch)
        return {name: tensor.to(device) for name, tensor in tensors.items()}


def _validate_network_and_data(folder: Path, network: str, spec: DataSpec) -> None:
    card = read_expert_card(folder)
    expert_network, data = card["network"], card["data"]
    made_on = None if data is None else DataSpec.from_dict(data)  # type: ignore[arg-type]
    if expert_network != network:
        raise ValueError(
            f"expert {folder.name} is a {expert_network}, not a {network}; use network={expert_network!r} or new "
            "experts"
        )
    if made_on is None:
        return
    if made_on.shape != spec.shape:
        raise ValueError(f"expert {folder.name} saw images {made_on.shape}, {spec.name} has {spec.shape} (C, H, W)")
    if (made_on.name, made_on.class_names) != (spec.name, spec.class_names):
        raise ValueError(
            f"expert {folder.name} was trained on {made_on.name} ({', '.join(made_on.class_names)}), not on "
            f"{spec.name} ({', '.join(spec.class_names)}); make experts for these data"
        )
    expected, actual = (torch.tensor([s.mean, s.std]) for s in (spec, made_on))
    if not torch.allclose(expected, actual, rtol=0.02):
        raise ValueError(
            f"expert {folder.name} saw {spec.name} with mean {made_on.mean} and std {made_on.std}, here they are "
            f"{spec.mean} and {spec.std}; make experts for these data"
        )


def _read_epoch(path: Path, epoch: int) -> dict[str, Tensor]:
    """Return the parameters of an epoch, verified by their digest.

    Raises:
        ValueError: The file is truncated or damaged.
    """
    problem = ""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get(DIGEST)
        if expected is not None and expected != digest_of_epoch(epoch, tensors):
            problem = "its sha256 differs"
        elif not all(tensor.isfinite().all() for tensor in tensors.values()):
            problem = "it holds numbers that are not finite"
    except (SafetensorError, TypeError, ValueError, RuntimeError) as error:
        problem = str(error)
    if problem:
        raise ValueError(f"{path.parent.name}/{path.name} is truncated or damaged ({problem}); make this expert again")
    return tensors


def _validate_file(path: Path, epoch: int, parameters: Mapping[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in _read_epoch(path, epoch).items()}
    expected = {name: tuple(tensor.shape) for name, tensor in parameters.items()}
    if shapes != expected:
        odd = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))[0]
        raise ValueError(
            f"expert {path.parent.name} has other parameters than the network: {odd} is {shapes.get(odd, 'absent')}, "
            f"not {expected.get(odd, 'there')}"
        )
