"""Render the page of a study: one file that loads nothing, with a policy that allows its own script and style alone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render_page(study: Mapping[str, Any]) -> str:
    """Render ``templates/study.html.j2`` with ``study.css``, ``order.js`` and ``study.js``.

    Args:
        study: Data of the page, see `study.Study`.
    """
    script = _package_file("order.js") + _package_file("study.js")
    style = _package_file("study.css")
    policy = (
        f"default-src 'none'; img-src data:; script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader("lightning_distill.reader_study"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    page: str = environment.get_template("study.html.j2").render(
        study=dict(study),
        showings=study["stated"] + len(study["repeats"]),
        policy=Markup(policy),
        script=Markup(script),
        style=Markup(style),
    )
    return page


def _package_file(name: str) -> str:
    return files("lightning_distill.reader_study").joinpath(name).read_text("utf-8")


def _source_hash(text: str) -> str:
    """Return the source of a Content Security Policy that allows one inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
