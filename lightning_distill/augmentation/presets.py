"""Named augmentations, and which of them is valid for which kind of image."""

from __future__ import annotations

import difflib

#: Named strategies: which groups of operations may be drawn, one at a time. ``color`` is brightness, saturation and
#: contrast; of a grey image it leaves the grey levels' brightness and contrast. ``intensity`` is that for images of
#: several grey channels, such as CT windows, which saturation would mix. ``flip`` is left-right; nothing is ever turned
#: upside down. ``dc_students`` is what DC's code gives students on MNIST: each image by itself is shifted, stretched by
#: 0.8 to 1.2 or turned by up to 45 degrees, and filled with the batch's mean.
PRESETS: dict[str, tuple[str, ...]] = {
    "dsa": ("color", "crop", "cutout", "flip", "scale", "rotate"),
    "dsa_noflip": ("color", "crop", "cutout", "scale", "rotate"),
    "dsa_grey_noflip": ("intensity", "crop", "cutout", "scale", "rotate"),
    "crop_scale_rotate": ("crop", "scale", "rotate"),
    "dc_students": ("crop", "stretch", "turn"),
    "none": (),
}

#: The preset that is valid for a kind of image, and why mirror images are, or are not; where it is not known, they are
#: left out. Brightness and contrast differ between devices everywhere, saturation with stain and light.
MODALITIES: dict[str, str] = {
    "chest_xray": "dsa_noflip",  # a mirrored one has its heart on the other side
    "xray": "dsa_noflip",  # a side may be the finding, and letters say which it is
    "ct": "dsa_grey_noflip",  # left and right organs are classes; windows are channels of their own
    "mr": "dsa_grey_noflip",  # the same; sequences may be channels
    "ultrasound": "dsa_noflip",  # heart and liver have sides
    "breast_ultrasound": "dsa",  # one breast is the other's mirror image; depth stays below
    "oct": "dsa",  # a left eye is a right one's mirror image; layers stay in their order
    "fundus": "dsa",  # the same; colour varies with camera and pigment
    "dermatoscopy": "dsa",  # skin has no sides; colour varies with the lamp
    "histology": "dsa",  # tissue on a slide has no sides; stains vary in strength
    "blood_smear": "dsa",  # cells have no sides; stains vary in strength
    "electron_microscopy": "dsa",  # cells have no sides
    "fluorescence": "dsa",  # cells have no sides; one grey channel, whose exposure varies
    "photograph": "dsa_noflip",  # a side may be the finding
    "digits": "dsa_noflip",  # a mirrored digit is none, or another
}

_WORDS = {
    "color": "brightness, saturation and contrast",
    "intensity": "brightness and contrast",
    "crop": "shift by an eighth",
    "cutout": "cutout of half a side",
    "flip": "mirror left-right",
    "scale": "scale to 1.2",
    "rotate": "turn to 15 degrees",
    "stretch": "stretch to 1.2",
    "turn": "turn to 45 degrees",
}


def valid_for(modality: str) -> str:
    """Return the preset that is valid for a kind of image.

    >>> valid_for("chest_xray")
    'dsa_noflip'

    Raises:
        ValueError: The kind of image is unknown.
    """
    if modality not in MODALITIES:
        close = difflib.get_close_matches(modality, MODALITIES, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown modality={modality!r}{meant}; use one of {', '.join(MODALITIES)}, or augmentation=")
    return MODALITIES[modality]


def describe(preset: str, channels: int) -> str:
    """Return a description of a preset for cards, or the name of an unknown preset.

    >>> describe("dsa_noflip", channels=1)
    'dsa_noflip: brightness and contrast; shift by an eighth; cutout of half a side; scale to 1.2; turn to 15 degrees'

    Args:
        preset: Name of a preset in `PRESETS`.
        channels: Number of channels of the images; saturation has no effect on one.
    """
    groups = ["intensity" if group == "color" and channels == 1 else group for group in PRESETS.get(preset, ())]
    return f"{preset}: {'; '.join(_WORDS[group] for group in groups)}" if groups else preset
