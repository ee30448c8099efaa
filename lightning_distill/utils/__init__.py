"""Helpers without knowledge of distillation: random streams, hardware, lazy arrays, CSV rows, ranks."""
