from __future__ import annotations

import pytest

from lightning_distill.evaluation import PROTOCOLS, Protocol, get_protocol


def test_reference_is_the_fields_protocol():
    reference = get_protocol("reference")
    assert (reference.epochs, reference.lr, reference.momentum) == (1000, 0.01, 0.9)
    assert (reference.weight_decay, reference.batch_size) == (5e-4, 256)


def test_unknown_name_offers_the_known():
    with pytest.raises(ValueError, match="unknown protocol 'slow'; use one of reference, quick"):
        get_protocol("slow")


def test_a_protocol_is_taken_as_it_is():
    mine = Protocol("mine", 3)
    assert get_protocol(mine) is mine


@pytest.mark.parametrize(("images", "epochs"), [(256, 300), (7011, 20), (546, 100)])
def test_real_data_is_given_at_least_twenty_epochs_and_three_hundred_steps(images, epochs):
    assert PROTOCOLS["reference"].for_real_data(images).epochs == epochs
    assert PROTOCOLS["tiny"].for_real_data(images).epochs == 10
