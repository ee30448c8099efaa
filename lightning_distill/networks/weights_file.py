"""Weights of timm models in local files: read without pickle, and matched with the names of timm."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

State = dict[str, Tensor]
#: Keys of a checkpoint under which training scripts store the tensors, in the order of search.
STATE_KEYS = ("state_dict", "model_state_dict", "model")
#: Names of EfficientNet-PyTorch and the names of timm, applied in order to names that begin with ``_``.
EFFICIENTNET_NAMES = (
    (r"^_conv_stem\.", "conv_stem."), (r"^_bn0\.", "bn1."), (r"^_conv_head\.", "conv_head."), (r"^_bn1\.", "bn2."),
    (r"^_fc\.", "classifier."),
)  # fmt: skip
#: Number of names that an error message quotes.
QUOTED = 3


def read_weights_file(path: Path) -> tuple[State, str]:
    """Read the tensors of a safetensors file, or of a torch checkpoint with ``weights_only=True``.

    Args:
        path: Path of the file. Its content decides on the format, not its name.

    Returns:
        Tensors by name on the CPU, and the sha256 of the file in hexadecimal digits.

    Raises:
        FileNotFoundError: No file at the path.
        ValueError: The file is neither format, or holds Python objects that only pickle could restore.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights file {path}; give the path of a .safetensors file or of a torch checkpoint"
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if data[8:9] == b"{":  # the header of safetensors, after its length in eight bytes
        state: object = _load_safetensors(data, path.name)
    elif data.startswith((b"PK", b"\x80")):  # a zip archive, or a checkpoint of torch before 1.6
        state = _load_checkpoint(data, path.name)
    else:
        raise ValueError(
            f"{path.name} is neither a safetensors file nor a torch checkpoint; write it with "
            "safetensors.torch.save_file(model.state_dict(), path)"
        )
    while isinstance(state, Mapping) and (nested := [state[key] for key in STATE_KEYS if _is_mapping(state, key)]):
        state = nested[0]
    if not isinstance(state, Mapping) or not state or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError(
            f"{path.name} holds no state_dict, by itself or as {' or '.join(STATE_KEYS)}; save model.state_dict()"
        )
    return {str(name): tensor for name, tensor in state.items()}, digest


def _load_safetensors(data: bytes, name: str) -> State:
    try:
        return load(data)
    except SafetensorError as error:
        raise ValueError(f"{name} is a damaged safetensors file ({error}); copy or download it again") from error


def _load_checkpoint(data: bytes, name: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols of pickle, which is refused below
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{name} is damaged or holds Python objects, which are never unpickled because they can run code; write "
            "the tensors alone with safetensors.torch.save_file(model.state_dict(), path)"
        ) from error


def match_weights(
    state: Mapping[str, Tensor], encoder: Mapping[str, Tensor], classifiers: Collection[str], model: str, file: str
) -> State:
    """Return the tensors of a file under the names of an encoder, without the classifier.

    A prefix that the names share (``module.``, ``model.``, ``backbone.``) is removed, and tensors under other prefixes
    are left out. Names of EfficientNet-PyTorch are translated.

    Args:
        state: Tensors of the file.
        encoder: Tensors of the timm model without classifier.
        classifiers: Names of the classifier layers in timm, such as ``classifier``. The file may hold them for any
            number of classes.
        model: Name of the timm model, for the error message.
        file: Name of the file, for the error message.

    Raises:
        ValueError: Tensors are missing, of another shape, unknown to the model, or not finite.

    Example:
        >>> state = {"module.conv.weight": torch.ones(2), "module.fc.weight": torch.ones(1000)}
        >>> list(match_weights(state, {"conv.weight": torch.zeros(2)}, ["fc"], "demo", "demo.pth"))
        ['conv.weight']
    """
    named = _remove_prefix(_translate(state), encoder)
    heads = tuple(f"{name}." for name in classifiers)
    named = {name: tensor for name, tensor in named.items() if not name.startswith(heads)}
    optional = {name for name in encoder if name.endswith("num_batches_tracked")}
    missing = [name for name in encoder if name not in named and name not in optional]
    unknown = [name for name in named if name not in encoder]
    shared = [name for name in encoder if name in named]
    shapes = [name for name in shared if named[name].shape != encoder[name].shape]
    faults = [
        _quote(f"{len(missing)} of {len(encoder)} tensors missing", missing),
        _quote(f"{len(unknown)} unknown", unknown),
        _quote(
            f"{len(shapes)} of another shape",
            [f"{n} {tuple(named[n].shape)}, not {tuple(encoder[n].shape)}" for n in shapes],
        ),
    ]
    if missing or unknown or shapes:
        raise ValueError(
            f"{file} does not fit {model}: {'; '.join(filter(None, faults))}; name the timm model that the weights "
            "belong to, or rename the tensors to its state_dict()"
        )
    if infinite := [name for name in shared if not named[name].isfinite().all()]:
        raise ValueError(f"{file} holds values that are not finite ({infinite[0]}); use the weights of another epoch")
    return {name: named[name].to(encoder[name].dtype) for name in shared}


def _is_mapping(content: Mapping[str, object], key: str) -> bool:
    return isinstance(content.get(key), Mapping)


def _quote(fault: str, names: Sequence[str]) -> str:
    """Return ``2 unknown (a, b)``, or an empty text without names."""
    more = ", ..." if len(names) > QUOTED else ""
    return f"{fault} ({', '.join(names[:QUOTED])}{more})" if names else ""


def _remove_prefix(state: Mapping[str, Tensor], encoder: Mapping[str, Tensor]) -> State:
    """Remove the prefix under which most names of the encoder are found; without any, return the state as it is."""
    found: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        suffixes = (".".join(parts[i:]) for i in range(len(parts)))
        found.update(name[: len(name) - len(suffix)] for suffix in suffixes if suffix in encoder)
    if not found:
        return dict(state)
    prefix = max(found, key=lambda p: (found[p], -len(p)))
    return {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}


def _translate(state: Mapping[str, Tensor]) -> State:
    """Translate the names of EfficientNet-PyTorch to those of timm; other names are kept.

    That package numbers the blocks of all stages in one sequence, timm those of each stage. Neighbouring stages of
    every EfficientNet have different numbers of output channels, so a stage begins where that number changes.
    """
    if "_conv_stem.weight" not in state:
        return dict(state)
    channels = {
        int(found[1]): tensor.shape[0]
        for name, tensor in state.items()
        if (found := re.fullmatch(r"_blocks\.(\d+)\._project_conv\.weight", name))
    }
    places: dict[int, str] = {}
    stage, position = 0, 0
    for block in sorted(channels):
        new_stage = block > 0 and channels[block] != channels[block - 1]
        stage, position = (stage + 1, 0) if new_stage else (stage, position + (block > 0))
        places[block] = f"blocks.{stage}.{position}"
    translated: State = {}
    for name, tensor in state.items():
        found = re.match(r"_blocks\.(\d+)\.(.*)", name)
        if found is None:
            for pattern, timm_name in EFFICIENTNET_NAMES:
                if re.match(pattern, name):
                    name = re.sub(pattern, timm_name, name)
                    break
            translated[name] = tensor
            continue
        expanded = f"_blocks.{found[1]}._expand_conv.weight" in state
        translated[f"{places[int(found[1])]}.{_block_name(found[2], expanded)}"] = tensor
    return translated


def _block_name(name: str, expanded: bool) -> str:
    """Return timm's name of a layer in a block; a block without expansion has other names for the same layers."""
    layers = {"_depthwise_conv": "conv_dw", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
    if expanded:
        layers |= {"_expand_conv": "conv_pw", "_project_conv": "conv_pwl", "_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}
    else:
        layers |= {"_project_conv": "conv_pw", "_bn1": "bn1", "_bn2": "bn2"}
    layer, _, rest = name.partition(".")
    return f"{layers.get(layer, layer)}.{rest}"
