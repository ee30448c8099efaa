"""Train a generator on PneumoniaMNIST and compare its images with the validation split.

    python benchmarks/generators_train.py                       # writes benchmarks/results/generators_train.csv
    python benchmarks/generators_train.py --minutes 60          # ends the training by the clock
    python benchmarks/generators_train.py --quick               # tiny sizes on digits, as a test

``seconds`` is the time of the training alone. ``kid`` is the kernel distance between generated images and the
validation split, in features of a network that was trained on the training split (`FeatureNetwork`); the labels of the
images are those of the validation images. ``kid_noise`` is that of noise with the mean and standard deviation of the
pixels, ``kid_real`` that of random training images with the same labels: the floor. The picture shows generated
images, which were not selected.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, Timer
from script import HERE, folder, options

from lightning_distill import ArrayDataModule, DigitsDataModule, MedMNISTDataModule
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.evaluation.fidelity.feature_network import FeatureNetwork
from lightning_distill.evaluation.fidelity.kid import kernel_distance
from lightning_distill.generators import FlowGenerator, load_generator
from lightning_distill.sets.image_grid import image_grid, png_bytes
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.rng import derive_seed

COLUMNS = (
    "generator", "dataset", "steps", "batch_size", "parameters", "images_seen", "seconds", "sampling_steps", "images",
    "kid", "kid_noise", "kid_real", "feature_network", "feature_sha256",
)  # fmt: skip
#: Images of a class in a row of the picture, and the largest number of validation images that are compared.
COLUMNS_SHOWN, COMPARED = 10, 500


def train(generator: FlowGenerator, data: ArrayDataModule, steps: int, minutes: float, path: str) -> float:
    """Train a generator, write its checkpoint, and return the seconds."""
    keep = ModelCheckpoint(path, filename="generator", every_n_train_steps=100, enable_version_counter=False)
    callbacks: list[Callback] = [keep, Timer(timedelta(minutes=minutes))]
    trainer = Trainer(max_steps=steps, accelerator="cpu", logger=False, callbacks=callbacks, enable_model_summary=False,
                      limit_val_batches=0, default_root_dir=path)  # fmt: skip
    start = time.perf_counter()
    trainer.fit(generator, datamodule=data)
    seconds = time.perf_counter() - start
    trainer.save_checkpoint(f"{path}/last.ckpt")
    return seconds


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="largest time of the training")
    parser.add_argument("--steps", type=int, default=3000, help="largest number of steps")
    parser.add_argument("--widths", type=int, nargs="+", default=[48, 96, 96], help="channels of the levels")
    parser.add_argument("--batch_size", type=int, default=128, help="real images in a step")
    parser.add_argument("--lr", type=float, default=2e-4, help="learning rate")
    given = parser.parse_args(arguments)
    if given.quick:
        data: ArrayDataModule = DigitsDataModule()
        given.steps, given.widths, given.batch_size = 2, [16, 16], 8
    else:
        root, source = HERE.parent.parent / "shared/data/medmnist", "reassembled, official pixels"
        data = MedMNISTDataModule("pneumoniamnist", root=str(root), download=False, source=source)
    out = folder(given)
    run = (out if given.quick else HERE.parent / "runs") / "generators" / data.spec.name
    generator = FlowGenerator(widths=given.widths, batch_size=given.batch_size, lr=given.lr,
                              sampling_steps=2 if given.quick else 50)  # fmt: skip
    seconds = train(generator, data, given.steps, given.minutes, str(run))
    words = ["--quick"] * given.quick
    for name in ("minutes", "steps", "widths", "batch_size", "lr"):
        if not given.quick and getattr(given, name) != parser.get_default(name):
            words.append(f"--{name} {str(getattr(given, name)).strip('[]').replace(',', '')}")
    measure(f"{run}/last.ckpt", data, seconds, out, command=" ".join(["python benchmarks/generators_train.py", *words]),
            quick=given.quick)  # fmt: skip


def measure(path: str, data: ArrayDataModule, seconds: float, out: Path, *, command: str, quick: bool = False) -> None:
    """Compare the images of a checkpoint with the validation split; write a row and the picture."""
    generator, spec = load_generator(path), data.spec
    assert isinstance(generator, FlowGenerator)
    network = FeatureNetwork.fit(data, protocol="tiny" if quick else "quick")
    images, labels = (torch.from_numpy(np.asarray(part[: 8 if quick else COMPARED])) for part in data.splits["val"])
    random = np.random.default_rng(0)
    train_images, train_labels = data.splits["train"]
    rows = [random.choice(np.flatnonzero(train_labels == label)) for label in labels.tolist()]
    noise = torch.randn(len(labels), *spec.shape, generator=torch.Generator().manual_seed(derive_seed("noise")))
    real = network.embed(images)
    candidates = {
        "kid": generator.sample(labels, seed=0),
        "kid_noise": spec.denormalize(noise).clamp(spec.min_value, spec.max_value),
        "kid_real": torch.from_numpy(train_images[rows]),
    }
    kids = {name: f"{kernel_distance(real, network.embed(pixels)):.4f}" for name, pixels in candidates.items()}
    parameters = sum(each.numel() for each in generator.network.parameters())
    row = {
        "generator": "flow", "dataset": spec.name, "steps": generator.trained_steps,
        "batch_size": generator.uniform_batch_size, "parameters": parameters,
        "images_seen": generator.trained_steps * generator.uniform_batch_size, "seconds": f"{seconds:.0f}",
        "sampling_steps": generator.sampling_steps, "images": len(labels), **kids, "feature_network": network.name,
        "feature_sha256": network.sha256[:12],
    }  # fmt: skip
    print(row, flush=True)
    made = provenance(command)
    ResumableCsv(out / "generators_train.csv", ("generator", "dataset"), COLUMNS[2:], overwrite=True).put(
        {**row, **made}
    )
    targets = torch.arange(spec.num_classes).repeat_interleave(COLUMNS_SHOWN)
    names = tuple(f"{name}, flow" for name in spec.class_names)
    grid = image_grid(generator.sample(targets, seed=1), targets, replace(spec, class_names=names), COLUMNS_SHOWN)
    write_files_atomically({out / "generators.png": png_bytes(grid)})


if __name__ == "__main__":
    main()
