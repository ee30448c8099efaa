from __future__ import annotations

import pytest
import torch
from reference.trajectory_matching import trajectory_distance as reference

from lightning_distill.objectives import trajectory_distance

SHAPES = [(4, 2, 3, 3), (4,), (3, 6), ()]


def weights(seed: int = 0, dtype=torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def three(dtype=torch.float64) -> tuple[list[torch.Tensor], ...]:
    """Student, start and target."""
    return tuple(weights(seed, dtype) for seed in range(3))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_equals_plain_loops(dtype, close):
    weights_of = three(dtype)
    value = trajectory_distance(*weights_of)
    assert value.dtype == dtype
    assert value.shape == ()
    assert value.item() == pytest.approx(reference(*weights_of), rel=close)


def test_all_parameters_share_one_denominator():
    # by hand: left is 4 + 1, the way 1 + 9; tensor by tensor it would be 4/1 + 1/9
    student, start, target = [[2.0], [1.0]], [[1.0], [3.0]], [[0.0], [0.0]]
    inputs = ([torch.tensor(tensor) for tensor in side] for side in (student, start, target))
    assert trajectory_distance(*inputs).item() == 0.5


def test_zero_on_the_target_and_one_at_the_start():
    _, start, target = three()
    assert trajectory_distance([w.clone() for w in target], start, target).item() == 0
    assert trajectory_distance([w.clone() for w in start], start, target).item() == 1


@pytest.mark.parametrize("share", [0.25, 0.5, 2.0])
def test_part_of_the_way_leaves_the_square_of_the_rest(share):
    _, start, target = three()
    student = [a + share * (b - a) for a, b in zip(start, target, strict=True)]
    assert trajectory_distance(student, start, target).item() == pytest.approx((1 - share) ** 2)


def test_where_the_weights_lie_and_their_unit_do_not_matter():
    inputs, offset = three(), weights(9)
    expected = trajectory_distance(*inputs).item()
    moved = [[w + o for w, o in zip(side, offset, strict=True)] for side in inputs]
    assert trajectory_distance(*moved).item() == pytest.approx(expected, rel=1e-12)
    scaled = [[-300 * w for w in side] for side in inputs]
    assert trajectory_distance(*scaled).item() == pytest.approx(expected, rel=1e-12)


def test_gradient_is_the_derivative_and_reaches_only_the_student():
    student, start, target = ([w.requires_grad_() for w in side] for side in three())
    trajectory_distance(student, start, target).backward()
    assert [w.grad for w in (*start, *target)] == [None] * 2 * len(SHAPES)
    distance = sum(((a - b) ** 2).sum() for a, b in zip(start, target, strict=True)).item()
    for here, goal in zip(student, target, strict=True):
        torch.testing.assert_close(here.grad, 2 * (here - goal).detach() / distance)


def test_sums_in_float32_when_weights_are_bf16():
    inputs = [[w.expand(300, *w.shape).bfloat16() for w in side] for side in three()]
    value = trajectory_distance(*inputs)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(reference(*[[w.double() for w in side] for side in inputs]), rel=1e-2)


def test_an_expert_that_stands_still_is_refused():
    student, start, _ = three()
    with pytest.raises(ValueError, match="the same at start and target; it has not learned anything"):
        trajectory_distance(student, start, [w.clone() for w in start])


def test_parameters_of_another_network_are_refused():
    student, start, target = three()
    with pytest.raises(ValueError, match=r"zip\(\) argument"):
        trajectory_distance(student[:-1], start, target)
