"""The textbook against the formulas, and against ours when both are given the same draws."""

from __future__ import annotations

import pytest
import torch
from reference import dsa
from reference import gradient_matching as gradient

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.bench import reference as textbook
from lightning_distill.bench.cases import (
    BenchmarkCase,
    Size,
    make_distiller,
    make_reference,
    noise_data,
    write_expert_files,
)
from lightning_distill.evaluation import LabeledSet, Protocol, StudentTrainer
from lightning_distill.utils.rng import derive_seed, isolated_rng

SIZE = Size(3, 3, 8, 2, 5, None, "convnet_w16", 2, 2, 2)
SIDE = 8


def expected(group, image, u):
    """One image by the reference, from uniform numbers."""
    first, second, third = u
    centres, shifts = dsa.cutout_centres(SIDE), range(-dsa.shift_of(SIDE), dsa.shift_of(SIDE) + 1)
    ratio = [1 / 1.2 + (1.2 - 1 / 1.2) * value for value in (first, second)]
    return {
        "color": lambda: dsa.color(image, first, second, third),
        "crop": lambda: dsa.crop(image, *(shifts[int(value * len(shifts))] for value in (first, second))),
        "cutout": lambda: dsa.cutout(image, *(centres[int(value * len(centres))] for value in (first, second))),
        "flip": lambda: dsa.flip(image, first < 0.5),
        "scale": lambda: dsa.scale(image, *ratio),
        "rotate": lambda: dsa.rotate(image, (first - 0.5) * 30),
    }[group]()


@pytest.mark.parametrize("group", PRESETS["dsa"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transform_is_the_formula(group, channels):
    torch.manual_seed(0)
    images, u = torch.randn(6, channels, SIDE, SIDE, dtype=torch.float64), torch.rand(6, 3, dtype=torch.float64)
    made = textbook.transform(images, group, u)
    for image, numbers, result in zip(images, u, made, strict=True):
        right = torch.tensor(expected(group, image.numpy(), numbers.tolist()).copy())
        torch.testing.assert_close(result, right, rtol=1e-6, atol=1e-6)


def test_siamese_is_one_draw_and_plain_one_an_image():
    torch.manual_seed(0)
    image = torch.randn(1, 3, SIDE, SIDE)
    real, synthetic = textbook.siamese(image.expand(4, -1, -1, -1), image.expand(2, -1, -1, -1), ["rotate"])
    assert all(torch.equal(one, real[0]) for one in [*real, *synthetic])
    each = textbook.plain(image.expand(4, -1, -1, -1), ["rotate"])
    assert not torch.equal(each[0], each[1])
    assert textbook.plain(image, ()) is image


def test_distance_is_the_formula():
    torch.manual_seed(0)
    real, synthetic = ([torch.randn(4, 3, 2, 2), torch.randn(4), torch.randn(2, 5)] for _ in range(2))
    right, _ = gradient.rowwise([g.numpy() for g in real], [g.numpy() for g in synthetic])
    assert textbook.distance(real, synthetic).item() == pytest.approx(right, rel=1e-5)


def test_draw_takes_different_images_of_the_class():
    real = textbook.Real(torch.arange(12.0).view(12, 1, 1, 1), torch.arange(12) % 3, 3)
    drawn = real.draw(1, 3).flatten().tolist()
    assert len(set(drawn)) == 3
    assert {int(value) % 3 for value in drawn} == {1}
    assert len(real.draw(1, 99)) == 4


@pytest.fixture
def same_draws(monkeypatch):
    """The textbook is served the batches that ours gets, and the networks and shuffles of ours."""

    def serve(case):
        draws, spec, step = case.data.train_dataloader(), case.data.spec, [0]

        def draw(self, label, count):
            x, y = draws.batch(step[0])
            return spec.normalize(x[y == label])

        monkeypatch.setattr(textbook.Real, "draw", draw)
        reference = make_reference(case)
        reference.groups = ()
        return reference, step

    return serve


def ours_after(case, steps, make_trainer):
    """Our images after some steps without augmentation."""
    distiller = make_distiller(case, "off")
    distiller.augmentation = "none"
    make_trainer(max_steps=steps, limit_val_batches=0).fit(distiller, datamodule=case.data)
    return distiller.synthetic


def check_images(made, expected_images, start):
    torch.testing.assert_close(made.detach(), expected_images.images.detach(), rtol=1e-4, atol=1e-5)
    assert (expected_images.images - start.images).abs().max() > 1e-4


def test_dm_is_ours(make_trainer, same_draws):
    case = BenchmarkCase("dm", SIZE, noise_data(SIZE), seed=4)
    reference, at = same_draws(case)
    for at[0] in range(4):
        with isolated_rng(derive_seed(4, at[0])):
            reference.step()
    check_images(reference.images, ours_after(case, 4, make_trainer), case.init_synthetic())


@pytest.mark.parametrize("path", ["dc", "dsa"])
def test_gradient_matching_is_ours(path, make_trainer, same_draws, monkeypatch):
    case = BenchmarkCase(path, SIZE, noise_data(SIZE), seed=4)
    reference, at = same_draws(case)
    train = textbook.train

    def seeded(*arguments):
        with isolated_rng(derive_seed(4, at[0], "after")):
            train(*arguments)

    monkeypatch.setattr(textbook, "train", seeded)
    for at[0] in range(4):
        with isolated_rng(derive_seed(4, at[0])):
            reference.step()
    check_images(reference.images, ours_after(case, 4, make_trainer), case.init_synthetic())


def test_mtt_is_ours(make_trainer, tmp_path):
    data = noise_data(SIZE)
    write_expert_files(tmp_path, SIZE.network, data.spec)
    stretch = sorted(path for path in tmp_path.iterdir())
    for file in stretch[1].iterdir():  # one expert only: nothing is drawn
        file.unlink()
    stretch[1].rmdir()
    case = BenchmarkCase("mtt", SIZE, data, experts=str(tmp_path), seed=4)
    reference = make_reference(case)
    reference.groups = ()
    for _ in range(3):
        reference.step()  # all images are in every batch: their order does not matter
    expected_images = ours_after(case, 3, make_trainer)
    check_images(reference.images, expected_images, case.init_synthetic())
    assert reference.rate.item() == pytest.approx(expected_images.lr.item(), rel=1e-4)
    assert reference.rate.item() != 0.01


def test_student_is_ours():
    data, epochs = noise_data(SIZE), 6
    case = BenchmarkCase("student", SIZE, data)
    begun, spec = case.init_synthetic(), data.spec
    training_set = LabeledSet(begun.pixels(), begun.labels, spec)
    trainer = StudentTrainer(
        SIZE.network,
        spec,
        protocol=Protocol("test", epochs, augmentation="none"),
        images=len(begun),
        students=1,
        compile="off",
    )
    parameters = trainer.fit(training_set, 7).parameters
    with isolated_rng(derive_seed("student", SIZE.network, 7)):
        student = textbook.Student(spec.normalize(training_set.pixels), training_set.labels, case.build, (), epochs)
        for _ in range(epochs + 1):
            student.step()
    for name, weight in student.network.named_parameters():
        torch.testing.assert_close(weight.detach(), parameters[f"network.{name}"], rtol=1e-4, atol=1e-5)
    assert student.sgd.param_groups[0]["lr"] == pytest.approx(0.001)
