"""Reader study: can people tell the images of a set from real ones? One offline page, a key, and a scorer."""

from lightning_distill.reader_study.agreement import fleiss_kappa, mean_cohen_kappa
from lightning_distill.reader_study.answers import Answers, read_answers
from lightning_distill.reader_study.key import Key, check_page, read_key
from lightning_distill.reader_study.power import detectable_accuracy, power, trials_needed
from lightning_distill.reader_study.scoring import Score, score_answers
from lightning_distill.reader_study.signal_detection import auc, pairs_d_prime, sensitivity
from lightning_distill.reader_study.study import Study, build_study, write_study

__all__ = [
    "Answers",
    "Key",
    "Score",
    "Study",
    "auc",
    "build_study",
    "check_page",
    "detectable_accuracy",
    "fleiss_kappa",
    "mean_cohen_kappa",
    "pairs_d_prime",
    "power",
    "read_answers",
    "read_key",
    "score_answers",
    "sensitivity",
    "trials_needed",
    "write_study",
]
