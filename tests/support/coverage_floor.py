"""
The floor of branch coverage only rises: ``make coverage`` ends with this.

Reads what the unit tests have covered, prints the lines and branches that they miss, and fails

- below the floor, ``fail_under`` in pyproject.toml;
- when the floor is more than one point below what is measured, so that what was gained stays;
- when the floor is lower than it was in any commit.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import coverage

__all__ = ["complaint", "earlier_floors", "floor_in"]

ROOT: Final = Path(__file__).parents[2]


def floor_in(pyproject: str) -> int:
    """``fail_under`` in the text of a pyproject.toml; 0 without one."""
    report = tomllib.loads(pyproject).get("tool", {}).get("coverage", {}).get("report", {})
    return int(report.get("fail_under", 0))


def _git(*arguments: str) -> str:
    """What git prints; empty without git or outside of a clone."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout


def earlier_floors() -> list[int]:
    """The floors in the commits that changed one, the newest first."""
    commits = _git("log", "--format=%H", "-G", "^fail_under", "--", "pyproject.toml").split()
    return [floor_in(_git("show", f"{commit}:pyproject.toml")) for commit in commits]


def complaint(measured: float, floor: int, earlier: list[int]) -> str | None:
    """What is wrong with the floor, and the cure; None if nothing is."""
    highest = max(earlier, default=0)
    if floor < highest:
        return f"the floor was {highest} before: set fail_under back to it, and add tests"
    if measured < floor:
        return f"{measured:.2f} % is below the floor of {floor} %: add tests for what is listed"
    if int(measured) > floor + 1:
        return f"{measured:.2f} % is covered: set fail_under in pyproject.toml to {int(measured)}"
    return None


def main() -> int:
    data = coverage.Coverage()
    data.load()
    measured = data.report()
    floor = floor_in((ROOT / "pyproject.toml").read_text("utf-8"))
    found = complaint(measured, floor, earlier_floors())
    print(found or f"{measured:.2f} % is covered, the floor is {floor} %")
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main())
