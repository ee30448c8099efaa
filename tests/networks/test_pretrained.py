"""Pretrained networks: files, names of tensors, input, and names that record the file by its digest."""

from __future__ import annotations

import hashlib
import os
import pickle
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from lightning_distill.functional.build import create_for_data
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks import check_network, create_network, resolve_networks
from lightning_distill.networks.pretrained import model_of, weights_digests
from lightning_distill.networks.weights_file import read_weights_file
from lightning_distill.spec import DataSpec

MODEL = "test_efficientnet"  # 160 px, 256 features
LITE0 = os.environ.get("EFFICIENTNET_LITE0_WEIGHTS", "")


def random_model(seed=0, name=MODEL, **options):
    torch.manual_seed(seed)
    model = timm.create_model(name, **options).eval()
    for module in model.modules():  # statistics that differ from those of a new model
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return model


@pytest.fixture
def model():
    return random_model()


@pytest.fixture
def file(tmp_path, model):
    save_file(model.state_dict(), tmp_path / "secret_folder.safetensors")
    return tmp_path / "secret_folder.safetensors"


def reference_features(model, unit_images, side):
    """Features of grey or colour images between 0 and 1, straight from timm."""
    config = timm.get_pretrained_cfg(MODEL)
    x = unit_images.expand(-1, 3, -1, -1)
    reduced = x.shape[-1] > side
    x = F.interpolate(x, (side, side), mode="bilinear", antialias=reduced)
    x = (x - torch.tensor(config.mean)[:, None, None]) / torch.tensor(config.std)[:, None, None]
    with torch.no_grad():
        return model.forward_head(model.forward_features(x), pre_logits=True)


@pytest.mark.parametrize(("channels", "pixels"), [(1, 28), (3, 28), (3, 200)])
@pytest.mark.parametrize("side", [None, 64])
def test_features_are_those_of_timm_for_any_image(model, file, channels, pixels, side):
    name = MODEL if side is None else f"{MODEL}:{side}"
    (resolved,) = resolve_networks([name], {MODEL: file})
    network = create_network(resolved, channels, 5, (pixels, pixels))
    x = torch.rand(2, channels, pixels, pixels)
    torch.testing.assert_close(network.embed(x), reference_features(model, x, side or 160), atol=1e-5, rtol=1e-4)
    assert network(x).shape == (2, 5)


def test_normalised_images_reach_the_encoder_as_pixels_between_0_and_1(model, file):
    spec = DataSpec("ct", (1, 20, 20), ("a", "b"), mean=(-300.0,), std=(450.0,), min_value=-1350.0, max_value=150.0)
    (resolved,) = resolve_networks([f"{MODEL}:64"], {MODEL: file})
    pixels = torch.rand(3, 1, 20, 20) * 1500 - 1350
    features = create_for_data(resolved, spec).embed(spec.normalize(pixels))
    torch.testing.assert_close(features, reference_features(model, (pixels + 1350) / 1500, 64), atol=1e-4, rtol=1e-3)


def test_the_name_holds_the_digest_and_never_the_path(file):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    names = resolve_networks(["convnet", f"timm/{MODEL}:64"], {MODEL: file})
    assert names == ["convnet", f"{MODEL}:64@{digest[:12]}"]
    assert weights_digests(names, {MODEL: str(file)}) == {MODEL: f"sha256:{digest}"}
    assert resolve_networks(names) == names  # a resolved name stays
    assert resolve_networks(names[1:], {MODEL: f"sha256:{digest}"}) == names[1:]  # as a checkpoint records it
    check_network(names[1])
    assert [model_of(name) for name in ("timm/resnet18:64@0123456789ab", "vit_tiny.x:32", "convnet")] == [
        "resnet18", "vit_tiny.x", "convnet",
    ]  # fmt: skip


def test_a_new_head_on_equal_pretrained_weights(file):
    (resolved,) = resolve_networks([f"{MODEL}:64"], {MODEL: file})
    network = FunctionalNetwork(partial(create_network, resolved, 1, 2, (8, 8)))
    torch.manual_seed(1)
    first, second = network.init_params(), network.init_params()
    for name in first:
        assert torch.equal(first[name], second[name]) == (not name.startswith("network.head.")), name
    before = first["network.encoder.conv_stem.weight"].clone()
    first["network.encoder.conv_stem.weight"].add_(1)  # training in place must not reach the next network
    assert torch.equal(network.init_params()["network.encoder.conv_stem.weight"], before)


def test_features_do_not_depend_on_the_batch_or_the_mode(file):
    (resolved,) = resolve_networks([f"{MODEL}:64"], {MODEL: file})
    network = FunctionalNetwork(partial(create_network, resolved, 3, 2, (8, 8)))
    parameters, x = network.init_params(), torch.rand(4, 3, 8, 8)
    network.train(True)
    kept = parameters["network.encoder.bn1.running_mean"].clone()
    whole = network.embed(parameters, x)
    torch.testing.assert_close(whole[:1], network.embed(parameters, x[:1]), atol=1e-5, rtol=1e-4)
    assert torch.equal(parameters["network.encoder.bn1.running_mean"], kept)
    assert not network.batch_norm


@pytest.mark.parametrize("prefix", ["module.", "model.backbone."])
@pytest.mark.parametrize("nested", [(), ("state_dict",), ("model",), ("state_dict", "model")])
def test_torch_checkpoints_with_prefixes_other_parts_and_another_head(tmp_path, prefix, nested):
    model = random_model(3, num_classes=17)
    state = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    state["criterion.weight"] = torch.ones(3)
    content = state
    for key in nested:
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "weights.pth")
    (resolved,) = resolve_networks([f"{MODEL}:64"], {MODEL: tmp_path / "weights.pth"})
    x = torch.rand(2, 3, 8, 8)
    features = create_network(resolved, 3, 2, (8, 8)).embed(x)
    torch.testing.assert_close(features, reference_features(model, x, 64), atol=1e-5, rtol=1e-4)


def test_names_of_efficientnet_pytorch_are_translated(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0").eval()
    (tmp_path / "weights.pth").write_bytes(b"")
    torch.save(dict(zip(foreign_names(), model.state_dict().values(), strict=True)), tmp_path / "weights.pth")
    (resolved,) = resolve_networks(["tf_efficientnet_lite0:32"], {"tf_efficientnet_lite0": tmp_path / "weights.pth"})
    encoder = create_network(resolved, 3, 2, (32, 32)).encoder.state_dict()
    expected = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier")}
    assert encoder.keys() == expected.keys()
    assert all(torch.equal(encoder[name], expected[name]) for name in expected)


def foreign_names():
    """Names of the tensors of EfficientNet-lite0 in EfficientNet-PyTorch, in the order of its layers."""

    def norm(name):
        return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]

    names = ["_conv_stem.weight", *norm("_bn0")]
    for block in range(16):
        expand = [f"_blocks.{block}._expand_conv.weight", *norm(f"_blocks.{block}._bn0")] if block else []
        names += [*expand, f"_blocks.{block}._depthwise_conv.weight", *norm(f"_blocks.{block}._bn1")]
        names += [f"_blocks.{block}._project_conv.weight", *norm(f"_blocks.{block}._bn2")]
    return [*names, "_conv_head.weight", *norm("_bn1"), "_fc.weight", "_fc.bias"]


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("payload_ran",))


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_pickled_objects_are_refused_and_never_run(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write({"state_dict": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=r"weights.pth is damaged or holds Python objects, which are never unpickled.*save_file"
    ):
        resolve_networks([MODEL], {MODEL: tmp_path / "weights.pth"})
    assert not Path("payload_ran").exists()


def test_bad_files(tmp_path, model):
    with pytest.raises(FileNotFoundError, match=r"no weights file .*none.pth; give the path"):
        resolve_networks([MODEL], {MODEL: tmp_path / "none.pth"})
    with pytest.raises(FileNotFoundError, match="no weights file"):
        resolve_networks([MODEL], {MODEL: tmp_path})
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(ValueError, match=r"text.pth is neither a safetensors file nor a torch checkpoint"):
        read_weights_file(tmp_path / "text.pth")
    whole = tmp_path / "whole.safetensors"
    save_file(model.state_dict(), whole)
    (tmp_path / "half.safetensors").write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"half.safetensors is a damaged safetensors file"):
        read_weights_file(tmp_path / "half.safetensors")
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-5000])
    with pytest.raises(ValueError, match=r"half.pth is damaged or holds Python objects"):
        read_weights_file(tmp_path / "half.pth")
    state = {**model.state_dict(), "bn1.weight": torch.full_like(model.bn1.weight.detach(), torch.nan)}
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(ValueError, match=r"nan.safetensors holds values that are not finite \(bn1.weight\)"):
        resolve_networks([MODEL], {MODEL: tmp_path / "nan.safetensors"})
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"empty.pth holds no state_dict"):
        read_weights_file(tmp_path / "empty.pth")
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match=r"tensor.pth holds no state_dict"):
        read_weights_file(tmp_path / "tensor.pth")
    state = model.state_dict()
    state["conv_stem.weight"] = torch.ones(1)
    state["extra.weight"] = state.pop("bn1.weight")
    save_file(state, tmp_path / "wrong.safetensors")
    with pytest.raises(
        ValueError,
        match=r"wrong.safetensors does not fit test_efficientnet: 1 of \d+ tensors missing \(bn1.weight\); "
        r"1 unknown \(extra.weight\); 1 of another shape \(conv_stem.weight \(1,\), not .*name the timm model",
    ) as error:
        resolve_networks([MODEL], {MODEL: tmp_path / "wrong.safetensors"})
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("length", range(40))
def test_a_safetensors_file_is_recognised_whatever_the_length_of_its_header(tmp_path, length):
    """One header in 32 has a length that begins with the byte of a pickle stream."""
    save_file({"a" * length * 8: torch.ones(1)}, tmp_path / "x.pth")
    assert list(read_weights_file(tmp_path / "x.pth")[0]) == ["a" * length * 8]


def test_bad_names_and_images(file):
    weights = {MODEL: file}
    with pytest.raises(ValueError, match=r"unknown network 'timm/test_eficientnet'; closest names:.*test_efficientnet"):
        resolve_networks(["test_eficientnet"], {"test_eficientnet": file})
    with pytest.raises(ValueError, match="unknown network 'timm/lenet'"):  # a network of this package, not of timm
        resolve_networks(["lenet"], {"lenet": file})
    with pytest.raises(ValueError, match="given for 'resnet18', which is none of the networks convnet"):
        resolve_networks(["convnet"], {"resnet18": file})
    with pytest.raises(ValueError, match=r"an input size \(test_efficientnet:64\) needs weights"):
        resolve_networks([f"{MODEL}:64"])
    with pytest.raises(ValueError, match="unknown network 'resnet18:64'"):
        check_network("resnet18:64")
    with pytest.raises(ValueError, match="has the sha256"):
        resolve_networks([f"{MODEL}@0123456789ab"], weights)
    with pytest.raises(ValueError, match=r"weights of test_efficientnet@0123456789ab are not loaded; give weights="):
        create_network(f"{MODEL}@0123456789ab", 3, 2, (8, 8))
    small, whole = resolve_networks([f"{MODEL}:16", MODEL], weights)
    with pytest.raises(ValueError, match=r"input size 16 is too small for test_efficientnet; use 32 or more"):
        create_network(small, 3, 2, (8, 8))
    with pytest.raises(ValueError, match=r"images have 2 channels; test_efficientnet with pretrained weights takes 1"):
        create_network(whole, 2, 2, (8, 8))


def test_a_transformer_takes_another_input_size_where_its_patches_fit(tmp_path):
    model = random_model(name="test_vit")
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    whole, small, odd = resolve_networks(
        ["test_vit", "test_vit:96", "test_vit:100"], {"test_vit": tmp_path / "vit.safetensors"}
    )
    for name in (whole, small):
        assert create_network(name, 1, 2, (28, 28))(torch.rand(2, 1, 28, 28)).shape == (2, 2)
    with pytest.raises(ValueError, match=r"test_vit does not take images of 100 px; leave out ':100'"):
        create_network(odd, 1, 2, (28, 28))


def test_imagenet_weights_tell_patterns_apart():
    if not Path(LITE0).is_file():
        pytest.skip("EFFICIENTNET_LITE0_WEIGHTS names no file with ImageNet weights")
    (resolved,) = resolve_networks(["tf_efficientnet_lite0:112"], {"tf_efficientnet_lite0": LITE0})
    network = create_network(resolved, 1, 2, (28, 28))
    coarse, fine = (torch.arange(28) // step % 2 * 1.0 for step in (7, 2))
    x = torch.stack([coarse.expand(28, 28), fine.expand(28, 28)]).repeat(3, 1, 1)[:, None]
    features = F.normalize(network.embed(x + 0.05 * torch.randn(6, 1, 28, 28)).detach())
    similar = features @ features.T
    assert min(similar[0, 2], similar[1, 3]) > similar[0, 1]
