"""
Prints CHANGELOG.md's section of a version: ``python -m tests.support.release_notes v0.2.0``.

Fails if the tag is not the package's version, or if the changelog has no section for it, so that a
release cannot be published without notes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

__all__ = ["NotesError", "notes_of"]

ROOT: Final = Path(__file__).parents[2]


class NotesError(Exception):
    """Raised when a tag has no notes; says why."""


def notes_of(tag: str, version: str, changelog: str) -> str:
    """
    Return the text below the heading of the tag's version, up to the next version.

    Args:
        tag: ``v`` and the version.
        version: The package's ``__version__``.
        changelog: Markdown with a heading ``## <version>``, which may be followed by a date.

    Raises:
        NotesError: The tag is another version's, or has no section or an empty one.
    """
    if tag != f"v{version}":
        raise NotesError(f"the tag is {tag}, but otel_bridge.__version__ is {version}")
    section = re.search(
        rf"^## {re.escape(version)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)",
        changelog,
        re.MULTILINE | re.DOTALL,
    )
    if section is None or not section.group(1).strip():
        raise NotesError(f"CHANGELOG.md has nothing under a heading '## {version}'")
    return section.group(1).strip()


def main(arguments: list[str]) -> int:
    """Print the notes of the tag; 1 if there are none."""
    (tag,) = arguments
    source = (ROOT / "otel_bridge" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, flags=re.MULTILINE)
    try:
        print(notes_of(tag, version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")))
    except NotesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
