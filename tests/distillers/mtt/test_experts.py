from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from lightning_distill.distillers.mtt.experts import (
    ExpertFiles,
    epoch_path,
    epochs_in,
    read_expert_card,
    write_epoch,
    write_expert_card,
)
from lightning_distill.distillers.mtt.train_experts import keep_expert
from lightning_distill.networks import create_network


@pytest.fixture
def parameters():
    return {name: p.detach() for name, p in create_network("convnet_w16", 1, 2, (8, 8)).named_parameters()}


def write(folder, parameters, spec, epochs=3, network="convnet_w16"):
    write_expert_card(folder, network, spec, {"lr": 0.01})
    for epoch in range(epochs + 1):
        write_epoch(folder, epoch, {name: tensor + epoch for name, tensor in parameters.items()})


def test_what_is_written_is_read(parameters, make_data, tmp_path):
    spec = make_data().spec
    for number in range(2):
        write(tmp_path / f"{number:03d}", parameters, spec)
    experts = ExpertFiles(tmp_path, "convnet_w16", parameters, spec, 3)
    assert len(experts) == 2
    assert experts.last_epoch(1) == 3
    for name, tensor in experts.parameters_at(1, 2).items():
        assert torch.equal(tensor, parameters[name] + 2)
    card = read_expert_card(tmp_path / "000")
    assert card["training"] == {"lr": 0.01}
    assert card["data"]["class_names"] == ["0", "1"]


def test_half_precision_views_and_gradients_become_plain_float32(tmp_path):
    write_expert_card(tmp_path, "net", None, {})
    weight = torch.arange(12.0).view(3, 4).t().bfloat16().requires_grad_()
    write_epoch(tmp_path, 0, {"w": weight})
    from safetensors.torch import load_file

    loaded = load_file(epoch_path(tmp_path, 0))["w"]
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, weight.detach().float())


def test_epochs_are_counted_up_to_the_first_gap(parameters, tmp_path):
    assert epochs_in(tmp_path) == -1
    write(tmp_path, parameters, None)
    assert epochs_in(tmp_path) == 3
    epoch_path(tmp_path, 2).unlink()
    assert epochs_in(tmp_path) == 1


def test_a_card_without_data_is_checked_by_its_parameters_alone(parameters, make_data, tmp_path):
    write(tmp_path / "0", parameters, None)
    assert len(ExpertFiles(tmp_path, "convnet_w16", parameters, make_data(channels=1).spec, 3)) == 1
    other = dict(create_network("convnet_w16", 3, 2, (8, 8)).named_parameters())
    with pytest.raises(ValueError, match=r"other parameters than the network: features.0.weight is \(16, 1, 3, 3\)"):
        ExpertFiles(tmp_path, "convnet_w16", other, make_data(channels=3).spec, 3)


def test_a_write_that_fails_leaves_the_old_file(parameters, tmp_path, monkeypatch):
    write(tmp_path, parameters, None, epochs=0)
    before = epoch_path(tmp_path, 0).read_bytes()
    monkeypatch.setattr("os.fsync", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_epoch(tmp_path, 0, {name: tensor + 1 for name, tensor in parameters.items()})
    assert epoch_path(tmp_path, 0).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"network": "x"}), "\udcff"])
def test_a_card_that_cannot_be_read_is_named(text, tmp_path):
    (tmp_path / "card.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"card of expert .* cannot be read"):
        read_expert_card(tmp_path)


def test_an_expert_whose_card_is_older_than_the_scale_is_gone_on_with(make_data, tmp_path):
    spec, kept = make_data().spec, ("convnet_w16", {"seed": 0}, 2)
    assert not keep_expert(tmp_path, kept[0], spec, *kept[1:])
    card = json.loads((tmp_path / "card.json").read_text())
    del card["data"]["scale"]
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert not keep_expert(tmp_path, kept[0], spec, *kept[1:])
    with pytest.raises(ValueError, match="an expert of other settings"):
        keep_expert(tmp_path, kept[0], replace(spec, intensity_scale="8 bit, 0 to 255"), *kept[1:])
