"""Style of figures, and their conversion to ``data:`` URIs for a page."""

from __future__ import annotations

import base64
import io
import re
import textwrap
import warnings
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

INK, MUTED, LINE, BLUE = "#1f2933", "#66727f", "#d5dbe1", "#2a6f97"
#: Line colours of distilled sets, legible on light and dark backgrounds and colour-blind safe (after Okabe and Ito).
COLOURS = ("#0072b2", "#b35900", "#00795a", "#a8437d", "#6b4fa0", "#8c6d1f")
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Picture:
    """Picture as a ``data:`` URI.

    Args:
        uri: ``data:`` URI, drawn for a light background.
        width: Width in CSS pixels.
        height: Height in CSS pixels.
        drawn: Whether the picture consists of lines and text. The page inverts such pictures on a dark background;
            photographs are not inverted.
    """

    uri: str
    width: int
    height: int
    drawn: bool


def new_figure(
    width: float, height: float, rows: int = 1, ratios: tuple[float, ...] = (1,)
) -> tuple[Figure, list[Axes]]:
    """Create a figure and its axes, one above the other, without the global state of pyplot.

    Args:
        width: Width in inches.
        height: Height in inches.
        rows: Number of axes.
        ratios: Ratios of the heights of the axes.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, 1, squeeze=False, sharex=rows > 1, height_ratios=ratios)[:, 0])
    for axis in axes:
        axis.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, length=3, width=0.8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(MUTED)
        axis.spines[["left", "bottom"]].set_linewidth(0.8)
        axis.xaxis.label.set(color=MUTED, fontsize=9)
        axis.yaxis.label.set(color=MUTED, fontsize=9)
        axis.set_axisbelow(True)
    return figure, axes


def set_title(axis: Axes, text: str) -> None:
    """Set a small left-aligned title without math parsing, so that dollar signs are shown."""
    axis.set_title(text, loc="left", fontsize=10, fontweight="bold", color=INK, pad=8, parse_math=False)


def wrap_text(name: str, width: int = 20, lines: int = 2) -> str:
    """Wrap a class name into a few short lines and truncate the rest."""
    parts = textwrap.wrap(name, width) or [""]
    return "\n".join(
        [*parts[: lines - 1], *textwrap.wrap(" ".join(parts[lines - 1 :]), width, max_lines=1, placeholder=" …")]
    )


def svg_picture(figure: Figure) -> Picture:
    """Convert a figure to SVG with text as text in a system font, with coordinates rounded to hundredths of a point."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # drawn with the font of the viewer
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]  # remove the doctype, which holds a URL
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r" font-family: 'DejaVu Sans'[^;\"]*sans-serif;", "", drawn)
    drawn = drawn.replace("<svg ", f'<svg font-family="{FONTS}" ', 1)
    drawn = re.sub(r"(?<=[ \"(\-])\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", drawn)
    drawn = re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", drawn))
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(_uri(drawn.encode(), "svg+xml"), width, height, drawn=True)


def png_picture(image: Image.Image, scale: float = 1.0) -> Picture:
    """Convert an image to PNG.

    Args:
        image: Image.
        scale: Number of image pixels per CSS pixel.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    width, height = round(image.width / scale), round(image.height / scale)
    return Picture(_uri(buffer.getvalue(), "png"), width, height, drawn=False)


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
