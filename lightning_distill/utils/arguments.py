"""Checks of arguments against the annotations of a function, before any work."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


def check_choices(function: Callable[..., Any], values: Mapping[str, object]) -> None:
    """Raise ValueError for an argument that is none of the values of its ``Literal`` annotation.

    Python does not check annotations: an unknown value would be taken for one of the known ones, silently.

    Args:
        function: Function or constructor with the annotations.
        values: Values of its arguments by name; names without an annotation are ignored.

    Raises:
        ValueError: An argument has a value that is not allowed; the message names those that are.

    Example:
        >>> def fit(split: Literal["val", "test"]): ...
        >>> check_choices(fit, {"split": "zap"})
        Traceback (most recent call last):
        ...
        ValueError: unknown split 'zap'; use one of val, test
    """
    for name, parameter in inspect.signature(function).parameters.items():
        allowed = _choices(_resolve(parameter.annotation, function)) if name in values else []
        if allowed and not any(type(values[name]) is type(value) and values[name] == value for value in allowed):
            raise ValueError(f"unknown {name} {values[name]!r}; use one of {', '.join(map(str, allowed))}")


def check_number(
    name: str, value: object, low: float, high: float = math.inf, *, open_low: bool = False, integer: bool = False
) -> None:
    """Raise ValueError for a value that is no number of a range.

    Args:
        name: Name of the argument.
        value: Its value.
        low: Least value.
        high: Bound that is not reached.
        open_low: Whether the least value is not allowed itself.
        integer: Whether the value has to be an integer.

    Example:
        >>> check_number("momentum", 2, 0, 1)
        Traceback (most recent call last):
        ...
        ValueError: momentum=2; it must be a number from 0 to below 1
    """
    kinds = (int,) if integer else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if fits and (low < value if open_low else low <= value) and value < high:  # type: ignore[operator]
        return
    what = "an integer" if integer else "a number"
    least = f"above {low:g}" if open_low else f"of at least {low:g}" if high == math.inf else f"from {low:g}"
    raise ValueError(f"{name}={value!r}; it must be {what} {least}{'' if high == math.inf else f' to below {high:g}'}")


def changed_settings(owner: type, values: Mapping[str, object]) -> dict[str, object]:
    """Return the values that differ from the default of a constructor argument, for ``repr``.

    Args:
        owner: Class; arguments that its constructor passes on are looked up in its bases.
        values: Values of arguments by name; other names are left out.

    Example:
        >>> class Base:
        ...     def __init__(self, seed=0, momentum=0.5): ...
        >>> class Child(Base):
        ...     def __init__(self, steps=10, **options): ...
        >>> changed_settings(Child, {"steps": 10, "seed": 3, "momentum": 0.5, "note": 1})
        {'seed': 3}
    """
    defaults: dict[str, object] = {}
    for base in reversed(owner.__mro__):
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
            defaults |= {name: parameter.default for name, parameter in parameters.items()}
    return {name: value for name, value in values.items() if name in defaults and value != defaults[name]}


def _resolve(annotation: object, function: Callable[..., Any]) -> object:
    """Return an annotation that may be a string; names that exist for type checkers only give None."""
    if not isinstance(annotation, str):
        return annotation
    names = vars(sys.modules[inspect.unwrap(function).__module__])
    try:
        return eval(annotation, dict(names))
    except NameError:
        return None


def _choices(annotation: object) -> list[object]:
    """Return the values of a Literal, or of a union of Literals and None; empty for any other annotation."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        parts = [[None] if part is type(None) else _choices(part) for part in get_args(annotation)]
        return [value for part in parts for value in part] if all(parts) else []
    return []
