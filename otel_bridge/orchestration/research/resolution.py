"""
Decides which records describe the same entity, and which of their values hold: pure functions.

Spellings of a name vary (``St.``/``Saint``, ``Acad.``/``Academy``, a doubled letter). So records of
one unit are joined if their normalised names are equal or nearly equal; records of two units are
never joined. The result does not depend on the order of the records (property-tested).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Final

from otel_bridge.orchestration.research.documents import Record

__all__ = ["Entity", "is_same_core", "name_core", "resolve"]

_SPELLED_OUT: Final = {
    "acad": "academy",
    "prep": "preparatory",
    "saint": "st",
    "ctr": "center",
    "centre": "center",
    "sch": "school",
    "mont": "montessori",
    "and": "",
    "the": "",
    "of": "",
    "inc": "",
}
# Words that many names share. Only the other words of a name distinguish two entities.
_GENERIC: Final = frozenset(
    [
        "academy",
        "school",
        "preparatory",
        "day",
        "christian",
        "episcopal",
        "classical",
        "montessori",
        "learning",
        "center",
        "institute",
        "lyceum",
    ]
)
_MIN_SIMILARITY: Final = 0.93
"""
Ratio of ``SequenceMatcher`` from which two names are one.

One doubled letter in a name of nine gives 0.95; two different invented names give less than this.
"""


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity with all that its records state; made by ``resolve``, and immutable."""

    name: str
    unit: str | None
    values: dict[str, str]
    """By attribute, the value that most pages state; of equally frequent ones the lowest."""
    sources: tuple[str, ...]
    """Ids of its pages."""
    aliases: tuple[str, ...] = ()
    """Other spellings of its name."""
    conflicts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By attribute, the other values, where pages contradict each other."""


def _words(name: str) -> list[str]:
    plain = re.sub(r"['\u2019]s\b|[^\w\s]", "", name.casefold())
    return [word for word in (_SPELLED_OUT.get(word, word) for word in plain.split()) if word]


def name_core(name: str) -> str:
    """Normalise a name and remove the words that many names share, e.g. to ``st tansyholt``."""
    words = _words(name)
    return " ".join(word for word in words if word not in _GENERIC) or " ".join(words)


def is_same_core(one: str, other: str) -> bool:
    """Return whether two results of ``name_core`` are the same name, up to spelling; symmetric."""
    if one == other:
        return True
    if abs(len(one) - len(other)) > 2:
        return False
    return SequenceMatcher(None, min(one, other), max(one, other)).ratio() >= _MIN_SIMILARITY


def _clusters(cores: Iterable[str]) -> dict[str, str]:
    """Map each core to a representative; similar cores share one, also through other cores."""
    ordered = sorted(set(cores))
    parent = {core: core for core in ordered}

    def root(core: str) -> str:
        while parent[core] != core:
            core = parent[core]
        return core

    for at, one in enumerate(ordered):
        for other in ordered[at + 1 :]:
            if is_same_core(one, other):
                low, high = sorted((root(one), root(other)))
                parent[high] = low
    return {core: root(core) for core in ordered}


def _value_key(value: str) -> str:
    return re.sub(r"\W+", " ", value.casefold()).strip()


def _vote(values: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the most frequent value in its longest form, and the values that contradict it."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for value in values:
        by_key[_value_key(value)].append(value)
    # "412 Larkspur Lane, Macon" does not contradict "412 Larkspur Lane, Macon, GA 31201".
    for short in sorted(by_key, key=lambda key: (len(key), key)):
        longer = [key for key in by_key if key != short and key.startswith(short + " ")]
        if longer:
            by_key[min(longer)].extend(by_key.pop(short))
    winner = min(by_key, key=lambda key: (-len(by_key[key]), key))
    others = (max(by_key[key], key=lambda text: (len(text), text)) for key in by_key)
    shown = max(by_key[winner], key=lambda text: (len(text), text))
    return shown, tuple(sorted(value for value in others if value != shown))


def _entity(records: Sequence[Record], unit: str | None) -> Entity:
    names = Counter(record.name for record in records)
    name = min(names, key=lambda text: (-names[text], -len(text), text))
    votes: dict[str, list[str]] = defaultdict(list)
    for record in records:
        for attribute, value in record.values.items():
            votes[attribute].append(value)
    values, conflicts = {}, {}
    for attribute in sorted(votes):
        values[attribute], others = _vote(votes[attribute])
        if others:
            conflicts[attribute] = others
    return Entity(
        name=name,
        unit=unit,
        values=values,
        sources=tuple(sorted({record.page_id for record in records})),
        aliases=tuple(sorted(set(names) - {name})),
        conflicts=conflicts,
    )


def resolve(records: Iterable[Record]) -> list[Entity]:
    """
    Join the records of each entity; return the entities ordered by unit and name.

    A record is what one page states about an entity; its unit is a part of the search space. An
    entity has a name, unit, values by attribute, sources (page ids), aliases and conflicts.
    A record without a unit joins the entity of its name if exactly one unit has such an entity.
    Otherwise it becomes an entity without a unit. The order of the records does not matter. It is a
    pure function that never raises. Its time grows with the square of the names in a unit, without
    a limit, so call it in a thread.
    """
    by_unit: dict[str | None, list[Record]] = defaultdict(list)
    for record in records:
        by_unit[record.unit].append(record)
    without_unit = by_unit.pop(None, [])

    groups: dict[tuple[str | None, str], list[Record]] = defaultdict(list)
    cores_of: dict[tuple[str | None, str], set[str]] = defaultdict(set)
    for unit, members in by_unit.items():
        representative = _clusters(name_core(record.name) for record in members)
        for record in members:
            core = name_core(record.name)
            groups[unit, representative[core]].append(record)
            cores_of[unit, representative[core]].add(core)

    representative = _clusters(name_core(record.name) for record in without_unit)
    for record in without_unit:
        core = name_core(record.name)
        matches = [
            key
            for key, cores in cores_of.items()
            if key[0] is not None and any(is_same_core(core, known) for known in cores)
        ]
        groups[matches[0] if len(matches) == 1 else (None, representative[core])].append(record)

    entities = [_entity(members, key[0]) for key, members in groups.items()]
    return sorted(entities, key=lambda entity: (entity.unit or "\uffff", entity.name))
