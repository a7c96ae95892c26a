"""
Ctrl-C while ``python -m otel_bridge`` imports its packages: it ends at once, with code 130.

The imports take up to a second, in which Ctrl-C would print a traceback from the middle of some
package. ``except KeyboardInterrupt`` would not do: an import may turn the exception into another
one, as Python 3.11 does where a class is being made. Python imports the package ``otel_bridge``
before its ``__main__``, so the package calls this module before it imports anything else. What is
left is the start of the interpreter itself, 15 ms.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Final

__all__ = ["exit_while_importing", "raise_again"]

_EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count."""


def exit_while_importing() -> None:
    """
    Let SIGINT end the process at once with code 130, if it is ``python -m otel_bridge``.

    Nothing is printed and no clean-up runs then. It lasts until ``raise_again`` is called. In every
    other program, in another thread, and where SIGINT is ignored or has a handler, this does
    nothing. Never raises.
    """
    if (
        _is_own_command(sys.argv, sys.orig_argv)
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _exit)


def raise_again() -> None:
    """Let SIGINT raise ``KeyboardInterrupt`` again, if ``exit_while_importing`` changed that."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(number: int, frame: FrameType | None) -> None:
    os._exit(_EXIT_INTERRUPTED)


def _is_own_command(arguments: list[str], command_line: list[str]) -> bool:
    """
    Whether Python is importing this package in order to run its ``__main__``.

    Args:
        arguments: ``sys.argv``. Its first item is ``-m`` until Python runs the ``__main__``.
        command_line: ``sys.orig_argv``: the first ``-m`` in it is Python's, and the module follows.
    """
    if arguments[:1] != ["-m"] or "-m" not in command_line:
        return False
    module = command_line.index("-m") + 1
    return command_line[module : module + 1] == ["otel_bridge"]
