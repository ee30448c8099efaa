from __future__ import annotations

import math
import os
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lightning_distill.functional import compile as compiling
from lightning_distill.functional import network as functional
from lightning_distill.functional.compile import compiler_available
from lightning_distill.functional.network import FunctionalNetwork, count_flops, uncached_autocast
from lightning_distill.networks import create_network

SMALL = partial(create_network, "convnet_w16", 1, 3, (8, 8))
compiles = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")


def images(rows: int) -> torch.Tensor:
    return torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(rows))


def in_float64(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in parameters.items()}


def test_fresh_parameters_are_what_building_the_network_draws():
    torch.manual_seed(1)
    network = SMALL()
    torch.manual_seed(1)
    parameters = FunctionalNetwork(SMALL).init_params()
    assert torch.equal(parameters["network.head.weight"], network.head.weight)
    stateless, x = FunctionalNetwork(SMALL), images(4)
    torch.testing.assert_close(stateless(parameters, x), network(x))
    torch.testing.assert_close(stateless.embed(parameters, x), network.embed(x))


def test_building_leaves_the_random_stream_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    FunctionalNetwork(SMALL)
    count_flops(SMALL, (1, 8, 8))
    assert torch.equal(torch.rand(3), expected)


def test_is_no_module_and_keeps_no_weights_of_its_own():
    stateless = FunctionalNetwork(SMALL)
    assert not isinstance(stateless, torch.nn.Module)
    first, second = stateless.init_params(), stateless.init_params()
    x = images(2)
    assert not torch.equal(stateless(first, x), stateless(second, x))
    assert torch.equal(stateless(first, x), stateless(first, x))


def test_batch_norm_updates_the_given_buffers_only():
    stateless = FunctionalNetwork(partial(create_network, "convnet_batch", 1, 3, (8, 8)))
    assert stateless.batch_norm
    parameters, other = stateless.init_params(), stateless.init_params()
    name = next(name for name in parameters if name.endswith("running_mean"))
    assert name not in stateless.weight_names
    before = other[name].clone()
    stateless(parameters, images(4))
    assert parameters[name].abs().sum() > 0
    assert torch.equal(other[name], before)


@compiles
@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_equals_eager_for_any_batch_size_and_its_gradient(bf16):
    eager, compiled = FunctionalNetwork(SMALL, compile="off"), FunctionalNetwork(SMALL, compile="max", sizes=(5, 8))
    parameters = eager.init_params()
    tolerance = {"rtol": 0.1, "atol": 0.1} if bf16 else {"rtol": 1e-4, "atol": 1e-5}
    for rows in (3, 5, 7, 8):
        grads = []
        for network in (eager, compiled):
            x = images(rows).requires_grad_()
            by = [x, *network.require_grad(parameters)[:-2]]  # the head is no part of the features
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = network.embed(parameters, x)
            assert out.shape[0] == rows
            grads.append((out.float(), *torch.autograd.grad(out.float().square().mean(), by)))
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, **tolerance)
    assert compiled.compiled, "it fell back to eager"


@compiles
@pytest.mark.parametrize(("name", "size"), [("convnet_w16", (12, 20)), ("convnet_w16", (28, 28)), ("lenet", (8, 8))])
def test_other_sizes_and_networks_compile_to_the_same(name, size):
    build = partial(create_network, name, 2, 3, size)
    eager, compiled = FunctionalNetwork(build), FunctionalNetwork(build, compile="max", sizes=(4,))
    parameters, x, results = eager.init_params(), torch.randn(3, 2, *size, requires_grad=True), []
    for network in (eager, compiled):
        out = network.embed(parameters, x)
        by = [x, *network.require_grad(parameters)[:-2]]
        results.append([out, *torch.autograd.grad(network.embed(parameters, x).square().mean(), by)])
    assert compiled.compiled, "it fell back to eager"
    for one, other in zip(*results, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@compiles
@pytest.mark.parametrize("kind", ["embed", "__call__"])
def test_a_compiled_network_goes_forward_twice_where_not_everything_is_kept(kind, monkeypatch):
    monkeypatch.setattr("lightning_distill.functional.chunking.CPU_BACKWARD_BYTES", 0)
    networks = [FunctionalNetwork(SMALL, compile=mode, sizes=(4,), chunk=4) for mode in ("off", "max")]
    parameters, gradients = networks[0].init_params(), []
    for network in networks:
        x = images(10).requires_grad_()
        for _ in range(2):  # the first call of a compiled function is checked against eager mode
            x.grad = None
            getattr(network, kind)(parameters, x).square().sum().backward()
        gradients.append(x.grad)
    assert networks[1].compiled
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


@compiles
def test_a_fresh_network_every_step_recompiles_nothing():
    network = FunctionalNetwork(SMALL, compile="max", sizes=(4,))
    with torch.no_grad():
        network(network.init_params(), images(4))
        with torch._dynamo.config.patch(error_on_recompile=True):
            for rows in (4, 2, 3):
                network(network.init_params(), images(rows))
    assert network._compiled, "it fell back to eager"


def test_auto_compiles_long_runs_only_and_never_batch_norm():
    available = compiler_available()
    assert bool(FunctionalNetwork(SMALL, flops=0)._compiled) is False
    assert bool(FunctionalNetwork(SMALL, flops=1e15)._compiled) is available
    assert bool(FunctionalNetwork(SMALL, flops=1e15, compile="off")._compiled) is False
    build = partial(create_network, "convnet_batch", 1, 3, (8, 8))
    with pytest.warns(UserWarning, match="not compiled, slower: batch norm"):
        assert bool(FunctionalNetwork(build, compile="max")._compiled) is False
    assert FunctionalNetwork(SMALL, flops=1e15).compiled is available


def test_no_compiler_means_eager_and_says_so(monkeypatch):
    monkeypatch.setattr(functional, "compiler_available", lambda: False)
    for options in ({"compile": "max"}, {"flops": 1e15}):
        with pytest.warns(UserWarning, match="not compiled, slower: no C\\+\\+ compiler") as record:
            assert FunctionalNetwork(SMALL, **options)._compiled.compiled.functions == {}
        assert len(record) == 1


def test_nothing_is_said_where_nothing_was_to_be_compiled(monkeypatch):
    monkeypatch.setattr(functional, "compiler_available", lambda: False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert FunctionalNetwork(SMALL, flops=0)._compiled.compiled.functions == {}
        assert FunctionalNetwork(SMALL, compile="off")._compiled.compiled.functions == {}
        assert (
            FunctionalNetwork(
                partial(create_network, "convnet_batch", 1, 3, (8, 8)), flops=1e15
            )._compiled.compiled.functions
            == {}
        )


def broken(*_):
    raise torch._dynamo.exc.TorchDynamoException("no such instruction")


@pytest.mark.parametrize("kind", ["logits", "embed", "derivative"])
def test_a_failing_compiler_warns_once_and_goes_on_eagerly(kind):
    network, eager = FunctionalNetwork(SMALL, compile="off", sizes=(4,)), FunctionalNetwork(SMALL)
    network._compiled.compiled.functions = network._compiled.compiled._eager = dict.fromkeys(
        ("logits", "embed", "derivative"), broken
    )
    parameters, x = network.init_params(), images(2)
    arguments = (x,)
    if kind == "derivative":
        weights = network.require_grad(parameters)
        arguments = ([torch.ones_like(w) for w in weights], x, torch.tensor([0, 2]), 2)
    method = {"logits": "__call__", "derivative": "directional_derivative"}.get(kind, kind)
    with pytest.warns(UserWarning, match=r"no such instruction.*eagerly") as caught:
        out = getattr(network, method)(parameters, *arguments)
    assert len(caught) == 1
    assert torch.equal(out, getattr(eager, method)(parameters, *arguments))
    assert not network.compiled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(network, method)(parameters, *arguments)
        network(parameters, x)


@compiles
def test_the_compilers_own_failure_warns_and_gives_the_eager_result(monkeypatch):
    network, x = FunctionalNetwork(SMALL, compile="max"), images(2)
    parameters = network.init_params()

    def no_backend(*_):
        raise RuntimeError("out of registers")

    network._compiled.compiled.functions = {
        kind: torch.compile(network.eager, backend=no_backend) for kind in ("logits", "derivative")
    }
    with pytest.warns(UserWarning, match=r"could not be compiled.*eagerly"):
        out = network(parameters, x)
    assert torch.equal(out, FunctionalNetwork(SMALL)(parameters, x))


@compiles
@pytest.mark.parametrize(
    ("wrong", "off"),
    [
        (lambda right: right.detach() + 0 * right, "100%"),  # what PyTorch 2.11 made: true values, no gradients
        (lambda right: 2 * right, "100%"),
        (lambda right: right * float("nan"), "inf%"),
    ],
)
@pytest.mark.parametrize("kind", ["logits", "derivative"])
def test_what_is_compiled_wrongly_is_found_at_its_first_call_and_not_used(kind, wrong, off):
    network, eager, x = FunctionalNetwork(SMALL, compile="max"), FunctionalNetwork(SMALL), images(2).requires_grad_()
    parameters, right = network.init_params(), network._compiled.compiled._eager[kind]
    network._compiled.compiled.functions = {kind: lambda *arguments: wrong(right(*arguments))}
    weights = network.require_grad(parameters)
    inputs = (x,) if kind == "logits" else (weights, x, torch.tensor([0, 1]), 2)
    call = {"logits": "__call__", "derivative": "directional_derivative"}[kind]
    arguments = (parameters, *inputs) if kind == "logits" else (parameters, weights, *inputs[1:])
    with pytest.warns(UserWarning, match=rf"is compiled wrongly by PyTorch .*, off by {off}; running eagerly"):
        result = getattr(network, call)(*arguments)
    assert not network.compiled
    expected = getattr(eager, call)(*arguments)
    assert torch.equal(result, expected)
    for one, other in zip(*(torch.autograd.grad(y.sum(), [x, *weights]) for y in (result, expected)), strict=True):
        assert torch.equal(one, other)
    assert all(weight.grad is None for weight in weights)


def test_how_far_apart_functions_are_is_the_worst_of_value_and_gradients():
    x, w = torch.tensor([3.0, 4.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)

    def share(one):
        return compiling.relative_error(lambda x, w: one(x, w["w"]), lambda x, w: x * w["w"], [x, {"w": w}])

    same, value = share(lambda x, w: w * x), share(lambda x, w: x * w + torch.tensor([0.0, 1.0]))
    slope = share(lambda x, w: x * w.detach() + 0.75 * (w - w.detach()))
    assert same == 0.0
    assert value == pytest.approx(1 / 5)
    along = 3 + 4 * math.cos(1)  # the direction is cos(0), cos(1)
    assert slope == pytest.approx(abs(0.75 * (1 + math.cos(1)) - along) / along)
    assert compiling.relative_error(lambda x: x, lambda x: x * float("nan"), [x]) == 0.0
    assert (x.grad, w.grad) == (None, None)


def test_warm_up_is_the_time_of_first_calls(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(compiling.time, "perf_counter", lambda: float(next(clock)))
    network = FunctionalNetwork(SMALL, compile="off", sizes=(4,))
    parameters = network.init_params()
    network(parameters, images(4))
    assert network.warm_up == 0.0
    network._compiled.compiled.functions = network._compiled.compiled._eager = {"logits": network.eager}
    for rows, seconds in ((4, 1.0), (4, 1.0), (3, 1.0), (5, 2.0), (5, 2.0)):  # three are padded to four
        network(parameters, images(rows))
        assert network.warm_up == seconds


@compiles
def test_a_compiled_network_warms_up_once_and_an_eager_one_never():
    eager, compiled = FunctionalNetwork(SMALL), FunctionalNetwork(SMALL, compile="max", sizes=(4,))
    parameters, x = eager.init_params(), images(4)
    assert compiled.warm_up == 0.0
    with torch.no_grad():
        for network in (eager, compiled):
            network(parameters, x)
        first = compiled.warm_up
        compiled(parameters, x)
    assert eager.warm_up == 0.0
    assert compiled.compiled, "it fell back to eager"
    assert first > 0
    assert compiled.warm_up == first


def test_what_the_compiler_makes_is_kept_where_the_user_says_or_in_our_folder(monkeypatch, tmp_path):
    name = "TORCHINDUCTOR_CACHE_DIR"
    monkeypatch.setattr(functional, "compiler_available", lambda: True)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv(name, str(tmp_path / "mine"))  # whatever it was comes back after the test
    FunctionalNetwork(SMALL, compile="max")
    assert os.environ[name] == str(tmp_path / "mine")
    monkeypatch.delenv(name)
    FunctionalNetwork(SMALL, compile="off")
    assert name not in os.environ
    FunctionalNetwork(SMALL, compile="max")
    assert os.environ[name] == str(tmp_path / ".cache" / "lightning_distill" / "compiled")


def test_chunks_change_nothing_and_batch_norm_is_never_cut():
    whole, cut = FunctionalNetwork(SMALL), FunctionalNetwork(SMALL, chunk=3)
    parameters, x = in_float64(whole.init_params()), images(7).double()
    torch.testing.assert_close(cut(parameters, x), whole(parameters, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cut.embed(parameters, x), whole.embed(parameters, x), rtol=1e-12, atol=1e-12)
    sizes = [len(part) for part, _ in cut.chunks(x, x[:, 0])]
    assert sizes == [3, 3, 1]
    build = partial(create_network, "convnet_batch", 1, 3, (8, 8))
    assert FunctionalNetwork(build, chunk=3).chunk is None
    assert [len(part) for (part,) in FunctionalNetwork(build, chunk=3).chunks(x)] == [7]


@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
def test_pieces_are_the_rows_in_their_order(chunk):
    x, y = images(7), torch.arange(7)
    parts = list(FunctionalNetwork(SMALL, chunk=chunk).chunks(x, y))
    assert torch.equal(torch.cat([part for part, _ in parts]), x)
    assert torch.equal(torch.cat([part for _, part in parts]), y)
    assert max(len(part) for part, _ in parts) <= (chunk or 7)


def test_flops_of_the_reference_network():
    # convolutions of 3, 128, 128 channels at 32, 16, 8 px, then 2048 x 10, two operations a multiply-add
    expected = 2 * (27 * 128 * 1024 + 1152 * 128 * 256 + 1152 * 128 * 64 + 2048 * 10)
    assert count_flops(partial(create_network, "convnet", 3, 10, (32, 32)), (3, 32, 32)) == expected


def logits(network, parameters, x):
    return network(parameters, x)


def embedding(network, parameters, x):
    return network.embed(parameters, x)


def loss(network, parameters, x):
    with uncached_autocast(x.device):
        return F.cross_entropy(network.eager(parameters, x), torch.arange(len(x)) % 3)


def slope(network, parameters, x):
    directions = [torch.linspace(-1, 1, w.numel()).view(w.shape) for w in network.require_grad(parameters)]
    return network.directional_derivative(parameters, directions, x, torch.arange(len(x)) % 3, len(x))


@pytest.mark.parametrize("forward", [logits, embedding, loss, slope])
def test_a_weight_changed_inside_autocast_is_seen_by_the_next_forward(forward):
    network = FunctionalNetwork(SMALL)
    parameters, x = network.init_params(), images(4)
    network.require_grad(parameters)  # autocast caches casts of weights that require gradients
    forward = partial(forward, network, parameters, x)

    def change():
        with torch.no_grad():
            for name in sorted(network.weight_names):
                parameters[name].mul_(1.5)

    before = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    expected = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            expected.append(forward())
        change()
    with torch.no_grad():
        for name, tensor in before.items():
            parameters[name].copy_(tensor)
    with torch.autocast("cpu", torch.bfloat16):
        first = forward()
        change()
        second = forward()
    assert first.dtype == (torch.bfloat16 if forward.func in (logits, embedding) else torch.float32)
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])
    assert not torch.equal(first, second)
