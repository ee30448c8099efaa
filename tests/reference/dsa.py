"""The six groups of siamese augmentation in plain numpy loops, float64, from the formulas alone."""

from __future__ import annotations

import math

import numpy as np


def brightness(image, u):
    """x + (u - 0.5)."""
    return image + (u - 0.5)


def saturation(image, u):
    """(x - m_c) * 2u + m_c, m_c the mean over channels at each pixel."""
    channels, height, width = image.shape
    out = np.empty_like(image)
    for y in range(height):
        for x in range(width):
            grey = sum(image[c, y, x] for c in range(channels)) / channels
            for c in range(channels):
                out[c, y, x] = (image[c, y, x] - grey) * 2 * u + grey
    return out


def contrast(image, u):
    """(x - m) * (u + 0.5) + m, m the mean of the image."""
    mean = sum(float(value) for value in image.ravel()) / image.size
    return (image - mean) * (u + 0.5) + mean


def color(image, u_brightness, u_saturation, u_contrast):
    """Brightness, then saturation, then contrast."""
    return contrast(saturation(brightness(image, u_brightness), u_saturation), u_contrast)


def crop(image, down, right):
    """out[y, x] = image[y + down, x + right], zero outside."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                out[:, y, x] = image[:, y + down, x + right]
    return out


def shift_of(side):
    """The largest shift of a crop."""
    return int(side * 0.125 + 0.5)


def cutout_side(side):
    """The side of the square that is cut out."""
    return int(side * 0.5 + 0.5)


def cutout_centres(side):
    """The centres a square may have; an even square has one more, as it has no middle pixel."""
    return range(side + 1 - cutout_side(side) % 2)


def cutout(image, row, column):
    """Zero the square around a centre, as far as it lies inside."""
    _, height, width = image.shape
    out = image.copy()
    for y in range(row - cutout_side(height) // 2, row - cutout_side(height) // 2 + cutout_side(height)):
        for x in range(column - cutout_side(width) // 2, column - cutout_side(width) // 2 + cutout_side(width)):
            if 0 <= y < height and 0 <= x < width:
                out[:, y, x] = 0.0
    return out


def cutout_mean_area(height, width):
    """The share of an image that is erased in the mean, by trying every centre."""
    ones = np.ones((1, height, width))
    areas = [1 - cutout(ones, row, column).mean() for row in cutout_centres(height) for column in cutout_centres(width)]
    return sum(areas) / len(areas)


def flip(image, heads):
    """Mirror left and right if the coin says so."""
    return image[:, :, ::-1] if heads else image


def sample(image, source):
    """Bilinear look-up of ``source(x, y) -> (x, y)`` at every pixel centre, zero outside."""
    _, height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_x, from_y = source(x, y)
            left, top = math.floor(from_x), math.floor(from_y)
            for row, weight_y in ((top, top + 1 - from_y), (top + 1, from_y - top)):
                for column, weight_x in ((left, left + 1 - from_x), (left + 1, from_x - left)):
                    if 0 <= row < height and 0 <= column < width:
                        out[:, y, x] += weight_y * weight_x * image[:, row, column]
    return out


def scale(image, sx, sy):
    """Sample at distances from the centre multiplied by sx and sy: above 1 the content shrinks."""
    _, height, width = image.shape
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    return sample(image, lambda x, y: (middle_x + sx * (x - middle_x), middle_y + sy * (y - middle_y)))


def rotate(image, degrees):
    """Turn the content counter-clockwise around the centre, as one sees it (rows count downwards)."""
    _, height, width = image.shape
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def source(x, y):
        across, down = x - middle_x, y - middle_y
        return middle_x + cos * across - sin * down, middle_y + sin * across + cos * down

    return sample(image, source)
