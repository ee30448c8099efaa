"""Portfolio of recipes: find the best set within a time budget."""

from lightning_distill.portfolio.distill import DistillResult, distill
from lightning_distill.portfolio.recipes import RECIPES, Recipe

__all__ = ["RECIPES", "DistillResult", "Recipe", "distill"]
