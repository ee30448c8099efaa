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
    custom = Protocol("mine", 3)
    assert get_protocol(custom) is custom


@pytest.mark.parametrize(("images", "epochs"), [(256, 300), (1077, 120), (7011, 22), (60_000, 20)])
def test_real_data_is_given_twenty_epochs_and_the_steps_of_a_set_of_two_batches(images, epochs):
    assert PROTOCOLS["quick"].for_real_data(images).epochs == epochs
    assert PROTOCOLS["reference"].for_real_data(7011).epochs == 72
    assert PROTOCOLS["tiny"].for_real_data(images).epochs == 10
