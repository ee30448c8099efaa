"""Train the expert networks of trajectory matching and write their parameters after every epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.mtt.experts import CARD, epochs_in, read_expert_card, write_epoch, write_expert_card
from lightning_distill.evaluation import Protocol, Student, StudentTrainer, TrainedStudents, full_data
from lightning_distill.evaluation.students.trainer import ParametersCallback
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.network import Parameters
from lightning_distill.networks import check_network
from lightning_distill.sets.storage import check_writable
from lightning_distill.spec import DataSpec
from lightning_distill.utils.hardware import Accelerator, resolve_device
from lightning_distill.utils.locks import owned
from lightning_distill.utils.precision import Precision
from lightning_distill.utils.progress import ProgressCounter, ProgressReport
from lightning_distill.utils.rng import derive_seed


def train_experts(
    data: ArrayDataModule,
    out: str | os.PathLike[str] = "experts",
    *,
    count: int = 20,
    epochs: int = 50,
    network: str = "convnet",
    lr: float = 0.01,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    batch_size: int = 256,
    augmentation: str | None = None,
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
    on_progress: ProgressReport | None = None,
    on_expert: Callable[[Path, float], object] = lambda folder, accuracy: None,
) -> list[Path]:
    """Train networks on all real training images and write their parameters after every epoch.

    Complete experts in the folder are kept; an incomplete one is trained again from its seed. The function prints
    nothing; the command ``lightning-distill experts`` does.

    Args:
        data: Real data.
        out: Folder of all experts; expert n is written to ``out/00n``.
        count: Number of experts.
        epochs: Number of epochs of each expert.
        network: Name of the network, of this package or of timm.
        lr: Learning rate, constant over all epochs.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        batch_size: Number of images in a training step.
        augmentation: Augmentation preset, see `augmentation.presets.PRESETS`. Default: that of the data.
        seed: Seed of the first expert; the others count up from it. Experts and evaluated students never share their
            initial weights.
        precision: Precision of the forward pass: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        on_progress: Function that receives the description, the finished and the total epochs.
        on_expert: Function that receives the folder of each new expert and its accuracy on val.

    Returns:
        Folder of each expert.

    Raises:
        ValueError: A number is out of range, a name is unknown, or the folder holds experts of other settings.
        OSError: The folder cannot be written, or belongs to a run that is still going.

    Reference:
        Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv 2203.11932.
    """
    for name, value in (("count", count), ("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    check_network(network)
    check_writable(out)
    spec, real = data.spec, full_data(data.all_train_arrays(), data.spec)(0)
    protocol = Protocol("expert", epochs - 1, lr, momentum, weight_decay, batch_size, augmentation, decay=False)
    device = resolve_device(accelerator)
    student_trainer = StudentTrainer(
        network,
        spec,
        protocol=protocol,
        images=len(real.labels),
        students=count,
        device=device,
        bf16=precision == "bf16-mixed",
        compile=compile,
    )
    training = {
        "epochs": epochs, "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "batch_size": batch_size,
        "augmentation": augmentation or spec.augmentation, "precision": precision,
    }  # fmt: skip
    folders = [Path(out) / f"{number:03d}" for number in range(count)]
    progress = ProgressCounter(on_progress, count * epochs)
    progress.start(f"{count} experts")
    with owned(out):
        for number, folder in enumerate(folders, seed):
            if keep_expert(folder, network, spec, {**training, "seed": number}, epochs):
                progress.advance(epochs)
                continue
            student = student_trainer.fit(
                real,
                derive_seed("expert", number),
                on_epoch=progress.advance,
                on_epoch_parameters=_writer(folder, student_trainer.network.weight_names),
            )
            on_expert(folder, _accuracy(student, data, device))
    return folders


def keep_expert(folder: Path, network: str, spec: DataSpec, training: dict[str, object], epochs: int) -> bool:
    """Return whether a folder holds the complete expert; write the card into a new folder.

    Raises:
        ValueError: The folder holds an expert of other settings.
    """
    if (folder / CARD).exists():
        card = read_expert_card(folder)
        known = spec.to_dict()
        missing = {"scale": "", **({"resize": spec.resize} if spec.resize else {})}  # older cards lack these
        data = {**missing, **card["data"]} if isinstance(card["data"], dict) else None
        if (card["network"], data, card["training"]) != (network, known, training):
            raise ValueError(f"{folder} holds an expert of other settings, see its card.json; choose another --out")
    else:
        write_expert_card(folder, network, spec, training)
    return epochs_in(folder) >= epochs


def _writer(folder: Path, weights: Collection[str]) -> ParametersCallback:
    """Return a callback that writes the weights of each epoch under the names of the network."""

    def on_epoch_parameters(epoch: int, parameters: Parameters) -> None:
        write_epoch(folder, epoch, {name.removeprefix("network."): parameters[name] for name in weights})

    return on_epoch_parameters


def _accuracy(student: Student, data: ArrayDataModule, device: str) -> float:
    """Return the accuracy on the validation split."""
    trained = TrainedStudents([student], data.spec, device=device, started_at=0.0)
    for x, y in data.val_dataloader():
        trained.update(data.spec.normalize(x.to(device)), y.to(device))
    return trained.scores().mean("acc")
