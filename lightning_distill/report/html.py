"""Pictures and their captions as HTML."""

from __future__ import annotations

from html import escape

from lightning_distill.visualization.style import Picture


def figure_tag(picture: Picture, alt: str, caption: str, kind: str = "") -> str:
    """A picture with its caption; ``caption`` is HTML, ``alt`` is text."""
    image = image_tag(picture, alt)
    look = f"class={kind}" if kind else f"style='flex-basis:{picture.width}px;max-width:{picture.width}px'"
    return f"<figure {look}><div class=wide>{image}</div><figcaption>{caption}</figcaption></figure>"


def image_tag(picture: Picture, alt: str) -> str:
    """The picture alone."""
    look = " class=drawn" if picture.drawn else ""
    return f"<img{look} src='{picture.uri}' width={picture.width} height={picture.height} alt='{escape(alt)}'>"
