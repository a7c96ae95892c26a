"""
Checks a range of commits: ``python -m tests.support.changelog_line [BASE..HEAD]``.

A range that changes ``otel_bridge/`` or ``collector/`` must change CHANGELOG.md too, and the first
line of each commit's message has at most 72 characters, which is what ``git log`` shows in 80
columns. Merges are left out: git writes their subjects.

The default range is everything since the branch left ``origin/main``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["check", "main"]

ROOT: Final = Path(__file__).parents[2]
CHANGELOG: Final = "CHANGELOG.md"
PACKAGES: Final = ("otel_bridge/", "collector/")
MAX_SUBJECT_CHARS: Final = 72
_UPSTREAM: Final = "origin/main"


class RangeError(Exception):
    """Raised when git cannot read the range; the text is git's own."""


def check(root: Path, commits: str | None = None) -> list[str]:
    """
    Return what is wrong with a range, one line each; empty if nothing is.

    Args:
        root: A git repository.
        commits: As ``git log`` takes it, ``main..topic``; None: since ``origin/main``.

    Raises:
        RangeError: There is no such range, or no ``origin/main`` to compare with.
    """
    if commits is None:
        commits = f"{_git(root, 'merge-base', _UPSTREAM, 'HEAD').strip()}..HEAD"
    log = _git(root, "log", "--no-merges", "--format=%h %s", commits)
    changed = set(_git(root, "log", "--no-merges", "--format=", "--name-only", commits).split("\n"))
    found = []
    for line in log.splitlines():
        commit, _, subject = line.partition(" ")
        if len(subject) > MAX_SUBJECT_CHARS:
            found.append(
                f"{commit}: the subject has {len(subject)} characters, "
                f"over {MAX_SUBJECT_CHARS}: {subject}"
            )
    touched = sorted(path for path in changed if path.startswith(PACKAGES))
    if touched and CHANGELOG not in changed:
        found.append(
            f"{commits}: changes {touched[0]} and {len(touched) - 1} more files "
            f"of the packages, but not {CHANGELOG}"
        )
    return found


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "core.quotePath=false", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise RangeError(done.stderr.strip())
    return done.stdout


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Print what is wrong; 1 if anything is, 2 if the range cannot be read."""
    parser = argparse.ArgumentParser(prog="changelog_line", description=__doc__)
    parser.add_argument("commits", nargs="?", help="BASE..HEAD; default: since origin/main")
    chosen = parser.parse_args(arguments)
    try:
        found = check(root, chosen.commits)
    except RangeError as error:
        print(f"git cannot read the range: {error}", file=sys.stderr)
        return 2
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
