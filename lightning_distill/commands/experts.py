"""``lightning-distill experts``: train expert networks for trajectory matching and store every epoch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from lightning_distill.commands._options import Accelerator, Precision, progress_bar, resolve_device
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.mtt.experts import CARD, epochs_in, read_expert_card, write_epoch, write_expert_card
from lightning_distill.evaluation import Protocol, Student, StudentTrainer, TrainedStudents, full_data
from lightning_distill.evaluation.students.trainer import ParametersCallback
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.network import Parameters
from lightning_distill.networks import check_network
from lightning_distill.sets.storage import check_writable
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed


def experts(
    data: ArrayDataModule,
    out: str = "experts",
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
) -> list[Path]:
    """Train networks on all real training images and write their parameters after every epoch.

    Complete experts in the folder are kept; an incomplete one is trained again from its seed. The paper uses 100
    experts of 50 epochs, trained with plain SGD.

    Args:
        data: Real data: ``--data MedMNISTDataModule --data.name breastmnist``.
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

    Returns:
        Folder of each expert.

    Raises:
        ValueError: A number is out of range, a name is unknown, or the folder holds experts of other settings.
        OSError: The folder cannot be written.
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
    with progress_bar() as bar:
        task = bar.add_task(f"{count} experts", total=count * epochs)
        for number, folder in enumerate(folders, seed):
            if not _keep(folder, network, spec, {**training, "seed": number}, epochs):
                on_epoch_parameters = _writer(folder, student_trainer.network.weight_names)
                student = student_trainer.fit(
                    real,
                    derive_seed("expert", number),
                    on_epoch=lambda: bar.advance(task),
                    on_epoch_parameters=on_epoch_parameters,
                )
                bar.console.print(f"expert {folder.name}: val accuracy {100 * _accuracy(student, data, device):.1f} %")
            else:
                bar.advance(task, epochs)
    Console().print(f"{count} experts of {epochs} epochs in {out}: MTTDistiller(experts={out!r})")
    return folders


def _keep(folder: Path, network: str, spec: DataSpec, training: dict[str, object], epochs: int) -> bool:
    """Return whether a folder holds the complete expert; write the card into a new folder.

    Raises:
        ValueError: The folder holds an expert of other settings.
    """
    if (folder / CARD).exists():
        card = read_expert_card(folder)
        data = {"scale": "", **card["data"]} if isinstance(card["data"], dict) else None  # older cards lack a scale
        if (card["network"], data, card["training"]) != (network, spec.to_dict(), training):
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
