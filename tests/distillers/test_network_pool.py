from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.distillers.network_pool import NetworkPool
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks import create_network


@pytest.fixture
def images_and_targets():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 1, 8, 8, generator=generator), torch.tensor([0, 0, 1, 1, 2, 2])


def make_pool(*networks, **options):
    functional = [
        FunctionalNetwork(partial(create_network, name, 1, 3, (8, 8)), compile="off")
        for name in networks or ["convnet_w16"]
    ]
    options = {"size": 3, "max_age": 4, "steps": 1, "lr": 0.1, "seed": 0, **options}
    return NetworkPool(functional, SiameseAugmentation("none", (8, 8)), **options)


def first_weight(pool, state, index):
    return pool.member(state, index)[pool.network_of(index).weight_names[0]].clone()


def test_members_have_the_architectures_in_turn(images_and_targets):
    x, y = images_and_targets
    pool = make_pool("convnet_w16", "mlp", size=3)
    alone = [make_pool(name, size=3) for name in ("convnet_w16", "mlp", "convnet_w16")]
    state = pool.start(x, y)
    for index, other in enumerate(alone):
        expected = other.member(other.start(x, y), index)
        assert pool.member(state, index).keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in pool.member(state, index).items())
    for step in range(5):  # replaced at the age 4, by one of the same architecture
        pool.step(state, 1, step, x, y)
    assert pool.member(state, 1).keys() == alone[1].member(state, 1).keys()
    assert pool.network_of(1)(pool.member(state, 1), x).shape == (6, 3)
    assert pool.fits(state)
    assert not make_pool("mlp", "convnet_w16", size=3).fits(state)
    assert not make_pool("convnet_w32", "mlp", size=3).fits(state)
    assert not make_pool("convnet_w16", "mlp", size=4).fits(state)


@pytest.mark.parametrize("network", ["convnet_w16", "convnet_batch"])
def test_training_is_that_of_a_module_with_sgd(network, images_and_targets):
    x, y = images_and_targets
    pool = make_pool(network, size=1, steps=2)
    state = pool.start(x, y)
    module = create_network(network, 1, 3, (8, 8))
    module.load_state_dict({k.removeprefix("network."): v for k, v in pool.member(state, 0).items()})
    sgd = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for use in range(3):
        torch.manual_seed(use)
        pool.advance(state, 0, x, y)
        torch.manual_seed(use)
        for _ in range(2):
            rows = torch.randperm(6)
            sgd.zero_grad()
            F.cross_entropy(module(x[rows]), y[rows]).backward()
            sgd.step()
    assert int(state["ages"][0]) == 3
    trained = pool.member(state, 0)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(trained[f"network.{name}"], tensor, rtol=1e-4, atol=1e-5)


def test_networks_start_at_all_ages_and_are_replaced_at_the_last(images_and_targets):
    x, y = images_and_targets
    pool = make_pool(size=2, max_age=4)
    state = pool.start(x, y)
    assert state["ages"].tolist() == [0, 2]
    ages, weights = [], []
    for step in range(5):
        pool.step(state, 1, step, x, y)
        ages.append(int(state["ages"][1]))
        weights.append(first_weight(pool, state, 1))
    assert ages == [3, 0, 1, 2, 3]
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])
    assert all(value.abs().max() == 0 for key, value in make_pool().start(x, y).items() if "0.momentum" in key)


def test_a_start_depends_on_the_seed_alone(images_and_targets):
    first, again, other = (make_pool(seed=seed) for seed in (1, 1, 2))
    states = [pool.start(*images_and_targets) for pool in (first, again, other)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert not torch.equal(first_weight(first, states[0], 0), first_weight(other, states[2], 0))


def test_every_network_is_used():
    pool = make_pool(size=3)
    used = [pool.index_at(step) for step in range(60)]
    assert min(used.count(index) for index in range(3)) >= 8
    assert used == [pool.index_at(step) for step in range(60)]


def test_without_steps_networks_are_random_and_replaced(images_and_targets):
    pool = make_pool(size=1, steps=0, max_age=2)
    state = pool.start(*images_and_targets)
    weights = [first_weight(pool, state, 0)]
    for step in range(2):
        pool.step(state, 0, step, *images_and_targets)
        weights.append(first_weight(pool, state, 0))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_member_is_no_part_of_the_state(images_and_targets):
    pool = make_pool("convnet_batch", size=1)
    state = pool.start(*images_and_targets)
    kept = {key: value.clone() for key, value in state.items()}
    network = pool.network_of(0)
    network.train()
    network(pool.member(state, 0), images_and_targets[0])  # batch norm updates its buffers
    assert all(torch.equal(value, state[key]) for key, value in kept.items())
