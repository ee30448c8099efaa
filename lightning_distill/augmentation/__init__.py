"""Differentiable siamese augmentation (Kornia) and its presets."""
