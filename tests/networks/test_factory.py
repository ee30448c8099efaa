"""Networks by name: their sizes, their two methods, their norms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_distill.networks import ConvNet, check_network, create_network, list_networks
from lightning_distill.networks.convnet import InstanceNorm

GREY28, RGB32 = (1, 28, 28), (3, 32, 32)
TIMM = ("test_resnet.r160_in1k", "test_vit", "test_efficientnet", "timm/resnet18")


def build(name, shape, num_classes=10):
    torch.manual_seed(0)
    return create_network(name, shape[0], num_classes, shape[1:])


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("convnet", RGB32, 320_010),
        ("convnet", GREY28, 317_706),
        ("convnet_d1", RGB32, 3 * 9 * 128 + 3 * 128 + 128 * 16 * 16 * 10 + 10),
        ("convnet_d4", RGB32, 320_010 + 128 * 128 * 9 + 3 * 128 - 128 * 12 * 10),
        ("convnet_w16", RGB32, 3 * 9 * 16 + 2 * 16 * 16 * 9 + 9 * 16 + 16 * 16 * 10 + 10),
        ("convnet_none", RGB32, 320_010 - 6 * 128),
        ("convnet_layer", RGB32, 320_010 - 6 * 128 + 2 * 128 * (32 * 32 + 16 * 16 + 8 * 8)),
        ("convnet_pool_none", RGB32, 320_010 + 128 * (32 * 32 - 16) * 10),
        ("mlp", GREY28, 784 * 128 + 128 + 128 * 128 + 128 + 1290),
        ("lenet", GREY28, 61_706),
        ("vgg11", RGB32, 9_231_114),
        ("vgg11_batch", RGB32, 9_231_114),
        ("resnet18", RGB32, 11_173_962),
        ("resnet18_batch", RGB32, 11_173_962),
    ],
)
def test_networks_have_as_many_parameters_as_those_of_the_field(name, shape, parameters):
    assert size(build(name, shape)) == parameters


@pytest.mark.parametrize("name", ["convnet_d3", "convnet_w128", "convnet_instance", "convnet_relu", "convnet_pool_avg"])
def test_the_standard_value_of_every_ablation_is_the_standard_network(name):
    x = torch.randn(2, *GREY28)
    assert torch.equal(build(name, GREY28)(x), build("convnet", GREY28)(x))


@pytest.mark.parametrize("shape", [GREY28, (3, 28, 28), RGB32, (5, 28, 32)], ids=str)
def test_28_pixels_are_brought_to_32_whatever_the_channels(shape):
    assert build("convnet", shape).embed(torch.randn(2, *shape)).shape == (2, 2048)


@pytest.mark.parametrize("shape", [GREY28, RGB32], ids=str)
@pytest.mark.parametrize("name", list_networks())
def test_every_listed_network_gives_finite_logits_from_its_own_features(name, shape):
    shape = {"convnet_d6": (shape[0], 64, 64), "convnet_d7": (shape[0], 128, 128)}.get(name, shape)
    network, x = build(name, shape, num_classes=7).eval(), torch.randn(2, *shape)
    with torch.no_grad():
        logits, features = network(x), network.embed(x)
        assert logits.shape == (2, 7)
        assert logits.isfinite().all()
        assert features.ndim == 2
        torch.testing.assert_close(network.head(features), logits)
        assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(("side", "depth", "left"), [(64, 4, 4), (128, 5, 4), (224, 6, 3), (512, 7, 4)])
def test_deeper_nets_bring_large_images_to_few_features(side, depth, left):
    network = ConvNet(3, 10, (side, side), width=2, depth=depth)
    with torch.no_grad():
        assert network.embed(torch.randn(1, 3, side, side)).shape == (1, 2 * left**2)
    check_network(f"convnet_d{depth}")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12), (4, 30, 45), (1, 64, 64)], ids=str)
@pytest.mark.parametrize(
    "name", ["convnet", "convnet_layer", "mlp", "lenet", "alexnet", "vgg11", "resnet18", "alexnet_batch"]
)
def test_networks_take_other_sizes_channels_and_shapes(name, shape):
    network = build(name, shape, num_classes=3)
    if (name, shape) == ("resnet18", (1, 8, 8)):
        with pytest.raises(ValueError, match="too small for this network: instance norm makes its 1 x 1 feature maps"):
            network(torch.randn(2, *shape))
        return
    logits = network(torch.randn(2, *shape))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["convnet", "lenet", "alexnet", "vgg11", "resnet18", "mlp", "convnet_batch"])
def test_gradients_reach_every_parameter(name):
    network = build(name, GREY28)
    F.cross_entropy(network(torch.randn(4, *GREY28)), torch.tensor([0, 1, 2, 3])).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def by_hand(network, x, padding):
    """The ConvNet's logits from its parameters, block by block."""
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    for index, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=padding if index == 0 else 1)
        mean = x.mean((2, 3), keepdim=True)
        var = ((x - mean) ** 2).mean((2, 3), keepdim=True)
        x = (x - mean) / (var + 1e-5).sqrt() * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
        x = x.clamp(min=0)
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    return x.flatten(1) @ network.head.weight.T + network.head.bias


@pytest.mark.parametrize(("shape", "padding"), [(GREY28, 3), (RGB32, 1)])
def test_the_convnet_is_three_blocks_of_convolution_norm_relu_and_average_pooling(shape, padding):
    network, x = build("convnet", shape).double(), torch.randn(3, *shape, dtype=torch.float64)
    torch.testing.assert_close(network(x), by_hand(network, x, padding), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "depth", "width", "norm"),
    [("convnet_w16_d5", 5, 16, "InstanceNorm"), ("convnet_d4_batch_pool_max_w32", 4, 32, "BatchNorm2d")],
)
def test_a_name_may_say_several_things_of_a_convnet(name, depth, width, norm):
    network = build(name, (1, 128, 128), 2)
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == depth * [width]
    assert type(network.features[1]).__name__ == norm
    assert network.head.in_features == width * (128 // 2**depth) ** 2
    assert name not in list_networks()


@pytest.mark.parametrize("name", ["convnet_d4_d5", "convnet_w17_d5", "convnet_d5_", "convnet__d5"])
def test_a_name_that_says_one_thing_twice_or_something_unknown_is_no_convnet(name):
    with pytest.raises(ValueError, match=f"unknown network '{name}'; closest names: convnet"):
        check_network(name)


@pytest.mark.parametrize(
    ("option", "kind", "count"),
    [
        ({"depth": 2}, nn.Conv2d, 2),
        ({"norm": "batch"}, nn.BatchNorm2d, 3),
        ({"norm": "layer"}, nn.LayerNorm, 3),
        ({"norm": "none"}, nn.GroupNorm, 0),
        ({"activation": "leaky"}, nn.LeakyReLU, 3),
        ({"activation": "sigmoid"}, nn.Sigmoid, 3),
        ({"activation": "swish"}, nn.SiLU, 3),
        ({"pool": "max"}, nn.MaxPool2d, 3),
        ({"pool": "none"}, nn.AvgPool2d, 0),
    ],
    ids=str,
)
def test_options_change_what_they_name(option, kind, count):
    network = ConvNet(1, 10, (28, 28), **option)
    assert sum(isinstance(module, kind) for module in network.modules()) == count


def test_the_group_norm_of_the_ablation_has_four_groups_and_the_leaky_slope_is_a_hundredth():
    norms = [module for module in ConvNet(1, 10, (28, 28), norm="group").modules() if isinstance(module, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [4, 4, 4]
    leaky = [m for m in ConvNet(1, 10, (28, 28), activation="leaky").modules() if isinstance(m, nn.LeakyReLU)]
    assert {module.negative_slope for module in leaky} == {0.01}


@pytest.mark.parametrize(("size", "depth"), [((7, 7), 3), ((8, 7), 3), ((15, 32), 4), ((1, 1), 1)])
def test_images_too_small_for_the_poolings_are_refused_with_the_smallest_size(size, depth):
    message = rf"images of {size[0]}x{size[1]} px are too small for {depth} poolings; use at least {2**depth} px"
    with pytest.raises(ValueError, match=message):
        ConvNet(1, 10, size, depth=depth)
    assert ConvNet(1, 10, size, depth=depth, pool="none", norm="none")(torch.randn(2, 1, *size)).shape == (2, 10)


@pytest.mark.parametrize("compiling", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_instance_norm_equals_a_plain_loop_in_float64(monkeypatch, compiling, dtype):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    torch.manual_seed(0)
    norm, x = InstanceNorm(4), (torch.randn(3, 4, 5, 6) * 3 + 2).to(dtype)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    with torch.no_grad():
        result = (norm if dtype == torch.float32 or compiling else norm.to(dtype))(x)
    expected = np.empty(x.shape)
    for b, c in np.ndindex(3, 4):
        plane = x[b, c].double().numpy()
        centred = plane - plane.mean()
        plane = centred / np.sqrt((centred**2).mean() + 1e-5)
        expected[b, c] = plane * norm.weight[c].item() + norm.bias[c].item()
    assert result.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    np.testing.assert_allclose(result.float().numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["convnet", "alexnet", "vgg11", "resnet18", "convnet_layer", "convnet_group", "lenet"])
def test_networks_without_batch_norm_are_alike_in_training_and_evaluation_and_in_any_batch(name):
    network, x = build(name, GREY28), torch.randn(3, *GREY28)
    with torch.no_grad():
        training, evaluation = network.train()(x), network.eval()(x)
        alone = torch.cat([network(image[None]) for image in x])
    assert torch.equal(training, evaluation)
    torch.testing.assert_close(alone, evaluation, rtol=1e-4, atol=1e-4)
    assert list(network.buffers()) == []


@pytest.mark.parametrize("name", [name for name in list_networks() if "batch" in name])
def test_a_new_network_with_batch_norm_has_seen_no_images(name):
    norms = [module for module in build(name, GREY28).modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()
        assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("shape", [GREY28, RGB32, (3, 64, 48)], ids=str)
@pytest.mark.parametrize("name", TIMM)
def test_timm_models_work_by_name(name, shape):
    network, x = build(name, shape, num_classes=5).eval(), torch.randn(2, *shape)
    with torch.no_grad():
        logits, features = network(x), network.embed(x)
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()
        assert features.ndim == 2
        torch.testing.assert_close(network.model.get_classifier()(features), logits, rtol=1e-4, atol=1e-4)


def test_timm_is_asked_first_where_the_prefix_says_so():
    own_network, timm_network = build("resnet18", RGB32), build("timm/resnet18", RGB32)
    assert type(own_network).__module__.startswith("lightning_distill.networks.classic")
    assert type(timm_network.model).__module__.startswith("timm.")


@pytest.mark.parametrize(
    ("name", "close"),
    [("convent", "convnet"), ("resnet_18", "resnet18"), ("Lenet5", "lenet"), ("timm/convnet", "convnet"), ("", ".+")],
)
def test_an_unknown_name_is_refused_with_close_names(name, close):
    for refuse in (check_network, lambda name: create_network(name, 1, 10, (28, 28))):
        with pytest.raises(ValueError, match=rf"unknown network '{name}'; closest names: .*{close}"):
            refuse(name)


@pytest.mark.parametrize("name", [*list_networks(), *TIMM])
def test_known_names_pass_the_check(name):
    check_network(name)


def test_the_list_holds_the_names_of_the_field_once():
    names = list_networks()
    assert len(names) == len(set(names))
    ablations = {
        "_d": range(1, 5), "_w": (32, 64, 128, 256), "_pool_": ("none", "max", "avg"),
        "_": ("sigmoid", "relu", "leaky", "swish", "none", "batch", "layer", "instance", "group"),
    }  # fmt: skip
    expected = {f"convnet{kind}{value}" for kind, values in ablations.items() for value in values}
    expected |= {f"{net}{norm}" for net in ("alexnet", "vgg11", "resnet18") for norm in ("", "_batch")}
    expected |= {"convnet", "mlp", "lenet"}
    assert expected <= set(names)
