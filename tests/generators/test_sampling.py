"""Drawing of images: chunks, seeds, label rows, checkpoints, and the middle layer of the GAN."""

from __future__ import annotations

import pytest
import torch

from lightning_distill import GANGenerator, Generator, load_generator
from lightning_distill.generators.checks import as_rows
from lightning_distill.generators.gan import marked
from lightning_distill.generators.velocity_network import VelocityNetwork, integrate


@pytest.fixture
def trained(make_generator, make_data, fit):
    """A generator after two steps, and its trainer."""
    return fit(make_generator(), make_data(), 2)


def test_images_do_not_depend_on_the_chunk(trained):
    generator, _ = trained
    targets = torch.tensor([0, 1, 1, 0, 1])
    whole = generator.sample(targets, seed=3)
    assert torch.allclose(whole, generator.sample(targets, seed=3, chunk=2), atol=0.01)
    parts = [generator.sample(targets[start : start + 2], seed=3, first=start) for start in (0, 2, 4)]
    assert torch.allclose(whole, torch.cat(parts), atol=0.01)
    assert not torch.allclose(whole, generator.sample(targets, seed=4), atol=1)
    assert not torch.allclose(whole[1], whole[2], atol=1e-3)  # each image has noise of its own
    assert generator.sample(targets[:0], seed=0).shape == (0, *generator.spec.shape)


def test_images_are_in_pixel_units_within_the_range(trained):
    generator, _ = trained
    images = generator.sample(torch.zeros(20, dtype=torch.int64), seed=0)
    assert images.min() >= generator.spec.min_value
    assert images.max() <= generator.spec.max_value
    assert images.max() > 20
    assert not images.requires_grad
    assert images.device.type == "cpu"


def test_sampling_moves_no_random_stream(trained):
    generator, _ = trained
    before = torch.get_rng_state()
    generator.sample(torch.tensor([0, 1]), seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_images_come_from_the_average(trained):
    generator, _ = trained
    before = generator.sample(torch.tensor([0]), seed=0)
    with torch.no_grad():
        for parameter in generator.network.parameters():
            parameter.add_(1.0)
    assert torch.allclose(before, generator.sample(torch.tensor([0]), seed=0), atol=0.01)


def test_a_checkpoint_gives_the_same_images_without_pickle(trained, tmp_path):
    generator, trainer = trained
    trainer.save_checkpoint(tmp_path / "g.ckpt")
    loaded = load_generator(tmp_path / "g.ckpt")
    assert type(loaded) is type(generator)
    assert loaded.spec == generator.spec
    assert loaded.trained_steps == 2
    assert loaded.group_counts == generator.group_counts == [12, 12]
    targets = torch.tensor([0, 1, 1])
    assert torch.allclose(generator.sample(targets, seed=1), loaded.sample(targets, seed=1), atol=0.01)


def test_targets_of_other_classes_are_refused(trained):
    generator, _ = trained
    with pytest.raises(ValueError, match=r"shape \(2, 3\).*takes \(N, 2\)"):
        generator.sample(torch.zeros(2, 3), seed=0)
    with pytest.raises(ValueError, match="class numbers from 0 to 2"):
        generator.sample(torch.tensor([0, 2]), seed=0)
    rows = torch.eye(2)
    assert torch.equal(as_rows(torch.tensor([0, 1]), generator.spec), rows)
    by_number = generator.sample(torch.tensor([0, 1]), seed=0)
    assert torch.allclose(generator.sample(rows, seed=0), by_number, atol=0.01)


def test_files_that_are_no_generator_are_refused(make_data, make_trainer, tmp_path):
    from lightning_distill import DMDistiller

    with pytest.raises(FileNotFoundError, match=r"no checkpoint 'none\.ckpt'"):
        load_generator(tmp_path / "none.ckpt")
    (tmp_path / "bad.ckpt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        load_generator(tmp_path / "bad.ckpt")
    trainer = make_trainer(1, limit_val_batches=0)
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16"), datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "dm.ckpt")
    with pytest.raises(ValueError, match=r"of DMDistiller; give one of FlowGenerator, GANGenerator"):
        load_generator(tmp_path / "dm.ckpt")
    with pytest.raises(ValueError, match="checkpoint is of DMDistiller, not of GANGenerator"):
        GANGenerator(widths=[16]).on_load_checkpoint(torch.load(tmp_path / "dm.ckpt", weights_only=True))


def test_a_checkpoint_that_would_run_code_is_refused(trained, tmp_path):
    _, trainer = trained
    content = trainer._checkpoint_connector.dump_checkpoint()
    content["extra"] = pytest.approx(1)
    torch.save(content, tmp_path / "g.ckpt")
    with pytest.raises(ValueError, match="Python objects"):
        load_generator(tmp_path / "g.ckpt")


def test_rows_without_a_label_differ_from_no_row(chest_data, fit):
    rows = torch.zeros(2, 14)
    assert torch.equal(marked(rows)[:, -1], torch.ones(2))
    assert marked(torch.eye(3))[:, -1].sum() == 0
    torch.manual_seed(0)
    network = VelocityNetwork((1, 8, 8), 14, [16], 1, 2)
    points, times = torch.randn(2, 1, 8, 8), torch.full((2,), 0.5)
    with_row = network(points, times, rows, torch.zeros(2, dtype=torch.bool))
    without = network(points, times, rows, torch.ones(2, dtype=torch.bool))
    other = network(points, times, torch.ones(2, 14), torch.ones(2, dtype=torch.bool))
    assert not torch.allclose(with_row, without)
    assert torch.equal(without, other)  # a row that is left out does not matter


def test_euler_steps_of_a_constant_velocity_reach_the_image():
    image, noise = torch.full((2, 1, 4, 4), 3.0), torch.randn(2, 1, 4, 4)

    def exact(points, times, rows, unlabelled):
        return (noise - image) * (1 + unlabelled.view(-1, 1, 1, 1))

    for steps in (1, 5, 50):
        assert torch.allclose(integrate(exact, noise, torch.zeros(2, 1), steps, 1.0), image, atol=1e-4)
    guided = integrate(exact, noise, torch.zeros(2, 1), 5, 3.0)  # 2 v + 3 (v - 2 v) = - v
    assert torch.allclose(guided, noise + (noise - image), atol=1e-4)


def test_the_middle_of_the_gan_gives_its_images(make_data, fit):
    generator, _ = fit(GANGenerator(widths=[16], latent=8, batch_size=4), make_data(size=28), 2)
    assert isinstance(generator, Generator)
    z, targets = torch.randn(3, 8), torch.tensor([0, 1, 1])
    features = generator.middle(z, targets).detach().requires_grad_()
    assert features.shape[2:] == (8, 8)
    images = generator.from_middle(features)
    assert images.shape == (3, 1, 28, 28)
    assert torch.allclose(images, generator.render(z, as_rows(targets, generator.spec)), atol=1e-5)
    images.square().sum().backward()
    assert features.grad.abs().sum() > 0
    modulated, _ = fit(GANGenerator(widths=[16], latent=8, batch_size=4, conditioning="modulated"), make_data(), 1)
    with pytest.raises(ValueError, match="no middle layer; use 'embedding'"):
        modulated.middle(z, targets)
