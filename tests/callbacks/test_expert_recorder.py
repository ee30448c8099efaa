"""Recording experts in somebody else's project."""

from __future__ import annotations

import json

import pytest
import torch
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import ExpertTrajectoryRecorder, MTTDistiller, create_network
from lightning_distill.distillers.mtt.experts import epoch_path, epochs_in, read_expert_card


class Theirs(LightningModule):
    """A classifier as people write them, with a network of ours inside."""

    def __init__(self, network: str = "convnet_w16") -> None:
        super().__init__()
        self.model = nn.ModuleDict({"net": create_network(network, 1, 2, (8, 8))})
        self.scale = 3

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.model["net"](batch[0].float()), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class TheirData(LightningDataModule):
    def train_dataloader(self):
        torch.manual_seed(0)
        return DataLoader(TensorDataset(torch.randn(12, 1, 8, 8), torch.arange(12) % 2), 4)


def fit(make_trainer, tmp_path, callback, epochs=3, seed=1, **options):
    torch.manual_seed(seed)
    module = Theirs()
    trainer = make_trainer(max_steps=-1, max_epochs=epochs, callbacks=[callback, *options.pop("callbacks", [])])
    trainer.fit(module, datamodule=TheirData(), **options)
    return module


def test_every_epoch_of_any_project_is_written(make_trainer, tmp_path):
    torch.manual_seed(1)
    begun = Theirs()
    module = fit(
        make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "e" / "0"), "model.net", network="convnet_w16")
    )
    assert epochs_in(tmp_path / "e" / "0") == 3
    first, last = (load_file(epoch_path(tmp_path / "e" / "0", epoch)) for epoch in (0, 3))
    for files, network in ((first, begun), (last, module)):
        expected = dict(network.model["net"].named_parameters())
        assert set(files) == set(expected)
        for name, tensor in files.items():
            assert torch.equal(tensor, expected[name])
    card = read_expert_card(tmp_path / "e" / "0")
    assert card["network"] == "convnet_w16"
    assert card["data"] is None
    assert card["training"] == {"module": "Theirs", "max_epochs": 3}
    assert str(tmp_path) not in json.dumps(card)


def test_recording_changes_nothing(make_trainer, tmp_path):
    class Nothing(ExpertTrajectoryRecorder):
        def on_train_start(self, trainer, pl_module):
            pass

        on_train_epoch_end = on_train_start

    with_it = fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "a"), "model.net"))
    without = fit(make_trainer, tmp_path, Nothing(str(tmp_path / "b"), "model.net"))
    for a, b in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b)


def test_whole_module_and_class_name_by_default(make_trainer, tmp_path):
    fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "e")), epochs=1)
    assert read_expert_card(tmp_path / "e")["network"] == "Theirs"
    assert all(name.startswith("model.net.") for name in load_file(epoch_path(tmp_path / "e", 1)))


def test_a_distiller_takes_what_was_recorded(make_data, make_trainer, tmp_path):
    folder = tmp_path / "experts"
    for number in range(2):
        callback = ExpertTrajectoryRecorder(str(folder / str(number)), "model.net", network="convnet_w16")
        fit(make_trainer, tmp_path, callback, seed=number)
    options = {"network": "convnet_w16", "max_start": 2, "expert_epochs": 1, "syn_steps": 2}
    distiller, data = MTTDistiller(ipc=1, experts=str(folder), **options), make_data()
    make_trainer(max_steps=2).fit(distiller, datamodule=data)
    assert (distiller.synthetic.images - distiller.init_synthetic(data).images).abs().max() > 0


def test_data_of_ours_is_named_in_the_card(make_data, make_trainer, tmp_path):
    data = make_data()

    class OnOurs(Theirs):
        def training_step(self, batch, batch_idx):
            return super().training_step((data.spec.normalize(batch[0]), batch[1]), batch_idx)

    callback = ExpertTrajectoryRecorder(str(tmp_path / "0"), "model.net", network="convnet_w16")
    make_trainer(max_steps=-1, max_epochs=1, callbacks=[callback]).fit(OnOurs(), datamodule=data)
    assert read_expert_card(tmp_path / "0")["data"]["name"] == "blobs"


def test_a_resumed_run_goes_on_with_its_files(make_trainer, tmp_path):
    keep = ModelCheckpoint(tmp_path / "ck", save_last=True)
    folder = tmp_path / "half"
    torch.manual_seed(1)
    module = Theirs()
    trainer = make_trainer(
        max_steps=-1, max_epochs=2, enable_checkpointing=True,
        callbacks=[ExpertTrajectoryRecorder(str(folder), "model.net"), keep],
    )  # fmt: skip
    trainer.fit(module, datamodule=TheirData())
    assert epochs_in(folder) == 2
    again = make_trainer(
        max_steps=-1, max_epochs=4, callbacks=[ExpertTrajectoryRecorder(str(folder), "model.net")],
    )  # fmt: skip
    again.fit(Theirs(), datamodule=TheirData(), ckpt_path=tmp_path / "ck" / "last.ckpt")
    assert epochs_in(folder) == 4
    fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "whole"), "model.net"), epochs=4)
    one, other = (load_file(epoch_path(tmp_path / name, 4)) for name in ("half", "whole"))
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_compiled_networks_keep_their_names(make_trainer, tmp_path):
    from lightning_distill.callbacks.expert_recorder import _named_parameters

    network = create_network("convnet_w16", 1, 2, (8, 8))
    assert set(_named_parameters(torch.compile(network))) == set(dict(network.named_parameters()))


def test_bad_input_is_refused_before_the_run(make_trainer, tmp_path):
    with pytest.raises(ValueError, match=r"Theirs has no attribute 'backbone' to record"):
        fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "a"), "backbone"))
    with pytest.raises(ValueError, match=r"'scale' is a int, not a network"):
        fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "b"), "scale"))
    fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "c"), "model.net"), epochs=1)
    with pytest.raises(ValueError, match=r"c holds an expert already; choose another dirpath"):
        fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "c"), "model.net"), epochs=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to"):
        fit(make_trainer, tmp_path, ExpertTrajectoryRecorder(str(tmp_path / "file" / "d"), "model.net"))
