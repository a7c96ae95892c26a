"""The notes of a release: one section of the changelog, or a reason why there is none."""

from __future__ import annotations

import pytest

from tests.support.release_notes import NotesError, notes_of

CHANGELOG = """\
# Changelog

## Unreleased

## 0.2.0 - 2026-11-28

### Added

- A thing.

## 0.1.0

- The first.
"""


def test_the_section_of_the_version() -> None:
    """The notes are what stands between the version's heading and the next one."""
    assert notes_of("v0.2.0", "0.2.0", CHANGELOG) == "### Added\n\n- A thing."
    assert notes_of("v0.1.0", "0.1.0", CHANGELOG) == "- The first."


@pytest.mark.parametrize(
    ("tag", "version", "reason"),
    [
        ("v0.2.0", "0.2.1", "__version__ is 0.2.1"),
        ("0.2.0", "0.2.0", "the tag is 0.2.0"),
        ("v0.2.1", "0.2.1", "nothing under a heading '## 0.2.1'"),
        ("v0.2", "0.2", "nothing under a heading '## 0.2'"),
        ("vUnreleased", "Unreleased", "nothing under"),
    ],
)
def test_a_tag_without_notes(tag: str, version: str, reason: str) -> None:
    """A tag of another version, and a version without a section, are refused with the reason."""
    with pytest.raises(NotesError, match=reason):
        notes_of(tag, version, CHANGELOG)
