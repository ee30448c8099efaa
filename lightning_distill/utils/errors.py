"""Errors with an exit status of their own on the command line."""

from __future__ import annotations

#: Exit status of a process that SIGTERM ended, one that Ctrl-C ended, and one whose standard output was closed.
TERMINATED, INTERRUPTED, CLOSED_OUTPUT = 143, 130, 141


class NoGainError(RuntimeError):
    """The exported set is no better than its start, and ``require_gain`` asks for more. Exit status 3 in a shell.

    All files have been written when it is raised.
    """


class UntrustedSetError(ValueError):
    """A set that a receiver must not use: damaged, changed, unsigned or wrongly signed. Exit status 1 in a shell."""


class MissingExtraError(ValueError, ImportError):
    """A package of an optional extra is not installed; the message holds the pip command."""
