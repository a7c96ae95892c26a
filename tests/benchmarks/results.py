"""
The rows of the benchmarks: printed, and merged by name into ``RESULTS.json`` beside this file.

A row is ``{name, value, spread, goal, is_met, commit, cores}``: the median of a run's rounds, their
least and greatest, the goal as text (``<= 12``), and where it was measured.
"""

from __future__ import annotations

import json
import operator
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["RESULTS", "ROOT", "is_met", "merged", "row"]

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = Path(__file__).parent / "RESULTS.json"
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
}


def is_met(value: float, goal: str) -> bool | None:
    """Whether a value meets a goal such as ``<= 12``; None for no goal."""
    if not goal:
        return None
    sign, limit = goal.split()
    return _COMPARE[sign](value, float(limit))


def merged(known: list[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows with one more, in place of the one of its name; sorted by name."""
    rows = {one["name"]: one for one in known} | {new["name"]: new}
    return [rows[name] for name in sorted(rows)]


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or None


def row(name: str, values: Sequence[float], goal: str = "", digits: int = 2) -> None:
    """
    Print one row and merge it into the file.

    Args:
        name: What was measured, with its unit; a later run replaces the row of this name.
        values: One of each round.
        goal: ``<= 12`` or ``>= 2.5``; empty for none.
        digits: Decimals that mean something.
    """
    value = round(statistics.median(values), digits)
    spread = [round(min(values), digits), round(max(values), digits)]
    met = is_met(value, goal)
    mark = "" if met is None else "met" if met else "NOT MET"
    print(f"  {name:<66} {value:>12} {spread!s:>18}  {goal} {mark}", flush=True)
    new = {
        "name": name,
        "value": value,
        "spread": spread,
        "goal": goal or None,
        "is_met": met,
        "commit": _commit(),
        "cores": os.cpu_count(),
    }
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []
    lines = ",\n".join(f"  {json.dumps(one)}" for one in merged(known, new))
    RESULTS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
