"""Joining records that speak of the same entity."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.orchestration.research.documents import Record
from otel_bridge.orchestration.research.resolution import Entity, is_same_core, name_core, resolve


def record(name: str, unit: str | None = "Bibb County", page: str = "p", **values: str) -> Record:
    return Record(name, unit, values, page)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Quillmere Academy", "The Quillmere Acad."),
        ("St. Tansy's School", "Saint Tansy's School"),
        ("Quillmere Preparatory School", "Quillmere Prep"),
        ("Harrowleigh Academy", "Harrowlleigh Academy"),
        ("Fern & Otter School", "Fern and Otter School"),
    ],
)
def test_variants_of_a_name_are_one_entity(one: str, other: str) -> None:
    """Abbreviations, articles, saints and a doubled letter do not make a second entity."""
    (entity,) = resolve([record(one, page="a"), record(other, page="b")])
    assert entity.sources == ("a", "b")


def test_the_same_name_in_two_units_is_two_entities() -> None:
    """Records of different units are never joined, however alike their names."""
    found = resolve([record("Quillmere Academy"), record("Quillmere Academy", "Cobb County")])
    assert [entity.unit for entity in found] == ["Bibb County", "Cobb County"]


def test_different_names_stay_apart() -> None:
    """Names that share only their generic words are different entities."""
    assert len(resolve([record("Quillmere Day School"), record("Fernholt Day School")])) == 2


def test_a_record_without_a_unit_joins_the_only_entity_of_its_name() -> None:
    """A page that does not say where adds to the one entity it can mean."""
    (entity,) = resolve(
        [record("Quillmere Academy", page="a"), record("Quillmere Acad.", None, "b", tuition="9")]
    )
    assert (entity.unit, entity.values) == ("Bibb County", {"tuition": "9"})


def test_a_record_without_a_unit_that_could_be_two_stands_alone() -> None:
    """An ambiguous page is not guessed to be about either."""
    found = resolve(
        [
            record("Quillmere Academy"),
            record("Quillmere Academy", "Cobb County"),
            record("Quillmere Academy", None),
        ]
    )
    assert [entity.unit for entity in found] == ["Bibb County", "Cobb County", None]


def test_the_majority_wins_and_the_others_are_kept_as_conflicts() -> None:
    """Where pages disagree the value of most is taken, and the rest is not hidden."""
    (entity,) = resolve(
        [
            record("Quillmere Academy", page="a", tuition="9000"),
            record("Quillmere Academy", page="b", tuition="9500"),
            record("Quillmere Academy", page="c", tuition="9500"),
        ]
    )
    assert (
        Entity(
            name="Quillmere Academy",
            unit="Bibb County",
            values={"tuition": "9500"},
            sources=("a", "b", "c"),
            conflicts={"tuition": ("9000",)},
        )
        == entity
    )


def test_a_shorter_address_does_not_contradict_the_longer_one() -> None:
    """A value that the other only continues counts for it."""
    (entity,) = resolve(
        [
            record("Quillmere Academy", page="a", address="12 Larkspur Lane, Macon"),
            record("Quillmere Academy", page="b", address="12 Larkspur Lane, Macon, GA 31201"),
        ]
    )
    assert entity.values == {"address": "12 Larkspur Lane, Macon, GA 31201"}
    assert entity.conflicts == {}


records = st.lists(
    st.builds(
        Record,
        name=st.sampled_from(
            [
                "Quillmere Academy",
                "The Quillmere Acad.",
                "Quilllmere Academy",
                "Fernholt School",
                "St. Tansy's School",
                "Saint Tansy's School",
            ]
        ),
        unit=st.sampled_from(["Bibb County", "Cobb County", None]),
        values=st.dictionaries(
            st.sampled_from(["tuition", "enrollment"]), st.sampled_from(["1", "2", "3"])
        ),
        page_id=st.sampled_from([f"p{number}" for number in range(9)]),
    ),
    max_size=25,
)


@given(records, st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(
    found: list[Record], shuffler: random.Random
) -> None:
    """Workers finish in any order; the result is the same."""
    shuffled = list(found)
    shuffler.shuffle(shuffled)
    assert resolve(found) == resolve(shuffled)


@given(records)
def test_no_record_is_lost_and_no_unit_mixed(found: list[Record]) -> None:
    """Every name and page of the records is in an entity of the same unit, or of none."""
    entities = resolve(found)
    for one in found:
        homes = [
            entity
            for entity in entities
            if one.name in (entity.name, *entity.aliases) and one.page_id in entity.sources
        ]
        assert homes
        if one.unit is not None:
            assert any(entity.unit == one.unit for entity in homes)


@given(records)
def test_each_value_comes_from_a_record(found: list[Record]) -> None:
    """Resolution invents nothing."""
    said = {pair for one in found for pair in one.values.items()}
    assert {pair for entity in resolve(found) for pair in entity.values.items()} <= said


@given(st.text(max_size=30), st.text(max_size=30))
def test_sameness_is_symmetric(one: str, other: str) -> None:
    """Which name comes first does not matter."""
    assert is_same_core(one, other) == is_same_core(other, one)


@given(st.text(max_size=40))
def test_a_core_is_its_own_core(name: str) -> None:
    """Normalising a normalised name changes nothing."""
    assert name_core(name) == name_core(name_core(name))
