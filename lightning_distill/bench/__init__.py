"""Ours against the textbook: both take turns in one process."""
