"""Report of runs and results as one HTML page, and its matplotlib figures and pillow images."""

from lightning_distill.report.curves import against_ipc
from lightning_distill.report.neighbours import NearestImages, nearest, neighbour_picture
from lightning_distill.report.results import Group, Result, grouped, read_results
from lightning_distill.report.runs import Run, read_input
from lightning_distill.visualization.figures import confusion_figure, figures, recall_figure, reliability_figure

__all__ = [
    "Group",
    "NearestImages",
    "Result",
    "Run",
    "against_ipc",
    "confusion_figure",
    "figures",
    "grouped",
    "nearest",
    "neighbour_picture",
    "read_input",
    "read_results",
    "recall_figure",
    "reliability_figure",
]
