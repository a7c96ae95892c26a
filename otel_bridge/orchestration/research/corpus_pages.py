"""
How a school becomes text: the page templates of the generated corpus.

Every fact appears in several shapes (form, table, running text, list) and several spellings, since
that is what the extraction and the resolution of the reference coordinator are there to undo.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from otel_bridge.orchestration.research.corpus_words import (
    CLOSING_SENTENCES,
    FIRST_NAMES,
    LAST_NAMES,
    MONTHS,
    STREET_TYPES,
    County,
)

__all__ = [
    "FACTS",
    "Draw",
    "Mention",
    "School",
    "newsletter",
    "note",
    "open_house",
    "profile",
    "spelled",
]

_T = TypeVar("_T")

FACTS: Final = ("address", "tuition", "enrollment")
"""What a page may state or leave out."""

_SHORT_FORMS: Final = {
    "Academy": "Acad.",
    "Preparatory School": "Prep",
    "Learning Center": "Learning Ctr.",
    "Montessori School": "Montessori",
}


class Draw:
    """
    Draws random numbers from a seed, the same on every version of Python; for one thread.

    Only ``random.Random.random`` is used: the documentation of ``random`` guarantees the sequence
    of that method alone, and all workers of a research task must have the same pages. There is no
    limit on the draws; ``pick`` from nothing raises ``IndexError``.

    Args:
        seed: Any whole number; the same seed gives the same draws in the same order.
    """

    def __init__(self, seed: int) -> None:
        self._next = random.Random(seed).random  # noqa: S311 - invents text, guards nothing

    def between(self, low: int, high: int) -> int:
        """Draw a whole number from ``low`` to ``high``; both may be drawn."""
        return low + int(self._next() * (high - low + 1))

    def chance(self, share: float) -> bool:
        """Draw True in this share of the calls, which is a number from 0 to 1."""
        return self._next() < share

    def pick(self, items: Sequence[_T]) -> _T:
        """Draw one of the items; raises ``IndexError`` if there are none."""
        return items[int(self._next() * len(items))]

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        """Return the items in a drawn order, as a new list."""
        keys = [self._next() for _ in items]
        return [items[at] for at in sorted(range(len(items)), key=keys.__getitem__)]


@dataclass(frozen=True, slots=True)
class School:
    """An invented school: the truth that its pages state in part."""

    name: str
    county: County
    street_number: int
    street: str
    street_type: str
    zip_code: int
    grades: str
    phone: str
    founded: int
    tuition: int
    enrollment: int


@dataclass(frozen=True, slots=True)
class Mention:
    """What one page states about one school: some of its facts, in one spelling."""

    school: School
    name: str
    facts: frozenset[str]
    tuition: int
    enrollment: int
    is_abbreviated: bool
    """Whether the street's type is: ``Rd`` for ``Road``."""

    @property
    def street(self) -> str:
        """Return the street and number as the page writes them: ``799 Chimney Road``."""
        school = self.school
        kind = STREET_TYPES[school.street_type] if self.is_abbreviated else school.street_type
        return f"{school.street_number} {school.street} {kind}"

    @property
    def address(self) -> str:
        """Return the address as the page writes it: ``799 Chimney Road, Monroe, GA 30636``."""
        return f"{self.street}, {self.school.county.city}, GA {self.school.zip_code}"


def spelled(draw: Draw, name: str) -> str:
    """Return a school's name as a page may write it: mostly as it is, or misspelled or varied."""
    if draw.chance(0.05):
        # A letter of the invented part is doubled.
        start = name.index("'") if "'" in name else name.index(" ")
        at = draw.between(start - 5, start - 3)
        return name[:at] + name[at] + name[at:]
    if name.startswith("St. "):
        return "Saint " + name[4:] if draw.chance(0.3) else name
    if draw.chance(0.12):
        return f"The {name}"
    if draw.chance(0.12):
        for long, short in _SHORT_FORMS.items():
            if name.endswith(long):
                return name.removesuffix(long) + short
    return name


def _person(draw: Draw) -> str:
    return f"{draw.pick(FIRST_NAMES)} {draw.pick(LAST_NAMES)}"


# --- profiles: forms with a label for each fact --------------------------------------------------


def profile(draw: Draw, mention: Mention) -> str:
    """Return the text of a page on one school, in the form of one of five directories."""
    lines = draw.pick(_PROFILES)(draw, mention)
    if draw.chance(0.25):
        lines += ["", draw.pick(CLOSING_SENTENCES)]
    return "".join(f"{line}\n" for line in lines)


def _given(mention: Mention, *pairs: tuple[str, str]) -> list[str]:
    """The lines whose fact the mention states; a line without a fact ("") is always there."""
    return [line for fact, line in pairs if not fact or fact in mention.facts]


def _record(draw: Draw, mention: Mention) -> list[str]:
    school = mention.school
    return [
        f"PRIVATE SCHOOL RECORD / {school.county.name.upper()} / GEORGIA",
        "",
        *_given(
            mention,
            ("", f"  School ........ : {mention.name}"),
            ("", f"  County ........ : {school.county.name} County"),
            ("address", f"  Location ...... : {mention.address}"),
            ("tuition", f"  Yearly cost ... : {mention.tuition} USD"),
            ("enrollment", f"  Pupils ........ : {mention.enrollment}"),
            ("", f"  Founded ....... : {school.founded}"),
        ),
    ]


def _guide(draw: Draw, mention: Mention) -> list[str]:
    school = mention.school
    lines = [
        f"{school.county.name} County Family Guide: private schools",
        f"(a guide for families in {school.county.city}, Georgia)",
        "",
        *_given(
            mention,
            ("", f"School name: {mention.name}"),
            ("address", f"Street address: {mention.address}"),
            ("enrollment", f"Number of students: {mention.enrollment}"),
            ("", f"Grade levels: {school.grades}"),
            ("tuition", f"Annual tuition: ${mention.tuition:,}"),
            ("", f"Telephone: {school.phone}"),
        ),
    ]
    # A label whose value is no value must not become one.
    evasive = {"address": "Address: not given", "enrollment": "Enrollment: n/a"}
    return lines + [line for fact, line in evasive.items() if fact not in mention.facts]


def _markdown(draw: Draw, mention: Mention) -> list[str]:
    school = mention.school
    return [
        f"# {mention.name}",
        "",
        f"*Private school, {school.county.name} County, Georgia*",
        "",
        *_given(
            mention,
            ("address", f"- **Address:** {mention.address}"),
            ("", f"- **Grades:** {school.grades}"),
            ("enrollment", f"- **Enrollment:** about {mention.enrollment}"),
            ("tuition", f"- **Tuition:** ${mention.tuition:,}/yr"),
            ("", f"- **Phone:** {school.phone}"),
        ),
    ]


def _register(draw: Draw, mention: Mention) -> list[str]:
    lines = [
        "Regional register of private schools, Georgia",
        f"Entry for {mention.school.county.name} County",
        "",
        *_given(
            mention,
            ("", f"Institution: {mention.name}"),
            ("tuition", f"Tuition (annual): ${mention.tuition:,}.00"),
            ("address", f"Mailing address: {mention.address}"),
            ("enrollment", f"Total enrollment: {mention.enrollment}"),
            ("", f"Head of school: {_person(draw)}"),
        ),
    ]
    return lines if "tuition" in mention.facts else [*lines, "Tuition: on request"]


def _directory(draw: Draw, mention: Mention) -> list[str]:
    school = mention.school
    return [
        "Georgia Independent Education Directory",
        f"Listing {draw.between(1000, 9999)}",
        "",
        *_given(
            mention,
            ("", f"Name: {mention.name}"),
            ("", f"County: {school.county.name} County, Georgia"),
            ("address", f"Address: {mention.address}"),
            ("", f"Grades: {school.grades}"),
            ("tuition", f"Tuition: ${mention.tuition:,} per year"),
            ("enrollment", f"Enrollment: {mention.enrollment} students"),
            ("", "Type: private, nonprofit"),
        ),
    ]


_PROFILES: Final[Sequence[Callable[[Draw, Mention], list[str]]]] = (
    _record,
    _guide,
    _markdown,
    _register,
    _directory,
)


# --- running text --------------------------------------------------------------------------------


def newsletter(draw: Draw, mention: Mention) -> str:
    """Return the text of a page on one school, as running text."""
    school, county = mention.school, mention.school.county
    month, person = draw.pick(MONTHS), _person(draw)
    title = draw.pick(
        [
            f"News from private schools in {county.name} County, Georgia",
            f"{county.name} County Parents' Letter - {month}",
            f"Around the private schools of {county.city}, Georgia",
            f"The {county.city} Lantern, {month} issue",
        ]
    )
    place = f"at the edge of {county.city}"
    if "address" in mention.facts:
        place = f"at {mention.street} in {county.city}"
    pupils = draw.pick(["pupils", "students", "children"])
    crowd = f"{mention.enrollment} {pupils}" if "enrollment" in mention.facts else "a full house"
    fees = "Fees were not announced."
    if "tuition" in mention.facts:
        money = f"${mention.tuition:,}"
        fees = draw.pick(
            [
                f"Tuition for the year is {money}.",
                f"A year of tuition costs {money}.",
                f"Families pay {money} a year.",
            ]
        )
    body = draw.pick(
        [
            f"Word from {mention.name}: the private school {place} has {crowd} on its rolls, up a "
            f"little from last year. {fees}\n\nThe debating club lost in the second round and came "
            f"home cheerful. {county.name} County, Georgia, may yet hear of it.",
            f"A visitor to {mention.name} finds it easily, {place}, in {county.name} County, "
            f"Georgia. The private school teaches grades {school.grades} to {crowd}.\n\n{fees} "
            f'"The garden is the pupils\' own work," said {person}, who teaches Latin.',
            f"{mention.name}, which stands {place} ({county.name} County), opened this {month} "
            f'to {crowd}. "We did not expect the rain," said {person}, who runs the front '
            f"desk.\n\n{fees} The bake sale raised $412 for new bookshelves.",
            f"This term {mention.name} welcomed {crowd} to its building {place}. It is one of the "
            f"private schools in {county.name} County, Georgia, and was founded in "
            f"{school.founded}.\n\n{fees} The application fee of $75 is waived before the first of "
            "the month.",
        ]
    )
    return f"{title}\n\n{body}\n"


def open_house(draw: Draw, mention: Mention) -> str:
    """Return the text of a school's invitation: some labelled lines, some running text."""
    lines = [
        "OPEN HOUSE",
        mention.name,
        f"a private school in {mention.school.county.name} County, Georgia",
        "",
        f"When: Saturday at {draw.between(9, 11)} in the morning",
        *_given(mention, ("address", f"Where: {mention.address}")),
        "",
    ]
    tuition = draw.pick(
        [
            "Tuition for the coming year is ${:,}.",
            "Next year's tuition: ${:,}, payable in ten parts.",
        ]
    )
    enrollment = draw.pick(
        ["We enroll about {} students and keep classes small.", "Come and meet our {} pupils."]
    )
    closing = draw.pick(
        [
            "Coffee and cake in the hall.",
            "Please park on the field.",
            "A tour leaves every half hour.",
            "Children are welcome; dogs are not.",
        ]
    )
    sentences = _given(
        mention,
        ("tuition", tuition.format(mention.tuition)),
        ("enrollment", enrollment.format(mention.enrollment)),
        ("", closing),
    )
    call = f"Call {mention.school.phone} to say that you are coming."
    return "".join(f"{line}\n" for line in [*lines, " ".join(sentences), call])


def note(draw: Draw, mention: Mention, fact: str) -> str:
    """Return a short text with one fact of a school and no county, so no unit's search finds it."""
    name = mention.name
    texts = {
        "address": [
            f"Deliveries\n\nFor {name}, use the side gate: {mention.address}.",
            f"Concert tonight\n\nThe choir of {name} sings at home, {mention.address}. It begins "
            "at six.",
        ],
        "tuition": [
            f"Fee schedule\n\n{name}\nTuition: ${mention.tuition:,} for the year, books not "
            "included.",
            f"Letters to the editor\n\nSir, I read that {name} is dear. Tuition is "
            f"${mention.tuition:,} a year, which is less than we feared. - {_person(draw)}",
        ],
        "enrollment": [
            f"Sports desk\n\n{name} fields a team again. With {mention.enrollment} students to "
            f"choose from, coach {_person(draw)} is hopeful.",
            f"Head count, first week of term\n\n{name}: {mention.enrollment} students.",
        ],
    }
    return draw.pick(texts[fact]) + "\n"
