"""
mutmut with three more kinds of mutants: run as a script in the copy of the tree.

mutmut 3.8 turns ``==`` into ``!=`` but forces no condition, removes no call and drops no result, so
``if True`` and a forgotten ``self._release(event)`` would never be tried.
"""

from __future__ import annotations

from collections.abc import Iterable

import libcst
from mutmut.__main__ import cli
from mutmut.mutation import mutators


def force_condition(node: libcst.If) -> Iterable[libcst.If]:
    """``if x`` -> ``if True`` and ``if False``."""
    for literal in ("True", "False"):
        yield node.with_changes(
            test=libcst.Name(literal),
            whitespace_before_test=libcst.SimpleWhitespace(" "),
        )


def remove_call(node: libcst.Expr) -> Iterable[libcst.Pass]:
    """A call made for its effect -> ``pass``."""
    if isinstance(node.value, libcst.Call | libcst.Await):
        yield libcst.Pass()


def drop_result(node: libcst.Return) -> Iterable[libcst.Return]:
    """``return x`` -> ``return None``; of ``return False`` no caller that asks "if" would know."""
    kept = libcst.matchers.Name("None") | libcst.matchers.Name("False")
    if node.value is not None and not libcst.matchers.matches(node.value, kept):
        yield node.with_changes(
            value=libcst.Name("None"), whitespace_after_return=libcst.SimpleWhitespace(" ")
        )


if __name__ == "__main__":
    mutators.mutation_operators.extend(  # type: ignore[attr-defined]
        [
            (libcst.If, force_condition),
            (libcst.Expr, remove_call),
            (libcst.Return, drop_result),
        ]
    )
    cli()
