"""What the extraction takes for a value, and what it calls things."""

from __future__ import annotations

import pytest

from otel_bridge.orchestration.research.vocabulary import (
    ATTRIBUTES,
    attribute_named,
    entity_words,
    search_words,
)


@pytest.mark.parametrize(
    ("attribute", "raw", "value"),
    [
        ("tuition", "$11,250.00", "11250"),
        ("tuition", "about 9100 USD", "9100"),
        ("tuition", "$9.5", "9.50"),
        ("tuition", "on request", None),
        ("enrollment", "about 1,204 students", "1204"),
        ("enrollment", "n/a", None),
        ("address", "12 Larkspur Ln., Macon,  GA 31201", "12 Larkspur Lane, Macon, GA 31201"),
        ("address", "12 Larkspur Road in Macon", "12 Larkspur Road, Macon"),
        ("address", "12 Larkspur Way", "12 Larkspur Way"),
        ("address", "behind the church", None),
        ("address", "not given", None),
        ("grades", " K-8 ;", "K-8"),
        ("grades", "?", None),
        ("phone", "(555) 012-3456", "(555) 012-3456"),
        ("founded", "in 1950", "1950"),
    ],
)
def test_a_value_is_normalised_or_none(attribute: str, raw: str, value: str | None) -> None:
    """Numbers lose their commas, streets their abbreviations; an evasive answer is no value."""
    assert ATTRIBUTES[attribute].normalise(raw) == value


@pytest.mark.parametrize(
    ("attribute", "text", "value"),
    [
        ("tuition", "Families pay $9,100 a year.", "$9,100"),
        ("tuition", "A year of tuition costs $21,450.", "$21,450"),
        ("tuition", "The bake sale raised $412.", None),
        ("tuition", "Tuition rose. It was a good year for all. It cost $5.", None),
        ("enrollment", "It has 312 pupils.", "312"),
        ("enrollment", "It has 312 books.", None),
        ("address", "It stands at 4493 Persimmon Road in Macon.", "4493 Persimmon Road in Macon"),
        ("founded", "It was founded in 1950.", "1950"),
        ("grades", "It teaches grades PK-12 to all.", "PK-12"),
    ],
)
def test_a_value_is_found_in_running_text(attribute: str, text: str, value: str | None) -> None:
    """A pattern finds the attribute's own numbers and no others."""
    pattern = ATTRIBUTES[attribute].prose
    assert pattern is not None
    found = pattern.search(text)
    assert (None if found is None else found["value"]) == value


def test_an_unlisted_attribute_has_its_name_as_its_label() -> None:
    """Attributes are found by any case of their name; unlisted ones by a label alone."""
    assert attribute_named("Tuition") is ATTRIBUTES["tuition"]
    beds = attribute_named("Beds")
    assert (beds.labels, beds.prose) == (("beds",), None)
    assert (beds.normalise("  120 * "), beds.normalise("none")) == ("120", None)


@pytest.mark.parametrize(
    ("entity", "word"),
    [("private schools", "School"), ("hospitals", "Hospital"), ("libraries", "Library")],
)
def test_a_kind_of_entity_gives_the_words_of_its_names(entity: str, word: str) -> None:
    """The plural in a request becomes the word that names end with, and a term of the search."""
    assert word in entity_words(entity)
    assert {entity, word} <= set(search_words(entity))


def test_only_single_words_are_searched_for() -> None:
    """A name's ending of two words would find no more than its second word does."""
    assert "Learning Center" in entity_words("schools")
    assert [word for word in search_words("schools") if " " in word] == []
