"""What a template states, the extraction reads back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from otel_bridge.orchestration.research.corpus_pages import (
    FACTS,
    Draw,
    Mention,
    School,
    newsletter,
    note,
    open_house,
    profile,
    spelled,
)
from otel_bridge.orchestration.research.corpus_words import COUNTIES
from otel_bridge.orchestration.research.documents import Record
from otel_bridge.orchestration.research.extraction import PageExtraction
from otel_bridge.orchestration.research.resolution import is_same_core, name_core

COUNTY = next(county for county in COUNTIES if county.name == "Bibb")
SCHOOL = School(
    name="Quillmere Academy",
    county=COUNTY,
    street_number=799,
    street="Chimney",
    street_type="Road",
    zip_code=31201,
    grades="K-8",
    phone="(555) 012-3456",
    founded=1950,
    tuition=11_250,
    enrollment=312,
)
VALUES = {
    "address": "799 Chimney Road, Macon, GA 31201",
    "tuition": "11250",
    "enrollment": "312",
}
SEEDS = range(40)


def mention(*facts: str) -> Mention:
    return Mention(
        school=SCHOOL,
        name=SCHOOL.name,
        facts=frozenset(facts),
        tuition=SCHOOL.tuition,
        enrollment=SCHOOL.enrollment,
        is_abbreviated=True,
    )


async def read(text: str) -> Record:
    found = await PageExtraction().extract(
        "page.txt",
        text.encode(),
        entities=["private schools"],
        attributes=list(FACTS),
        is_lenient=False,
    )
    (record,) = found
    return record


@pytest.mark.parametrize("write", [profile, newsletter, open_house])
async def test_a_page_states_the_facts_of_its_mention_and_no_others(
    write: Callable[[Draw, Mention], str],
) -> None:
    """Each template with all facts, and with each one left out, is read back as it was meant."""
    texts = set()
    for seed in SEEDS:
        for facts in (FACTS, *([kept for kept in FACTS if kept != fact] for fact in FACTS)):
            text = write(Draw(seed), mention(*facts))
            record = await read(text)
            texts.add(text)
            assert (record.name, record.unit) == (SCHOOL.name, "Bibb County")
            assert set(facts) == record.values.keys()
            for fact in facts:
                # Running text names the city and leaves out the ZIP code.
                assert VALUES[fact].startswith(record.values[fact])
    assert len(texts) > len(SEEDS)


@pytest.mark.parametrize("fact", FACTS)
async def test_a_note_states_one_fact_and_no_county(fact: str) -> None:
    """A note is found by the school's name alone."""
    for seed in SEEDS:
        text = note(Draw(seed), mention(fact), fact)
        record = await read(text)
        assert (record.name, record.unit) == (SCHOOL.name, None)
        assert record.values == {fact: VALUES[fact]}
        assert "County" not in text


@pytest.mark.parametrize(
    "name",
    [
        "Larkdell Lyceum",
        "Quillmere Academy",
        "St. Emberwick's Episcopal School",
        "Wrenholt Preparatory School",
        "Gossamerwhistle Montessori School",
        "Fernshaw Learning Center",
    ],
)
def test_a_spelling_is_still_the_same_name(name: str) -> None:
    """Misspelled, abbreviated or with an article, the resolution takes it for the same school."""
    spellings = {spelled(Draw(seed), name) for seed in range(400)}
    assert name in spellings
    assert len(spellings) >= 4
    for spelling in spellings:
        assert is_same_core(name_core(spelling), name_core(name)), spelling


def test_draws_are_within_their_bounds() -> None:
    """Both ends of a range are drawn, every item is picked, a shuffle loses nothing."""
    draw = Draw(7)
    assert {draw.between(3, 5) for _ in range(100)} == {3, 4, 5}
    assert {draw.pick("abc") for _ in range(100)} == set("abc")
    assert 20 < sum(draw.chance(0.3) for _ in range(100)) < 40
    assert sorted(draw.shuffled(range(20))) == list(range(20))
    assert Draw(7).shuffled(range(20)) == Draw(7).shuffled(range(20)) != list(range(20))
