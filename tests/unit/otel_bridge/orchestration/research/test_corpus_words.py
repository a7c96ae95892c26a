"""The words of the generated corpus fit together."""

from __future__ import annotations

from otel_bridge.orchestration.research.corpus_words import (
    COUNTIES,
    FULL_SCHOOL_NAMES,
    HEADER,
    NAME_ENDINGS,
    NAME_STARTS,
    STREET_TYPES,
    UNRELATED_PAGES,
)
from otel_bridge.orchestration.research.resolution import is_same_core, name_core
from otel_bridge.orchestration.research.vocabulary import STREET_TYPES as SPELLED_OUT
from otel_bridge.orchestration.research.vocabulary import entity_words


def test_the_counties_have_134_schools() -> None:
    """53 counties, each once and with at least one school."""
    assert len({county.name for county in COUNTIES}) == len(COUNTIES) == 53
    assert min(county.schools for county in COUNTIES) == 1
    assert sum(county.schools for county in COUNTIES) == 134


def test_no_two_invented_names_are_taken_for_one() -> None:
    """The resolution distinguishes every two names, so that only spellings of one name match."""
    cores = sorted(
        name_core(f"{start}{ending} School") for start in NAME_STARTS for ending in NAME_ENDINGS
    )
    assert len(cores) == len(set(cores)) == 360
    near = [(one, two) for one in cores for two in cores if one < two and is_same_core(one, two)]
    assert near == []


def test_the_extraction_knows_the_names_and_the_streets() -> None:
    """Every school's name ends in a word for a school, every abbreviation can be spelled out."""
    endings = entity_words("private schools")
    assert [name for name in FULL_SCHOOL_NAMES if not name.endswith(endings)] == []
    for kind, short in STREET_TYPES.items():
        assert SPELLED_OUT.get(short.lower(), short) == kind


def test_pages_about_something_else_have_the_header_and_a_place() -> None:
    """The header says what the page is, and the templates take a county and its city."""
    assert HEADER.startswith("SYNTHETIC PAGE: invented")
    filled = [text.format("Bibb", "Macon") for text in UNRELATED_PAGES]
    assert [text for text in filled if "{" in text] == []
