"""Validation of arrays, splits, groups and label combinations before a run starts."""
