"""
``generate_corpus``: the pages that the demo researches, made from a seed.

A corpus to try the reference coordinator on must have what makes research hard: one school on
several pages under several spellings, pages that leave facts out, pages with last year's figures,
a fact that only a page without a county states, pages about something else, damaged pages that a
second attempt can repair, and some that no attempt can. All of it is drawn from a seed instead of
shipped as files: the same seed gives the same bytes on every machine and Python version, so that
every worker has the pages that another worker's search found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

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
from otel_bridge.orchestration.research.corpus_words import (
    COUNTIES,
    FULL_SCHOOL_NAMES,
    HEADER,
    NAME_ENDINGS,
    NAME_STARTS,
    STREET_TYPES,
    STREETS,
    UNRELATED_PAGES,
)

__all__ = ["DEFAULT_SEED", "generate_corpus"]

DEFAULT_SEED: Final = 16
"""
Gives the demo 53 units, 233 pages to extract from and 134 schools, 7 of them with contradicting
figures; 35 facts are missing after the extraction, and the enrichment finds 13 of them.
"""

_SINGLE_PAGES: Final = {"profile": 77, "newsletter": 56, "openhouse": 50}
_TABLES: Final = 31
_NOTES: Final = 34
_UNRELATED: Final = 26
_BROCHURES: Final = 6
"""280 pages in all."""

_STATED: Final = {"profile": 0.8, "newsletter": 0.8, "openhouse": 0.72, "table": 0.72}
"""The share of facts that a page of each kind states."""
_NOTES_ON_GAPS: Final = 14
"""Notes that state a fact no other page states; the others repeat a known one."""
_LAST_YEAR: Final = 9
"""Pages with last year's figures, which pages with this year's then contradict."""

_NAMESAKES: Final = 0.05
"""The share of counties whose first school has the name of a school in another county."""

_DAMAGED: Final = {"profile": (2, 2, 4), "newsletter": (0, 0, 2)}
"""Pages of a kind with NUL bytes, truncated after a label, with Windows-1252 bytes."""
_SHORT_TABLES: Final = 2
"""Tables that announce more rows than they have."""
_TRUNCATED_TABLES: Final = 3
"""
Tables that end in the middle of a row.

With these and the brochures 21 pages are damaged. Their jobs are retried; those of the brochures
then fail for good.
"""

_GRADES: Final = ("PK-5", "K-5", "K-8", "K-12", "PK-12", "6-12", "9-12")
_TABLE_LABELS: Final = (
    {"name": "School", "address": "Address", "enrollment": "Enrollment", "tuition": "Tuition"},
    {"name": "Name", "enrollment": "Students", "tuition": "Annual tuition", "address": "Location"},
    {
        "name": "School name",
        "grades": "Grades",
        "address": "Address",
        "tuition": "Tuition",
        "enrollment": "Pupils",
    },
)
# No capital letters, no digits and no "|": nothing that could pass for a name, a price or a row.
_BROCHURE_BYTES: Final = bytes([*range(0x20), *range(ord("a"), ord("z") + 1), *range(0x80, 0x100)])


def generate_corpus(seed: int = DEFAULT_SEED) -> dict[str, bytes]:
    """
    Generate 280 pages about 134 private schools in 53 counties of Georgia; takes about 10 ms.

    A pure function: the same seed gives the same bytes everywhere. Never raises.

    Args:
        seed: Default 16. Another seed gives other schools and other damaged pages, in the same
            numbers.

    Returns:
        The bytes of each page by its id, e.g. ``001-profile.txt``, in the order of the ids.
    """
    draw = Draw(seed)
    schools = _schools(draw)
    mentions = _Mentions(draw, schools)
    pages = [
        *_single_pages(draw, schools, mentions),
        *_table_pages(draw, schools, mentions),
        *_note_pages(draw, schools, mentions),
        *_pages_without_school(draw),
    ]
    numbered = enumerate(draw.shuffled(pages), 1)
    return {f"{number:03d}-{kind}.txt": data for number, (kind, data) in numbered}


def _schools(draw: Draw) -> list[School]:
    stems = draw.shuffled([start + ending for start in NAME_STARTS for ending in NAME_ENDINGS])
    schools: list[School] = []
    for county in COUNTIES:
        for number in range(county.schools):
            name = draw.pick(FULL_SCHOOL_NAMES).format(stems.pop())
            if number == 0 and schools and draw.chance(_NAMESAKES):
                name = schools[-1].name
            schools.append(
                School(
                    name=name,
                    county=county,
                    street_number=draw.between(20, 4999),
                    street=draw.pick(STREETS),
                    street_type=draw.pick(tuple(STREET_TYPES)),
                    zip_code=100 * county.zip_prefix + draw.between(1, 90),
                    grades=draw.pick(_GRADES),
                    phone=f"(555) 01{draw.between(0, 9)}-{draw.between(1000, 9999)}",
                    founded=draw.between(1890, 2015),
                    tuition=50 * draw.between(80, 530),
                    enrollment=draw.between(35, 840),
                )
            )
    return schools


class _Mentions:
    """Draws what each page states, and remembers which facts of a school were stated anywhere."""

    def __init__(self, draw: Draw, schools: Sequence[School]) -> None:
        self._draw = draw
        self._stated: set[tuple[School, str]] = set()
        # A county with several schools may have a table, which then gives this year's figures.
        several = [school for school in schools if school.county.schools > 1]
        self._last_year = set(draw.shuffled(several)[:_LAST_YEAR])

    def of(self, school: School, kind: str, *, left_out: str = "") -> Mention:
        """What a page of this kind states; never ``left_out``, and at times last year's figures."""
        share = _STATED[kind]
        facts = [fact for fact in FACTS if self._draw.chance(share) and fact != left_out]
        self._stated.update((school, fact) for fact in facts)
        mention = self._whole(school, facts)
        if school in self._last_year:
            self._last_year.remove(school)
            mention = replace(
                mention,
                tuition=school.tuition - 50 * self._draw.between(12, 25),
                enrollment=school.enrollment + self._draw.between(20, 45),
            )
        return mention

    def for_notes(self, schools: Sequence[School]) -> list[tuple[Mention, str]]:
        """Mentions of one fact each: first of facts that no page states, then of any."""
        facts = self._draw.shuffled([(school, fact) for school in schools for fact in FACTS])
        gaps = [pair for pair in facts if pair not in self._stated][:_NOTES_ON_GAPS]
        known = [pair for pair in facts if pair in self._stated][: _NOTES - len(gaps)]
        return [(self._whole(school, [fact]), fact) for school, fact in (*gaps, *known)]

    def _whole(self, school: School, facts: Sequence[str]) -> Mention:
        return Mention(
            school=school,
            name=spelled(self._draw, school.name),
            facts=frozenset(facts),
            tuition=school.tuition,
            enrollment=school.enrollment,
            is_abbreviated=self._draw.chance(0.4),
        )


# --- pages by kind: each as its kind and its bytes -----------------------------------------------

_Page = tuple[str, bytes]


def _page(kind: str, text: str) -> _Page:
    return kind, (HEADER + text).encode()


def _single_pages(draw: Draw, schools: Sequence[School], mentions: _Mentions) -> Iterator[_Page]:
    """Pages on one school each; every school has one before any has two."""
    write = {"profile": profile, "newsletter": newsletter, "openhouse": open_house}
    subjects = iter([*draw.shuffled(schools), *draw.shuffled(schools)])
    for kind, count in _SINGLE_PAGES.items():
        nuls, truncated, windows_1252 = _DAMAGED.get(kind, (0, 0, 0))
        for number in range(count):
            is_truncated = nuls <= number < nuls + truncated
            mention = mentions.of(next(subjects), kind, left_out="tuition" if is_truncated else "")
            _, data = _page(kind, write[kind](draw, mention))
            if number < nuls:
                data = data.replace(b"\n", b"\n\0", 6)
            elif is_truncated:
                data += b"Tuition:"
            elif number < nuls + truncated + windows_1252:
                data = data.replace(b"PAGE:", b"PAGE \x96")
            yield kind, data


def _table_pages(draw: Draw, schools: Sequence[School], mentions: _Mentions) -> Iterator[_Page]:
    """A table lists all schools of a county; two counties have two tables."""
    counties = draw.shuffled([county for county in COUNTIES if county.schools > 1])
    counties = counties[: _TABLES - 2] + counties[:2]
    large = [at for at, county in enumerate(counties) if county.schools >= 4]
    short, truncated = (
        large[:_SHORT_TABLES],
        large[_SHORT_TABLES : _SHORT_TABLES + _TRUNCATED_TABLES],
    )
    for at, county in enumerate(counties):
        rows = [mentions.of(school, "table") for school in schools if school.county == county]
        labels = draw.pick(_TABLE_LABELS)
        title = draw.pick(
            [
                f"Private schools in {county.name} County, Georgia",
                f"{county.name} County, Georgia: private school list",
                f"Table of private schools, {county.name} County (Georgia)",
            ]
        )
        if at in short or draw.chance(0.6):
            title += f" ({len(rows)} schools)"
        lines = [title, "", _row(labels.values()), "|" + "---|" * len(labels)]
        lines += [_row(_cell(mention, name) for name in labels) for mention in rows]
        if at in short:
            del lines[-2:]
        text = "\n".join(lines)
        if at in truncated:
            text = text[: -draw.between(8, 20)]
        else:
            text += "\n\nBlank cells: the school did not answer.\n"
        yield _page("table", text)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(mention: Mention, column: str) -> str:
    cells = {
        "name": mention.name,
        "grades": mention.school.grades,
        "address": mention.address,
        "tuition": f"${mention.tuition:,}",
        "enrollment": str(mention.enrollment),
    }
    return "" if column in FACTS and column not in mention.facts else cells[column]


def _note_pages(draw: Draw, schools: Sequence[School], mentions: _Mentions) -> Iterator[_Page]:
    for mention, fact in mentions.for_notes(schools):
        yield _page("note", note(draw, mention, fact))


def _pages_without_school(draw: Draw) -> Iterator[_Page]:
    """Pages about something else, and brochures of which no text is left."""
    counties = draw.shuffled(COUNTIES)
    for at, county in enumerate(counties[:_UNRELATED]):
        text = UNRELATED_PAGES[at % len(UNRELATED_PAGES)]
        yield _page("other", text.format(county.name, county.city))
    for county in counties[_UNRELATED : _UNRELATED + _BROCHURES]:
        title = f"Captured brochure of a private school in {county.name} County, Georgia"
        kind, data = _page("brochure", f"{title}\n\n%PDF-1.4\n")
        length = draw.between(700, 1800)
        yield kind, data + bytes(draw.pick(_BROCHURE_BYTES) for _ in range(length))
