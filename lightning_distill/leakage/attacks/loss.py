"""Loss attack: the log-probability of the true label under one student."""

from __future__ import annotations

import numpy as np

from lightning_distill.leakage.attacks.gaussian import Floats
from lightning_distill.leakage.evidence import Evidence


def loss(evidence: Evidence) -> Floats:
    """Return the negative loss of each candidate under one student, ``(k,)``; no references are used.

    Args:
        evidence: Measurements of target and references.

    Reference:
        Yeom et al.: Privacy Risk in Machine Learning, CSF 2018, arXiv 1709.01604.
    """
    return np.asarray(-np.logaddexp(0.0, -evidence.student), np.float64)
