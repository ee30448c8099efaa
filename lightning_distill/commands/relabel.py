"""``lightning-distill relabel``: write a set file with soft labels from networks trained on the real data."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lightning_distill.commands._console import plain_console
from lightning_distill.commands._options import Accelerator, Precision, progress_bar, resolve_device, start_task
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation import relabel as library
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.teacher_file import save_teachers as write_teachers
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.card import relabelled_card
from lightning_distill.sets.names import check_other_folder
from lightning_distill.sets.picture_file import write_picture
from lightning_distill.sets.same_data import check_same_data
from lightning_distill.sets.storage import check_writable, read_set, save_set


def relabel(
    synthetic_set: str,
    data: ArrayDataModule | None = None,
    *,
    out: str = "relabelled",
    teachers: int | str = 3,
    save_teachers: str | None = None,
    network: str = "convnet",
    protocol: str = "quick",
    views: int = 16,
    prior: Prior = "natural",
    seed: int = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    compile: CompileMode = "auto",
) -> Path:
    """Give the images of a set file soft labels by networks trained on the real data.

    ``lightning-distill relabel --set runs/digits/best --data DigitsDataModule --out runs/digits/soft``. Pixels and hard
    labels are kept. The card records the teachers, and its warning names them: labels tell of the real data, too.

    Args:
        synthetic_set: Path of ``set.safetensors`` or of its folder (``--set``).
        data: Real data that the set was made from. Not needed with a file of teachers.
        out: Folder for ``set.safetensors`` and ``card.json``.
        teachers: Number of networks to train on the data, or a file written by ``--save_teachers``.
        save_teachers: File for the trained teachers, for further sets of the same data. It is not meant to be shared.
        network: Name of the teachers' network, of this package or of timm.
        protocol: Training protocol of the teachers: ``reference``, ``quick`` or ``tiny`` (for tests).
        views: Number of augmented views that a label is averaged over; 0 takes the image itself.
        prior: Class frequencies that the labels assume: ``natural`` (those of the training data) or ``balanced`` (equal
            ones, for balanced accuracy).
        seed: Seed of the teachers and of the views.
        precision: Precision of the teachers' training: ``32-true`` or ``bf16-mixed``.
        accelerator: Device: ``cpu``, ``cuda``, or ``auto`` for CUDA where it is available.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.

    Returns:
        Path of ``set.safetensors``.

    Raises:
        FileNotFoundError: The set or the teacher file does not exist.
        ValueError: The teachers are not better than chance, or belong to other data than the set.
        OSError: A folder cannot be written.
    """
    labeled_set, card = read_set(synthetic_set)
    check_other_folder(out, synthetic_set)
    check_writable(out)
    if save_teachers is not None:
        check_writable(Path(save_teachers).parent)
    if data is not None:
        check_same_data(labeled_set.spec, data.spec, "the set", data.spec.name, library.SAME_TEACHERS)
    device, bf16 = resolve_device(accelerator), precision == "bf16-mixed"
    with progress_bar() as bar:
        trained = library.get_teachers(
            teachers,
            data,
            on_start=partial(start_task, bar),
            views=views,
            prior=prior,
            network=network,
            protocol=protocol,
            seed=seed,
            device=device,
            bf16=bf16,
            compile=compile,
        )
    if save_teachers is not None:
        write_teachers(save_teachers, trained)
    soft, record = library.relabel(labeled_set, teachers=trained, views=views, prior=prior, seed=seed, device=device)
    path = save_set(out, soft, relabelled_card(card, record))
    write_picture(path.parent, *read_set(path))
    plain_console().print(
        f"{len(soft.labels)} images labelled by {library.record_text(record)}: {path}", soft_wrap=True
    )
    return path
