"""
Words and patterns for the extraction: labels of attributes, and what their values look like.

Data, with no logic but the normalisation of a value. An attribute that is not listed here is still
found where a page has its own name as the label.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

__all__ = [
    "ATTRIBUTES",
    "NAME_LABELS",
    "UNIT_LABELS",
    "Attribute",
    "attribute_named",
    "entity_words",
    "search_words",
]


class Attribute(NamedTuple):
    """How to recognise one attribute of an entity in a text; from ``attribute_named``."""

    labels: tuple[str, ...]
    """Its names in forms and table headers, in lower case."""
    prose: re.Pattern[str] | None
    """Finds it in running text, as the group ``value``; None if it is found by its labels only."""
    normalise: Callable[[str], str | None]
    """Returns a value as it is stored; None if the text is not a value, e.g. ``n/a``."""


_EMPTY: Final = re.compile(r"^(?:n/?a|none|unknown|-+|not given|on request|tba|tbd|\?+)$", re.I)


def _text(value: str) -> str | None:
    value = " ".join(value.split()).strip(" .;|*")
    return None if not value or _EMPTY.match(value) else value


def _whole_number(value: str) -> str | None:
    found = re.search(r"\d[\d,]*", value)
    return found.group().replace(",", "") if found else None


def _money(value: str) -> str | None:
    found = re.search(r"\d[\d,]*(?:\.\d+)?", value)
    if found is None:
        return None
    amount = float(found.group().replace(",", ""))
    return f"{amount:.0f}" if amount == int(amount) else f"{amount:.2f}"


STREET_TYPES: Final[Mapping[str, str]] = {
    "st": "Street",
    "ln": "Lane",
    "rd": "Road",
    "ave": "Avenue",
    "dr": "Drive",
    "ct": "Court",
    "blvd": "Boulevard",
    "pl": "Place",
    "cir": "Circle",
    "hwy": "Highway",
}
_STREET: Final = (
    r"(?:Street|St|Lane|Ln|Road|Rd|Avenue|Ave|Drive|Dr|Way|Court|Ct|Boulevard|Blvd|Place|Pl"
    r"|Circle|Cir|Highway|Hwy|Trail|Pike|Row|Square)\b\.?"
)
_CITY: Final = r"(?:St\. )?[A-Z][A-Za-z]+(?: [A-Z][a-z]+)?"


def _address(value: str) -> str | None:
    cleaned = _text(value)
    if cleaned is None or not re.search(r"\d", cleaned):
        return None

    def spelled_out(found: re.Match[str]) -> str:
        return STREET_TYPES.get(found.group(1).lower(), found.group(1))

    street, comma, rest = cleaned.partition(",")
    street = re.sub(r"\b([A-Za-z]+)\.?$", spelled_out, street.strip())
    return f"{street}{comma} {rest.strip()}".strip() if comma else street


ATTRIBUTES: Final[Mapping[str, Attribute]] = {
    "address": Attribute(
        ("address", "street address", "mailing address", "location", "where"),
        re.compile(
            rf"(?P<value>\b\d{{1,5}} (?:[A-Z][a-z]+ ){{1,3}}{_STREET}"
            rf"(?:,? (?:in )?{_CITY}(?:, [A-Z]{{2}}(?: \d{{5}})?)?)?)"
        ),
        lambda value: _address(re.sub(r" in (?=[A-Z])", ", ", value)),
    ),
    "tuition": Attribute(
        ("tuition", "annual tuition", "tuition (annual)", "yearly cost", "fees", "cost"),
        re.compile(
            r"(?:tuition|families pay|a year costs?)[^$.\n]{0,40}"
            r"(?P<value>\$ ?\d[\d,]*(?:\.\d\d)?)",
            re.IGNORECASE,
        ),
        _money,
    ),
    "enrollment": Attribute(
        (
            "enrollment",
            "enrolment",
            "total enrollment",
            "students",
            "number of students",
            "pupils",
            "number of pupils",
        ),
        re.compile(r"\b(?P<value>\d[\d,]*) (?:students|pupils|children|learners)\b"),
        _whole_number,
    ),
    "grades": Attribute(
        ("grades", "grade levels"),
        re.compile(r"\bgrades (?P<value>(?:PK|K|\d{1,2})-\d{1,2})\b"),
        _text,
    ),
    "phone": Attribute(
        ("phone", "telephone"), re.compile(r"(?P<value>\(\d{3}\) \d{3}-\d{4})"), _text
    ),
    "founded": Attribute(
        ("founded", "established"),
        re.compile(r"\b(?:founded|established) in (?P<value>\d{4})\b"),
        _whole_number,
    ),
}

NAME_LABELS: Final = frozenset({"name", "school", "school name", "institution", "entity", "title"})
UNIT_LABELS: Final = frozenset({"county"})

_ENTITY_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "school": (
        "School",
        "Academy",
        "Acad",
        "Prep",
        "Preparatory",
        "Montessori",
        "Lyceum",
        "Institute",
        "Learning Center",
        "Learning Ctr",
    ),
}


def _singular(noun: str) -> str:
    if noun.endswith("ies"):
        return noun[:-3] + "y"
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun


def entity_words(entity: str) -> tuple[str, ...]:
    """
    Return words that names of such entities end with, e.g. ``School`` and ``Academy``.

    A pure function; one to ten words.

    Args:
        entity: A kind of entity, such as ``private schools``; its last word decides. An unknown one
            is its own ending, in the singular.

    Raises:
        IndexError: The text has no word.
    """
    noun = _singular(entity.split()[-1].lower())
    return _ENTITY_WORDS.get(noun, (noun.capitalize(),))


def search_words(entity: str) -> tuple[str, ...]:
    """Return terms, any of which a page about a kind of entity (``private schools``) contains."""
    return (entity, *(word for word in entity_words(entity) if " " not in word))


def attribute_named(name: str) -> Attribute:
    """Return the listed attribute of a name in any case, else one whose only label is the name."""
    known = ATTRIBUTES.get(name.lower())
    return known or Attribute((name.lower(),), None, _text)
