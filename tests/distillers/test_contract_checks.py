"""`check_distiller` finds the faults that it is there for, in methods that have one each."""

from __future__ import annotations

import pytest
import torch

from lightning_distill import Distiller, DMDistiller, check_distiller, list_distillers
from lightning_distill.distillers.contract import run_check


class Means(Distiller):
    """The example of the base class."""

    def losses(self, real):
        for label in self.classes():
            yield (real.of_class(label).mean(0) - self.synthetic.of_class(label).mean(0)).square().sum()


class OneClass(Means):
    def losses(self, real):
        yield next(super().losses(real))


class Stored(Means):
    def losses(self, real):  # reads the stored images: sub-images of the other columns have no loss
        for label in self.classes():
            yield (self.synthetic.of_class(label)[0] - real.of_class(label).mean(0)).square().sum()


class Forgetful(Means):
    steps = 0

    def losses(self, real):
        self.steps += 1
        for loss in super().losses(real):
            yield loss * self.steps


class Talkative(Means):
    def __init__(self, ipc=1, folder="/home/me", **options):
        super().__init__(ipc=ipc, **options)
        self.network_of_the_run = torch.nn.Linear(2, 2)


class Advancing(Means):
    def losses(self, real):
        count = int(self.extra_state.get("count", torch.tensor(0))) + 1
        self.extra_state = {"count": torch.tensor(count)}
        for loss in super().losses(real):
            yield loss * count


class Exploding(Means):
    def losses(self, real):
        for label in self.classes():
            yield (self.synthetic.of_class(label) * 0).sum().sqrt()


def test_methods_of_the_package_and_the_example_pass():
    check_distiller(DMDistiller)
    check_distiller(Means)


@pytest.mark.parametrize(
    ("method", "check", "message"),
    [
        (OneClass, "images move and stay finite", "each class needs a loss"),
        (Stored, "sub-images move", "some sub-image has not moved"),
        (Forgetful, "a resumed run is the run", "a resumed run differs from a whole one"),
        (Talkative, "networks stay out of the state", "network_of_the_run"),
        (Advancing, "losses can be asked for again", "advance self.extra_state in after_step"),
        (Exploding, "images move and stay finite", "not finite|has not moved"),
    ],
)
def test_a_method_with_a_fault_is_told_which(method, check, message):
    with pytest.raises((AssertionError, FloatingPointError), match=message):
        run_check(check, method)


def test_short_names_are_those_of_the_classes():
    assert {"dm", "dc", "dsa", "idm", "krr", "mtt"} <= set(list_distillers())
