"""Signal banks: the class statistics of real images in many random networks, which a set can be distilled from."""

from lightning_distill.signals.bank import SignalBank, merge_banks
from lightning_distill.signals.bank_file import read_bank, write_bank
from lightning_distill.signals.datamodule import SignalsDataModule
from lightning_distill.signals.draws import SignalDraws

__all__ = [
    "SignalBank",
    "SignalDraws",
    "SignalsDataModule",
    "merge_banks",
    "read_bank",
    "write_bank",
]
