"""Benchmarks of the hot paths against a reference implementation, interleaved in one process."""
