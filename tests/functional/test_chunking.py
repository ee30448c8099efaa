"""How many images at a time, and what happens where they are too many."""

from __future__ import annotations

import warnings
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lightning_distill import DMDistiller
from lightning_distill.functional.chunking import (
    auto_chunk_size,
    even_chunk_size,
    max_images_without_checkpointing,
    retry_with_smaller_chunk,
)
from lightning_distill.functional.gradients import loss_gradient, mixed_derivative
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks import create_network

CPU = torch.device("cpu")
SMALL = partial(create_network, "convnet_w16", 1, 3, (8, 8))


def test_pieces_are_even_and_no_larger_than_the_chunk():
    for images in range(1, 60):
        assert even_chunk_size(images, None) == images
        for chunk in range(1, 70):
            size = even_chunk_size(images, chunk)
            assert 1 <= size <= min(chunk, images)
            pieces = -(-images // size)
            assert pieces == -(-images // chunk)  # no more pieces than the chunk needs
            assert images - (pieces - 1) * size > 0


def test_a_cpu_takes_what_its_cache_holds():
    wide, narrow = (partial(create_network, name, 3, 10, (32, 32)) for name in ("convnet", "convnet_w16"))
    assert auto_chunk_size(wide, (3, 32, 32), CPU) == 32
    assert auto_chunk_size(narrow, (3, 32, 32), CPU) == 256
    assert auto_chunk_size(partial(create_network, "convnet_w16", 3, 10, (64, 64)), (3, 64, 64), CPU) == 64


def test_at_least_one_image_goes_through():
    assert auto_chunk_size(lambda: nn.Conv2d(1, 64, 1), (1, 512, 512), CPU) == 1


def test_a_gpu_takes_what_its_free_memory_holds(monkeypatch):
    build = partial(create_network, "convnet_w16", 3, 10, (32, 32))
    sizes = []
    for free in (2**10, 2**30, 2**34):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2**40))
        sizes.append(auto_chunk_size(build, (3, 32, 32), torch.device("cuda")))
    # convolution, norm and activation, then pooling to a quarter, at 32, 16 and 8 px; then ten logits
    image = 4 * (16 * (3 + 1 / 4) * (32 * 32 + 16 * 16 + 8 * 8) + 10)
    assert sizes == [1, int(2**30 * 0.1 / image), int(2**34 * 0.1 / image)]


def test_a_backward_keeps_what_memory_is_for_and_never_less_than_a_chunk():
    build = partial(create_network, "convnet", 3, 10, (512, 512))
    image = 4 * (128 * (3 + 1 / 4) * (512**2 + 256**2 + 128**2) + 10)
    assert max_images_without_checkpointing(build, (3, 512, 512), 1, CPU) == max(1, int(2**29 / image)) == 1
    assert max_images_without_checkpointing(build, (3, 512, 512), 3, CPU) == 3
    assert (
        max_images_without_checkpointing(partial(create_network, "convnet", 3, 10, (32, 32)), (3, 32, 32), 32, CPU)
        > 200
    )
    assert max_images_without_checkpointing(build, (3, 512, 512), 5, torch.device("cuda")) == 20


def test_asking_leaves_the_random_stream_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    auto_chunk_size(SMALL, (1, 8, 8), CPU)
    assert torch.equal(torch.rand(3), expected)


def test_a_chunk_is_halved_until_it_fits_and_every_time_is_told():
    network, tried = SimpleNamespace(chunk=32), []

    def work():
        tried.append(network.chunk)
        if network.chunk > 5:
            raise torch.OutOfMemoryError
        return "done"

    with pytest.warns(UserWarning, match="GPU memory") as caught:
        assert retry_with_smaller_chunk(network, 20, work) == "done"  # at most 20 at once, so 16 would change nothing
    assert tried == [32, 10, 5]
    assert network.chunk == 5
    messages = [str(warning.message) for warning in caught]
    assert ["10 images at a time, not 20" in messages[0], "5 images at a time, not 10" in messages[1]] == [True, True]
    assert len(messages) == 2


def test_work_that_fits_is_done_once_without_a_word():
    network, done = SimpleNamespace(chunk=8), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retry_with_smaller_chunk(network, 20, lambda: done.append(1))
    assert (done, network.chunk) == ([1], 8)


@pytest.mark.parametrize(("chunk", "images"), [(None, 20), (1, 20), (8, 1)])
def test_what_cannot_be_cut_runs_out_of_memory(chunk, images):
    network, tried = SimpleNamespace(chunk=chunk), []

    def work():
        tried.append(1)
        raise torch.OutOfMemoryError("too much")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(torch.OutOfMemoryError, match="too much"):
            retry_with_smaller_chunk(network, images, work)
    assert tried == [1]
    assert network.chunk == chunk


def test_other_errors_are_not_swallowed():
    def work():
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        retry_with_smaller_chunk(SimpleNamespace(chunk=8), 20, work)


def small_memory(monkeypatch, name: str, place: int, fits: int, after: int = 0) -> list[int]:
    """A network's method that runs out of memory on more than a few images, from its n-th call on."""
    seen, original = [], getattr(FunctionalNetwork, name)

    def limited(self, *given):
        seen.append(len(given[place]))
        if len(seen) > after and seen[-1] > fits:
            raise torch.OutOfMemoryError
        return original(self, *given)

    monkeypatch.setattr(FunctionalNetwork, name, limited)
    return seen


@pytest.mark.parametrize("after", [0, 1])
def test_gradients_are_the_same_whatever_the_memory(monkeypatch, after):
    whole, limited = FunctionalNetwork(SMALL, chunk=4), FunctionalNetwork(SMALL, chunk=4)
    parameters = {name: tensor.double() for name, tensor in whole.init_params().items()}
    x, y = torch.randn(7, 1, 8, 8).double(), torch.arange(7) % 3
    directions = [torch.ones_like(w) for w in whole.require_grad(parameters)]
    expected = loss_gradient(whole, parameters, x, y), mixed_derivative(whole, parameters, x, y, directions)
    first = small_memory(monkeypatch, "__call__", 1, 2, after)
    with pytest.warns(UserWarning, match="2 images at a time, not 4"):
        result = loss_gradient(limited, parameters, x, y)
    assert first == [*[4, 3][: after + 1], 2, 2, 2, 1]  # what was summed before the failure is not counted twice
    limited.chunk = 4
    small_memory(monkeypatch, "directional_derivative", 2, 2, after)
    with pytest.warns(UserWarning, match="2 images at a time, not 4"):
        mixed = mixed_derivative(limited, parameters, x, y, directions)
    for a, b in zip((*result, *mixed[0], mixed[1]), (*expected[0], *expected[1][0], expected[1][1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_compiled_networks_need_less_memory_with_a_smaller_chunk():
    network = FunctionalNetwork(SMALL, sizes=(8,), chunk=8)
    assert len(network._compiled.pad(torch.zeros(5, 1, 8, 8), network.chunk)) == 8
    network.chunk = 4
    assert (
        len(network._compiled.pad(torch.zeros(4, 1, 8, 8), network.chunk)) == 4
    )  # padding to 8 would need what there is not


@pytest.mark.parametrize("call", range(1, 5))
def test_a_run_that_runs_out_of_memory_once_gives_the_images_of_an_undisturbed_one(
    call, make_data, make_trainer, monkeypatch
):
    images, embed = [], FunctionalNetwork.embed
    for failing in (None, call):
        calls = []

        def once(self, parameters, x, failing=failing, calls=calls):
            calls.append(len(x))
            if len(calls) == failing:
                raise torch.OutOfMemoryError
            return embed(self, parameters, x)

        monkeypatch.setattr(FunctionalNetwork, "embed", once)
        distiller = DMDistiller(ipc=2, network="convnet_w16", chunk=16, seed=3)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make_trainer(max_steps=2).fit(distiller, datamodule=make_data(num_classes=3))
        messages = [str(w.message) for w in caught if "images at a time" in str(w.message)]
        assert len(messages) == (failing is not None)
        assert distiller.network.chunk == (16 if failing is None else 8)
        images.append(distiller.synthetic.images.detach())
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)
    assert (images[0] - distiller.init_synthetic(make_data(num_classes=3)).images).abs().max() > 1e-3


@pytest.mark.parametrize("augmentation", ["none", "dsa"])
def test_chunks_that_go_forward_twice_give_the_same_images_and_keep_less(
    augmentation, make_data, make_trainer, monkeypatch
):
    images, kept, forward = [], [], []
    original = FunctionalNetwork._forward
    monkeypatch.setattr(FunctionalNetwork, "_forward", lambda self, *given: forward.append(1) or original(self, *given))
    for memory in (2**29, 0):
        monkeypatch.setattr("lightning_distill.functional.chunking.CPU_BACKWARD_BYTES", memory)
        saved: list[int] = []
        distiller = DMDistiller(ipc=6, network="convnet_w16", chunk=2, seed=3, augmentation=augmentation)
        forward.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t):
            make_trainer(max_steps=2).fit(distiller, datamodule=make_data())
        images.append(distiller.synthetic.images.detach())
        kept.append((sum(saved), len(forward)))
    assert torch.equal(*images)
    assert kept[1][0] < kept[0][0] / 2
    assert kept[1][1] - kept[0][1] == 2 * 2 * 3  # in every step, of every class, each of its three chunks once more


def test_a_class_in_portions_has_the_mean_of_all(make_data, make_trainer, monkeypatch):
    images = []
    for few in (1000, 3):
        monkeypatch.setattr("lightning_distill.distillers.real_batch.CHUNK_BYTES", few * 4 * 64)
        distiller = DMDistiller(ipc=2, network="convnet_w16", seed=3, chunk=8)
        make_trainer(max_steps=3).fit(distiller, datamodule=make_data())
        images.append(distiller.synthetic.images.detach())
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)
