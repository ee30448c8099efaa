"""Attack on the mean and standard deviation that a set file holds."""

from __future__ import annotations

import numpy as np

from lightning_distill.leakage.attacks.gaussian import Floats
from lightning_distill.leakage.evidence import Evidence


def shipped_statistics(evidence: Evidence) -> Floats:
    r"""Return the agreement of each candidate with the shipped statistics, ``(k,)``.

    .. math:: s(x) = \sum_j (x_j - \mu_j)(t_j - \mu_j) / \sigma_j^2

    with mean :math:`\mu` and variance :math:`\sigma^2` of the references' statistics and the target's t.

    Args:
        evidence: Measurements of target and references.

    Reference:
        Dwork et al.: Robust Traceability from Trace Amounts, FOCS 2015; after Homer et al., PLoS Genetics 2008.
    """
    centre = evidence.reference_statistics.mean(0)
    variance = np.maximum(evidence.reference_statistics.var(0), 1e-12)
    return np.asarray((evidence.image_statistics - centre) @ ((evidence.statistics - centre) / variance), np.float64)
