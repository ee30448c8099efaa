"""Objectives of the methods: pure functions from tensors to a scalar, with the formula in the docstring."""

from lightning_distill.objectives.characteristic_function import characteristic_function_distance
from lightning_distill.objectives.class_means import class_means, relative_mean_distance
from lightning_distill.objectives.distribution_matching import mean_embedding_distance
from lightning_distill.objectives.gaussian_mmd import gaussian_mmd
from lightning_distill.objectives.gradient_matching import Distance, gradient_distance
from lightning_distill.objectives.kernel_ridge import ridge_loss, ridge_weights
from lightning_distill.objectives.moments import moment_distance
from lightning_distill.objectives.multi_label import label_entropy
from lightning_distill.objectives.rectified_flow import flow_point, logit_normal_times, rectified_flow_loss
from lightning_distill.objectives.relativistic import critic_loss, generator_loss, gradient_penalty
from lightning_distill.objectives.trajectory_matching import trajectory_distance

__all__ = [
    "Distance",
    "characteristic_function_distance",
    "class_means",
    "critic_loss",
    "flow_point",
    "gaussian_mmd",
    "generator_loss",
    "gradient_distance",
    "gradient_penalty",
    "label_entropy",
    "logit_normal_times",
    "mean_embedding_distance",
    "moment_distance",
    "rectified_flow_loss",
    "relative_mean_distance",
    "ridge_loss",
    "ridge_weights",
    "trajectory_distance",
]
