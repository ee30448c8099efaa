"""Errors with an exit status of their own on the command line."""

from __future__ import annotations

#: Exit status of a process that SIGTERM ended, and of one that Ctrl-C ended.
TERMINATED, INTERRUPTED = 143, 130


class NoGainError(RuntimeError):
    """The exported set is no better than its start, and ``require_gain`` asks for more. Exit status 3 in a shell.

    All files have been written when it is raised.
    """
