"""Errors of Lightning's Trainer in one line, with the option of a distiller that does what was asked for."""

from __future__ import annotations

#: Way out by words of the message.
_HINTS = {
    "gradient clipping": "; a distiller clips by --model.gradient_clip NORM",
    "gradient accumulation": "; a distiller has no accumulation: set --data.real_per_class, the images of a step",
}


def explain_lightning_error(error: Exception) -> str | None:
    """Return one line for a setting that Lightning refuses; ``None`` for any other error.

    Args:
        error: Error of a run.

    Example:
        >>> from lightning.fabric.utilities.exceptions import MisconfigurationException
        >>> explain_lightning_error(MisconfigurationException("No gradient clipping."))
        'No gradient clipping; a distiller clips by --model.gradient_clip NORM'
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    message = " ".join(str(error).split())
    early_stopping = isinstance(error, RuntimeError) and message.startswith("Early stopping conditioned on")
    if not isinstance(error, MisconfigurationException) and not early_stopping:
        return None
    for words, hint in _HINTS.items():
        if words in message:
            return message.partition(".")[0] + hint
    return message
