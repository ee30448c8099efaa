"""Synthetic sets: parameters, file format, card, coresets, merging and adapting."""
