from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from reference import gradient_matching as reference

from lightning_distill.functional.gradients import loss_gradient
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks import create_network
from lightning_distill.objectives import gradient_distance

#: A convolution and its bias, a layer norm's weight and bias, a linear layer and its bias: 4 + 5 + 5 + 3 rows.
SHAPES = [(4, 2, 3, 3), (4,), (5, 3, 2), (5, 3, 2), (3, 6), (3,)]
ROWS = 4 + 5 + 5 + 3
DISTANCES = ["rowwise", "mse", "cosine"]
REFERENCE = {"rowwise": lambda a, b: reference.rowwise(a, b)[0], "mse": reference.mse, "cosine": reference.cosine}


def gradients(seed: int = 0, shapes=SHAPES, dtype=torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).to(dtype) for shape in shapes]


def standard() -> list[tuple[int, ...]]:
    """The shapes of the standard ConvNet's weights for ten classes."""
    return [tuple(weight.shape) for weight in create_network("convnet", 3, 10, (32, 32)).parameters()]


@pytest.mark.parametrize("scale", [1.0, 1e-4])
@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_plain_loops(distance, scale):
    a, b = ([scale * g for g in gradients(seed)] for seed in (0, 1))
    expected = REFERENCE[distance](a, b)
    assert gradient_distance(a, b, distance).item() == pytest.approx(expected, rel=1e-5)
    wide = [[g.double() for g in side] for side in (a, b)]
    assert gradient_distance(*wide, distance).item() == pytest.approx(expected, rel=1e-12)


def test_rowwise_is_the_default():
    a, b = gradients(0), gradients(1)
    assert gradient_distance(a, b).item() == gradient_distance(a, b, "rowwise").item()


def test_the_standard_network_has_394_rows():
    real, synthetic = (gradients(seed, standard()) for seed in (0, 1))
    expected, rows = reference.rowwise(real, synthetic)
    assert rows == 394
    assert gradient_distance(real, synthetic).item() == pytest.approx(expected, rel=1e-5)
    opposite = gradient_distance(real, [-g for g in real]).item()
    assert opposite == pytest.approx(2 * 394, abs=1e-3)


@pytest.mark.parametrize("distance", DISTANCES)
def test_zero_at_equal_gradients(distance):
    a = gradients(dtype=torch.float64)
    limit = {"rowwise": ROWS * 1e-6, "cosine": 1e-6, "mse": 1e-15}[distance]  # the epsilon of 1e-6
    assert 0 <= gradient_distance(a, [g.clone() for g in a], distance).item() < limit


@pytest.mark.parametrize("distance", DISTANCES)
def test_float32_is_exact_enough_for_the_standard_network(distance):
    real = gradients(0, standard())
    synthetic = [g + n / 30 for g, n in zip(real, gradients(1, standard()), strict=True)]  # nearly parallel
    exact = gradient_distance([g.double() for g in real], [g.double() for g in synthetic], distance).item()
    assert gradient_distance(real, synthetic, distance).item() == pytest.approx(exact, rel=2e-3)


def test_opposite_gradients_are_two_a_row_and_orthogonal_ones_one():
    a = gradients(dtype=torch.float64)
    opposite = [-3 * g for g in a]
    assert gradient_distance(a, opposite, "rowwise").item() == pytest.approx(2 * ROWS, abs=ROWS * 1e-6)
    assert gradient_distance(a, opposite, "cosine").item() == pytest.approx(2, abs=1e-6)
    one, other = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert gradient_distance([one], [other], "rowwise").item() == 2
    assert gradient_distance([one], [other], "cosine").item() == 1


def test_a_row_is_an_output_unit():
    # turning one output unit's gradient around costs that row alone: 2 of the others' 0
    a = gradients(dtype=torch.float64)
    for place, rows in ((0, 4), (2, 5), (4, 3)):
        for row in range(rows):
            b = [g.clone() for g in a]
            b[place][row] *= -1
            assert gradient_distance(a, b, "rowwise").item() == pytest.approx(2, abs=ROWS * 1e-6)


@pytest.mark.parametrize("side", ["real", "synthetic"])
@pytest.mark.parametrize("distance", ["rowwise", "cosine"])
def test_the_length_of_a_gradient_does_not_count(distance, side):
    a, b = ([100 * g for g in gradients(seed, dtype=torch.float64)] for seed in (0, 1))
    scaled = ([7 * g for g in a], b) if side == "real" else (a, [7 * g for g in b])
    assert gradient_distance(*scaled, distance).item() == pytest.approx(gradient_distance(a, b, distance).item())


def test_rows_may_differ_in_length_for_rowwise_only():
    a, b = ([100 * g for g in gradients(seed, dtype=torch.float64)] for seed in (0, 1))
    uneven = [g * torch.arange(1, len(g) + 1).view(-1, *[1] * (g.ndim - 1)) for g in b]
    plain, changed = (gradient_distance(a, g, "rowwise").item() for g in (b, uneven))
    assert changed == pytest.approx(plain)
    assert abs(gradient_distance(a, uneven, "cosine").item() - gradient_distance(a, b, "cosine").item()) > 1e-3


@pytest.mark.parametrize("side", ["real", "synthetic"])
def test_the_length_of_a_gradient_counts_in_mse(side):
    a, b = gradients(0, dtype=torch.float64), gradients(1, dtype=torch.float64)
    scaled = ([7 * g for g in a], b) if side == "real" else (a, [7 * g for g in b])
    assert gradient_distance(*scaled, "mse").item() > 2 * gradient_distance(a, b, "mse").item()
    both = gradient_distance([7 * g for g in a], [7 * g for g in b], "mse").item()
    assert both == pytest.approx(49 * gradient_distance(a, b, "mse").item())


@pytest.mark.parametrize(("distance", "counts"), [("rowwise", False), ("mse", True), ("cosine", True)])
def test_biases_count_in_mse_and_cosine_only(distance, counts):
    a, b = gradients(0, dtype=torch.float64), gradients(1, dtype=torch.float64)
    turned = [-g if g.ndim == 1 else g for g in b]
    changed = gradient_distance(a, turned, distance).item() != gradient_distance(a, b, distance).item()
    assert changed == counts
    synthetic = [g.requires_grad_() for g in b]
    by = torch.autograd.grad(gradient_distance(a, synthetic, distance), synthetic, allow_unused=True)
    for gradient, tensor in zip(by, synthetic, strict=True):
        reached = gradient is not None and gradient.abs().sum() > 0
        assert reached == (counts or tensor.ndim > 1)


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradient_reaches_only_the_synthetic_side(distance):
    real, synthetic = ([g.requires_grad_() for g in gradients(seed)] for seed in (0, 1))
    gradient_distance(real, synthetic, distance).backward()
    assert [g.grad for g in real] == [None] * len(real)
    assert any(g.grad is not None and g.grad.abs().sum() > 0 for g in synthetic)


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_dead_unit_gives_finite_numbers(distance):
    a, b = gradients(0), gradients(1)
    for side, place in ((a, 0), (b, 2), (a, 4), (b, 4)):  # one side alone, then both
        side[place][1] = 0
    synthetic = [g.requires_grad_() for g in b]
    value = gradient_distance(a, synthetic, distance)
    assert value.item() == pytest.approx(REFERENCE[distance](a, [g.detach() for g in b]), rel=1e-5)
    value.backward()
    assert all(g.grad is None or g.grad.isfinite().all() for g in synthetic)


@pytest.mark.parametrize("distance", DISTANCES)
def test_sums_in_float32_when_gradients_are_bf16(distance):
    shapes = [(3, 64, 3, 3), (5, 90), (70,)]
    real = gradients(0, shapes, torch.bfloat16)
    synthetic = [(g + n / 30).bfloat16() for g, n in zip(real, gradients(1, shapes), strict=True)]  # nearly parallel
    value = gradient_distance(real, synthetic, distance)
    assert value.dtype == torch.float32
    exact = REFERENCE[distance]([g.double() for g in real], [g.double() for g in synthetic])
    assert value.item() == pytest.approx(exact, rel=2e-3)  # in bf16, one minus such a cosine is 0
    assert exact > 0


def test_an_unknown_distance_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="unknown distance 'l1'; use one of rowwise, mse, cosine"):
        gradient_distance(gradients(0), gradients(1), "l1")


def test_gradients_of_two_networks_are_refused():
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        gradient_distance(gradients(0), gradients(1)[:-1])


@pytest.mark.parametrize("distance", DISTANCES)
def test_its_derivative_by_the_images_is_the_difference_quotient(distance):
    network = FunctionalNetwork(partial(create_network, "convnet_w16", 1, 3, (8, 8)))
    torch.manual_seed(3)
    parameters = {name: tensor.double() for name, tensor in network.init_params().items()}
    real, x, direction = torch.randn(9, 1, 8, 8).double(), torch.randn(4, 1, 8, 8).double(), torch.randn(4, 1, 8, 8)
    direction = direction.double() / direction.norm()
    y, t = torch.arange(9) % 3, torch.tensor([0, 1, 2, 1])
    target = loss_gradient(network, parameters, real, y)

    def value(images: torch.Tensor) -> torch.Tensor:
        loss = F.cross_entropy(network.eager(parameters, images), t)
        gradients = torch.autograd.grad(loss, network.require_grad(parameters), create_graph=True)
        return gradient_distance(target, gradients, distance)

    images = x.clone().requires_grad_()
    (by_images,) = torch.autograd.grad(value(images), images)
    step = 1e-6
    quotient = (value(x + step * direction) - value(x - step * direction)).item() / (2 * step)
    assert abs(quotient) > 1e-3
    assert (by_images * direction).sum().item() == pytest.approx(quotient, rel=1e-5)


def test_the_gradients_it_compares_are_those_of_the_plain_network():
    torch.manual_seed(5)
    plain = create_network("convnet_w16", 1, 3, (8, 8)).double()
    network = FunctionalNetwork(partial(create_network, "convnet_w16", 1, 3, (8, 8)))
    parameters = {f"network.{name}": tensor.detach().clone() for name, tensor in plain.named_parameters()}
    batches = [(torch.randn(5, 1, 8, 8).double(), torch.tensor([0, 1, 2, 0, 1])) for _ in range(2)]
    ours = gradient_distance(*(loss_gradient(network, parameters, x, y) for x, y in batches)).item()
    plain_gradients = [torch.autograd.grad(F.cross_entropy(plain(x), y), list(plain.parameters())) for x, y in batches]
    expected, rows = reference.rowwise(*plain_gradients)
    assert rows == 3 * 16 + 3
    assert ours == pytest.approx(expected, rel=1e-9)
