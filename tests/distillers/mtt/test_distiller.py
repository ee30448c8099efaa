from __future__ import annotations

import json
import shutil
import warnings

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from torch.func import functional_call

from lightning_distill import ArrayDataModule, MTTDistiller, StudentEvaluation, SyntheticSetExport, load_set
from lightning_distill.distillers.mtt.experts import ExpertFiles, epoch_path
from lightning_distill.distillers.mtt.schedule import (
    HARD_LABEL_LOGIT,
    draw_batches,
    initial_soft_label_logits,
    window_end,
)
from lightning_distill.networks import create_network
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.rng import derive_seed

SMALL = {"network": "convnet_w16", "max_start": 2, "expert_epochs": 2, "syn_steps": 3}


def plain_mtt(data, begun, folder, steps, seed, network, syn_steps=3, batch=2, soft=None):
    """MTT as its protocol tells it: one unrolled graph, momentum by hand, eager float32, no augmentation."""
    spec, module = data.spec, create_network(network, *_about(data))
    values = [begun.images.detach().clone(), torch.tensor(0.01)] + ([] if soft is None else [soft.clone()])
    rates, momenta = [20.0, 1e-6, 2.0], [0.5, 0.5, 0.9]
    velocity = [torch.zeros_like(v) for v in values]
    experts = ExpertFiles(folder, network, dict(module.named_parameters()), spec, 4)
    for step in range(steps):
        torch.manual_seed(derive_seed(seed, step))
        create_network(network, *_about(data))  # the fresh network that a step draws for its buffers
        expert, epoch = int(torch.randint(len(experts), ())), int(torch.randint(0, 2, ()))
        rows = draw_batches(len(begun), batch, syn_steps)
        begin, target = experts.parameters_at(expert, epoch), experts.parameters_at(expert, epoch + 2)
        values = [v.detach().requires_grad_() for v in values]
        student = {name: tensor.clone().requires_grad_() for name, tensor in begin.items()}
        for part in rows:
            labels = begun.labels[part] if soft is None else values[2].softmax(1)[part]
            loss = F.cross_entropy(functional_call(module, student, (values[0][part],)), labels)
            gradients = torch.autograd.grad(loss, list(student.values()), create_graph=True)
            student = {name: w - values[1] * g for (name, w), g in zip(student.items(), gradients, strict=True)}
        left = sum(((student[name] - target[name]) ** 2).sum() for name in student)
        distance = sum(((begin[name] - target[name]) ** 2).sum() for name in student)
        gradients = torch.autograd.grad(left / distance, values)
        velocity = [m * v + g for m, v, g in zip(momenta, velocity, gradients, strict=False)]
        values = [v - r * w for v, r, w in zip(values, rates, velocity, strict=False)]
    return [v.detach() for v in values]


def _about(data):
    return data.spec.shape[0], data.spec.num_classes, data.spec.shape[1:]


@pytest.mark.parametrize("constant_memory", [True, False])
@pytest.mark.parametrize("soft_labels", [False, True])
def test_equals_a_plain_implementation_step_by_step(
    constant_memory, soft_labels, make_data, make_experts, make_trainer
):
    data = make_data(num_classes=3, channels=3)
    folder = make_experts(data, count=2)
    distiller = MTTDistiller(
        ipc=[2, 1, 2], lr=20.0, lr_lr=1e-6, experts=folder, augmentation="none", seed=4, batch_syn=2,
        soft_labels=soft_labels, constant_memory=constant_memory, **SMALL,
    )  # fmt: skip
    begun = distiller.init_synthetic(data)
    make_trainer(max_steps=4).fit(distiller, datamodule=data)
    soft = begun.soft_label_logits.detach() if soft_labels else None
    expected = plain_mtt(data, begun, folder, 4, 4, "convnet_w16", soft=soft)
    assert (expected[0] - begun.images).abs().max() > 1e-2
    ours = [distiller.synthetic.images, distiller.synthetic.lr, distiller.synthetic.soft_label_logits]
    for result, right in zip(ours, expected, strict=False):
        torch.testing.assert_close(result.detach(), right, rtol=2e-3, atol=1e-3)
    assert distiller.synthetic.lr.item() != 0.01
    if soft_labels:
        assert (distiller.synthetic.soft_label_logits - begun.soft_label_logits).abs().max() > 1e-6


def test_constant_memory_equals_unrolled_with_augmentation_and_batch_norm(make_data, make_experts, make_trainer):
    data = make_data()
    folder, images = make_experts(data, "convnet_batch"), []
    for constant_memory in (True, False):
        distiller = MTTDistiller(
            ipc=2, experts=folder, constant_memory=constant_memory, **{**SMALL, "network": "convnet_batch"}
        )
        make_trainer(max_steps=2).fit(distiller, datamodule=data)
        images.append(distiller.synthetic.images.detach())
    torch.testing.assert_close(*images, rtol=1e-3, atol=1e-4)


def test_what_was_learned_is_shipped_and_students_train_with_it(make_data, make_experts, make_trainer, tmp_path):
    data = make_data()
    distiller = MTTDistiller(ipc=2, experts=make_experts(data), soft_labels=True, student_lr=0.02, **SMALL)
    students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"], random_baseline=False)
    trainer = make_trainer(max_steps=3, callbacks=[students, SyntheticSetExport(str(tmp_path / "out"))])
    trainer.fit(distiller, datamodule=data)
    shipped, card = read_set(tmp_path / "out" / "last")
    assert shipped.lr == pytest.approx(distiller.synthetic.lr.item(), rel=1e-6)
    torch.testing.assert_close(shipped.soft_labels, distiller.synthetic.soft_label_logits.detach().softmax(1))
    torch.testing.assert_close(load_set(tmp_path / "out" / "last").tensors[1], shipped.soft_labels)
    assert "soft_labels" in card["use"]
    assert "learned rate lr" in card["use"]
    assert "experts" not in card["hyper_parameters"]
    assert str(tmp_path) not in json.dumps(card)
    logged = trainer.callback_metrics["val/acc"].item()
    assert students.scores["val"].mean("acc") == pytest.approx(logged)
    (again,) = trainer.validate(distiller, datamodule=data, verbose=False)
    assert again["val/acc"] == logged


def test_soft_labels_begin_with_what_experts_that_are_right_say(make_data, make_experts):
    data = make_data(num_classes=3)
    folder = make_experts(data, count=3)
    network = create_network("convnet_w16", 1, 3, (8, 8))
    experts = ExpertFiles(folder, "convnet_w16", dict(network.named_parameters()), data.spec, 4)
    x, y = (torch.from_numpy(a[::5].copy()) for a in data.train_arrays())
    logits = initial_soft_label_logits(experts, network, data.spec.normalize(x), y)
    for row, (image, label) in enumerate(zip(data.spec.normalize(x), y, strict=True)):
        expert_logits = [
            functional_call(network, experts.parameters_at(e, 4), (image[None],))[0].detach() for e in range(3)
        ]
        right = [s for s in expert_logits if s.argmax() == label]
        expected = sum(right) / len(right) if right else HARD_LABEL_LOGIT * F.one_hot(label, 3).float()
        torch.testing.assert_close(logits[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_rate_at_or_below_zero_is_set_back(value, make_data, make_experts, make_trainer, tmp_path):
    data = make_data()
    distiller = MTTDistiller(ipc=1, experts=make_experts(data), lr_lr=0.0, **SMALL)
    distiller.synthetic = distiller.init_synthetic(data)
    distiller.synthetic.lr.data.fill_(value)
    trainer = make_trainer(max_steps=3, logger=CSVLogger(tmp_path / "log"), log_every_n_steps=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(distiller, datamodule=data)
    clamps = [str(w.message) for w in caught if "learned learning rate fell to" in str(w.message)]
    assert len(clamps) == 1
    assert "set back to 0.0001" in clamps[0]
    assert distiller.synthetic.lr.item() == pytest.approx(1e-4)
    assert trainer.callback_metrics["distill/student_lr"].item() == pytest.approx(1e-4)


def test_window_grows_and_start_epochs_stay_inside(make_data, make_experts, make_trainer, monkeypatch):
    assert [window_end(step, 20, 5, 30) for step in (0, 10, 30, 99)] == [5, 10, 20, 20]
    data, seen = make_data(), []
    folder = make_experts(data)
    original = ExpertFiles.parameters_at
    monkeypatch.setattr(
        ExpertFiles, "parameters_at", lambda self, e, t, *rest: seen.append(t) or original(self, e, t, *rest)
    )
    options = {**SMALL, "max_start": 3, "expert_epochs": 1, "min_start": 0, "max_start_initial": 1, "grow_steps": 8}
    make_trainer(max_steps=16).fit(MTTDistiller(ipc=1, experts=folder, **options), datamodule=data)
    starts = seen[::2]
    assert set(starts[:4]) == {0}
    assert max(starts) == 2
    assert [end - begin for begin, end in zip(starts, seen[1::2], strict=True)] == [1] * 16


def refused(match, make_trainer, data, folder, error=ValueError, precision="32-true", **options):
    with pytest.raises(error, match=match):
        make_trainer(max_steps=1, precision=precision).fit(
            MTTDistiller(ipc=1, experts=folder, **{**SMALL, **options}), datamodule=data
        )


def test_experts_that_do_not_fit_are_refused_by_their_card(make_data, make_experts, make_trainer, tmp_path):
    data = make_data()
    folder = make_experts(data)
    refused(r"no experts in .*lightning-distill experts", make_trainer, data, str(tmp_path / "none"), FileNotFoundError)
    refused(r"expert 000 is a convnet_w16, not a convnet_w32", make_trainer, data, folder, network="convnet_w32")
    refused(r"saw images \(1, 8, 8\), blobs has \(1, 16, 16\)", make_trainer, make_data(size=16), folder)
    refused(r"saw images \(1, 8, 8\), blobs has \(3, 8, 8\)", make_trainer, make_data(channels=3), folder)
    refused(r"trained on blobs \(0, 1\), not on blobs \(0, 1, 2\)", make_trainer, make_data(num_classes=3), folder)
    refused(r"has 4 epochs, max_start \+ expert_epochs needs 5", make_trainer, data, folder, max_start=3)
    images, labels = data.train_arrays()
    darker = ArrayDataModule((images // 2, labels), name="blobs", channels="first")
    refused(r"saw blobs with mean .* here they are", make_trainer, darker, folder)
    refused(r"max_start=0", make_trainer, data, folder, max_start=0)
    refused(r"min_start=2, max_start=2", make_trainer, data, folder, min_start=2)
    refused(r"max_start_initial=1 needs grow_steps", make_trainer, data, folder, max_start_initial=1)
    refused(r"syn_steps=0", make_trainer, data, folder, syn_steps=0)


def test_damaged_experts_are_named(make_data, make_experts, make_trainer):
    data = make_data()
    folder = make_experts(data)
    whole = epoch_path(f"{folder}/000", 3).read_bytes()
    epoch_path(f"{folder}/000", 3).write_bytes(whole[: len(whole) // 2])
    refused(r"000/epoch-003.safetensors is truncated or damaged", make_trainer, data, folder)
    epoch_path(f"{folder}/000", 3).write_bytes(whole)
    other = make_experts(make_data(num_classes=3))
    shutil.copy(epoch_path(f"{other}/000", 2), epoch_path(f"{folder}/000", 2))
    refused(r"expert 000 has other parameters than the network: head", make_trainer, data, folder)
    (card := epoch_path(f"{folder}/000", 0).with_name("card.json")).write_text("{")
    assert card.is_file()
    refused(r"card of expert 000 cannot be read", make_trainer, data, folder)


def test_float16_is_refused_with_bf16_offered_before_anything_is_read(make_data):
    from lightning_distill.distillers._validation import validate_data

    with pytest.raises(ValueError, match=r"16-mixed.*bf16-mixed"):
        validate_data(make_data().spec, "16-mixed", None)
