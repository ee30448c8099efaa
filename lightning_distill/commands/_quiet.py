"""Lines of Lightning and PyTorch that tell the user of a command nothing."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

#: Beginnings of log lines that are left out.
LINES = (
    "GPU available: False", "TPU available", "HPU available", "💡 Tip", "`weights_only` was not set",
    "`Trainer.fit` stopped",
    "Restoring states from", "Restored all states from", "Loaded model weights from",
    "No CUDA runtime is found",
)  # fmt: skip
#: Patterns of warnings that are left out.
WARNINGS = (
    "LightningCLI's args parameter", ".*LeafSpec.*is deprecated", ".*smaller than the logging interval",
    ".*does not have many workers", "Checkpoint directory .* exists and is not empty",
    ".*ModelCheckpoint with manual optimization", ".*tensorboardX. has been removed",
)  # fmt: skip
LOGGERS = (
    "lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer.connectors.checkpoint_connector",
    "torch.utils.cpp_extension",
)  # fmt: skip


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave out foreign lines while the block runs, and print warnings without the path of the module."""

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(LINES)

    def one_line(message: Warning | str, *_: object, **__: object) -> str:
        return f"{message}\n"

    loggers, before = [logging.getLogger(name) for name in LOGGERS], warnings.formatwarning
    for logger in loggers:
        logger.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            for pattern in WARNINGS:
                warnings.filterwarnings("ignore", pattern)
            warnings.formatwarning = one_line
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(wanted)
        warnings.formatwarning = before
