"""Images of a set, of the validation loader and of the random baseline reach the students in one space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import blobs
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import ArrayDataModule, DMDistiller, StudentEvaluation
from lightning_distill.callbacks._image_space import batch_space, identity_statistics, to_student_space
from lightning_distill.evaluation import LabeledSet, Protocol, StudentEvaluator, coreset_sampler
from lightning_distill.sets.card import make_card
from lightning_distill.sets.storage import save_set
from lightning_distill.spec import DataSpec

PROTOCOL = Protocol("forty", 40, lr=0.02, augmentation="none")
ARCHITECTURES = ["convnet_w16"]


def make_data(pixels="uint8"):
    splits = [blobs(3, count, seed=seed) for seed, count in enumerate((12, 15, 6))]
    if pixels == "float":
        splits = [((images / 60).astype(np.float32), labels) for images, labels in splits]
    return ArrayDataModule(*splits, name="blobs", real_per_class=8, batch_size=16)


def given_set(data):
    """Six images that are not the distiller's, and as a set file with statistics of its own."""
    images, labels = data.train_arrays()
    rows = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(3)])
    file_spec = replace(data.spec, mean=(data.spec.mean[0] * 1.3,), std=(data.spec.std[0] * 0.8,))
    return LabeledSet(torch.from_numpy(images[rows]), torch.from_numpy(labels[rows]), file_spec)


def foreign_loader(data, spec):
    """A loader of another project: floats that are normalised already."""
    images, labels = (torch.cat(parts) for parts in zip(*data.val_dataloader(), strict=True))
    return DataLoader(TensorDataset(spec.normalize(images), labels), 16)


def expected_scores(data, train_set, baseline_spec):
    """Accuracies of the set's students and of the random subsets' students, computed in pixel units."""
    evaluator = StudentEvaluator(PROTOCOL, students=2, architectures=ARCHITECTURES, compile="off")
    random = coreset_sampler("random", data.train_arrays(), [2, 2, 2], baseline_spec, 0)
    samplers = (lambda _: train_set, random)
    return [evaluator.train(sampler).update_all(data.val_dataloader()).scores().mean("acc") for sampler in samplers]


@pytest.mark.parametrize("loader", ["ours", "foreign"])
@pytest.mark.parametrize("source", ["distiller", "floats", "pixels", "str", "path"])
@pytest.mark.parametrize("pixels", ["uint8", "float"])
def test_students_and_baseline_are_scored_in_the_space_they_learned_in(source, loader, pixels, make_trainer, tmp_path):
    if pixels == "float" and source == "pixels":
        pytest.skip("a tuple of floats is normalised")
    data, distiller = make_data(pixels), DMDistiller(ipc=2, network="convnet_w16")
    make_trainer(1, limit_val_batches=0).fit(distiller, datamodule=data)
    own, spec = given_set(data), data.spec
    save_set(tmp_path / "set", own, make_card("test", {}, {}, "real", 0, []))
    if source == "distiller":
        candidate, train_set = None, LabeledSet(distiller.synthetic.pixels(), distiller.synthetic.labels, spec)
    elif source == "floats":
        candidate, train_set = (spec.normalize(own.pixels), own.labels), replace(own, spec=spec)
    elif source == "pixels":
        candidate, train_set = (own.pixels, own.labels), replace(own, spec=spec)
    else:
        path = tmp_path / "set"
        stored = own.pixels if pixels == "uint8" else own.pixels.half()
        candidate, train_set, spec = (
            (str(path) if source == "str" else Path(path)),
            replace(own, pixels=stored),
            own.spec,
        )
    callback = StudentEvaluation(
        PROTOCOL, students=2, architectures=ARCHITECTURES, synthetic_set=candidate, compile="off"
    )
    trainer = make_trainer(1, callbacks=[callback], limit_val_batches=0)
    trainer.fit(distiller, datamodule=data)
    if source == "distiller":
        train_set = replace(train_set, pixels=distiller.synthetic.pixels())
    trainer.limit_val_batches = 1.0
    batches = {"datamodule": data} if loader == "ours" else {"dataloaders": foreign_loader(data, spec)}
    (result,) = trainer.validate(distiller, verbose=False, **batches)
    acc, random_acc = expected_scores(data, train_set, spec)
    assert result["val/acc"] == pytest.approx(acc, abs=0.03)  # rounding of pixel units may turn one image over
    assert result["val/acc_gain_over_random"] == pytest.approx(acc - random_acc, abs=0.06)
    assert random_acc > 0.45  # students that learned in another space are at chance, a third


SPEC = DataSpec("blobs", (1, 2, 2), ("0", "1"), (90.0,), (60.0,))


def test_batches_are_in_pixel_units_where_their_source_says_so_or_they_are_uint8():
    floats, whole = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    assert batch_space(floats, in_pixel_units=True) == "pixels"
    assert batch_space(whole, in_pixel_units=False) == "pixels"
    assert batch_space(floats, in_pixel_units=False) == "normalized"


def test_only_pixel_units_are_normalised():
    x = torch.full((1, 1, 2, 2), 150.0)
    assert torch.equal(to_student_space(x, "pixels", SPEC), torch.ones(1, 1, 2, 2))
    assert torch.equal(to_student_space(x.double(), "normalized", SPEC), x)
    assert torch.equal(to_student_space(x, "pixels", identity_statistics(SPEC)), x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_value": 1.0, "storage_dtype": "float16"}, "set's pixels are float16"),
        ({"class_names": tuple("abc")}, "class"),
    ],
)
def test_set_files_of_other_units_or_classes_are_refused(change, message, make_trainer, tmp_path):
    data = make_data()
    own = given_set(data)
    pixels = (own.pixels / 255).half() if "max_value" in change else own.pixels
    own = replace(own, pixels=pixels, spec=replace(own.spec, **change))
    save_set(tmp_path / "set", own, make_card("test", {}, {}, "real", 0, []))
    callback = StudentEvaluation("tiny", architectures=ARCHITECTURES, synthetic_set=tmp_path / "set", compile="off")
    with pytest.raises(ValueError, match=message):
        make_trainer(1, callbacks=[callback]).validate(
            DMDistiller(ipc=1, network="convnet_w16"), datamodule=data, verbose=False
        )
