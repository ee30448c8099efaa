"""Metrics of students' predictions, their intervals, and what is derived from them."""
