"""``lightning-distill experts``: train networks on real data and keep every epoch, for trajectory matching."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from lightning_distill.commands._candidates import student_bar
from lightning_distill.commands.evaluate import Precision
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
    accelerator: Literal["auto", "cpu", "cuda"] = "auto",
    compile: CompileMode = "auto",
) -> list[Path]:
    """Train networks on all real training images and write their parameters after every epoch.

    Experts that are there already are kept; one that was cut off is trained again from its seed. The paper has 100
    experts of 50 epochs, plain SGD.

    Args:
        data: the real data: ``--data MedMNISTDataModule --data.name breastmnist``.
        out: folder; expert n goes to ``out/00n``.
        count: experts.
        epochs: of each.
        network: by our names or timm's.
        lr: constant learning rate.
        momentum: of SGD.
        weight_decay: of SGD.
        batch_size: images in a step.
        augmentation: a preset of `presets.PRESETS`; default the data set's.
        seed: of the first expert; the next ones count on. An expert never begins where an evaluated student does.
        precision: of the forward.
        accelerator: where to compute.
        compile: see `functional.FunctionalNetwork`.

    Returns:
        The experts' folders.

    Raises:
        ValueError: bad numbers or names; the folder holds experts of other settings.
        OSError: the folder cannot be written.
    """
    for name, value in (("count", count), ("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}={value}; it must be at least 1")
    check_network(network)
    check_writable(out)
    spec, real = data.spec, full_data(data.all_train_arrays(), data.spec)(0)
    protocol = Protocol("expert", epochs - 1, lr, momentum, weight_decay, batch_size, augmentation, decay=False)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if accelerator == "auto" else accelerator
    school = StudentTrainer(
        network, spec, protocol, len(real.labels), count, device, precision == "bf16-mixed", compile
    )
    training = {
        "epochs": epochs, "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "batch_size": batch_size,
        "augmentation": augmentation or spec.augmentation, "precision": precision,
    }  # fmt: skip
    folders = [Path(out) / f"{number:03d}" for number in range(count)]
    with student_bar() as bar:
        task = bar.add_task(f"{count} experts", total=count * epochs)
        for number, folder in enumerate(folders, seed):
            if not _keep(folder, network, spec, {**training, "seed": number}, epochs):
                watch = _writer(folder, school.network.weight_names)
                student = school.fit(real, derive_seed("expert", number), lambda: bar.advance(task), watch)
                bar.console.print(f"expert {folder.name}: val accuracy {100 * _accuracy(student, data, device):.1f} %")
            else:
                bar.advance(task, epochs)
    Console().print(f"{count} experts of {epochs} epochs in {out}: MTTDistiller(experts={out!r})")
    return folders


def _keep(folder: Path, network: str, spec: DataSpec, training: dict[str, object], epochs: int) -> bool:
    """Whether a folder holds this expert whole; if not, it gets the card.

    Raises:
        ValueError: it holds an expert of another kind, which is neither overwritten nor mixed in.
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
    """Writes the weights among what it is shown, under the network's own names."""

    def watch(epoch: int, parameters: Parameters) -> None:
        write_epoch(folder, epoch, {name.removeprefix("network."): parameters[name] for name in weights})

    return watch


def _accuracy(student: Student, data: ArrayDataModule, device: str) -> float:
    """On the validation split."""
    sitting = TrainedStudents([student], data.spec, device, 0.0)
    for x, y in data.val_dataloader():
        sitting.update(data.spec.normalize(x.to(device)), y.to(device))
    return sitting.scores().mean("acc")
