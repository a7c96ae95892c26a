"""
``PageExtraction``: extracts entities and their attributes from a page of text.

It reads three forms: tables, labelled lines and running text. The first attempt is strict and
raises on a page whose structure is damaged (undecodable bytes, rows of unequal length, a label
without its value), because half of a page without a warning is worse than a retry. The lenient
second attempt repairs what it can; it fails the job for good if nothing readable is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from otel_bridge.orchestration.queue.errors import PageBrokenError, PermanentJobError
from otel_bridge.orchestration.research.documents import Record
from otel_bridge.orchestration.research.vocabulary import (
    NAME_LABELS,
    UNIT_LABELS,
    Attribute,
    attribute_named,
    entity_words,
)

__all__ = ["PageExtraction"]

_LABELLED: Final = re.compile(
    r"^[\s>*#-]*(?P<label>[A-Za-z][A-Za-z ()]{1,40}?)[ .*]*:[ *]*(?P<value>.*?)\s*$"
)
_UNIT: Final = re.compile(r"\b([A-Z][A-Za-z]+(?: [A-Z][A-Za-z]+)?) County\b")
_DECLARED: Final = re.compile(r"\((\d{1,4}) (?:schools|entries|rows|records)\)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Words that may stand before a name in a sentence and do not belong to it.
_NOT_FIRST: Final = frozenset(
    [
        "A",
        "An",
        "And",
        "At",
        "By",
        "For",
        "From",
        "In",
        "Of",
        "On",
        "Or",
        "Our",
        "To",
        "With",
        "Word",
        "This",
        "When",
        "Visit",
        "Join",
        "Families",
        "Listing",
        "Entry",
        "Table",
    ]
)
# Words that no private school's name contains.
_NEVER: Final = frozenset(
    [
        "Public",
        "Private",
        "County",
        "High",
        "Middle",
        "Elementary",
        "Sunday",
        "District",
        "Board",
        "Open",
        "Independent",
        "Regional",
        "Notes",
        "Education",
        "Every",
        "Any",
    ]
)
_MAX_BINARY_SHARE: Final = 0.05


class PageExtraction:
    """
    Extracts entities from pages of plain text by their structure: tables, labelled lines, prose.

    The default ``ExtractionProvider``; stateless, so one serves all workers of an event loop.
    ``extract`` does not wait for anything: it raises ``PageBrokenError`` for a damaged page, and
    ``PermanentJobError`` if it is lenient and nothing of that page can be read. It limits no size;
    ``load_corpus`` truncates pages to 256 KiB.
    """

    async def extract(
        self,
        page_id: str,
        data: bytes,
        *,
        entities: Sequence[str],
        attributes: Sequence[str],
        is_lenient: bool,
    ) -> Sequence[Record]:
        """
        Extract one record for each entity on a page; none from a page about something else.

        A record has the entity's name, unit (its part of the search space), values by attribute and
        page id.
        A page is damaged if it has bytes that are no UTF-8 or control characters, a label without
        its value, or a table whose rows are incomplete or not as many as announced.

        Args:
            page_id: Copied into the records.
            data: The page, as UTF-8 text; its size is not limited.
            entities: Kinds of entities, e.g. ``["private schools"]``.
            attributes: What to look for, e.g. ``["address", "tuition"]``.
            is_lenient: Repair a damaged page instead of raising ``PageBrokenError``.

        Raises:
            PageBrokenError: The page is damaged and ``is_lenient`` is False.
            PermanentJobError: ``is_lenient`` is True, and nothing of a damaged page can be read or
                over 5 % of it are control characters.
            IndexError: A kind of entity is empty.
        """
        reader = _PageReader(page_id, entities, attributes, is_lenient=is_lenient)
        return reader.read(data)


class _PageReader:
    """Extracts one page."""

    def __init__(
        self, page_id: str, entities: Sequence[str], attributes: Sequence[str], *, is_lenient: bool
    ) -> None:
        self._page_id = page_id
        self._is_lenient = is_lenient
        self._is_broken = False
        self._attributes = {name: attribute_named(name) for name in attributes}
        endings = "|".join(re.escape(word) for entity in entities for word in entity_words(entity))
        word = r"[A-Z][\w'\u2019]+"
        self._name = re.compile(
            rf"(?:\b(?:The|St\.|Saint) )*(?:{word} )+?(?:{endings})\b(?: (?:{endings})\b)*\.?"
        )

    def read(self, data: bytes) -> list[Record]:
        """
        Return one record for each entity on the page.

        Raises:
            PageBrokenError: The page is damaged and the attempt is strict.
            PermanentJobError: The attempt is lenient and nothing of a damaged page is readable.
        """
        text = self._decode(data)
        unit = self._unit(text)
        records = [*self._tables(text, unit), *self._labelled(text, unit)]
        if not records:
            records = self._prose(text, unit)
        if self._is_broken and not records:
            raise PermanentJobError(f"{self._page_id}: damaged, and nothing of it is readable")
        return records

    def _broken(self, problem: str) -> None:
        if not self._is_lenient:
            raise PageBrokenError(self._page_id, problem)
        self._is_broken = True

    def _decode(self, data: bytes) -> str:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            self._broken(f"byte {data[error.start]:#04x} at {error.start} is not UTF-8")
            # Most text that is not UTF-8 is Windows-1252; its five undefined bytes become U+FFFD.
            text = data.decode("cp1252", "replace")
        control = len(_CONTROL.findall(text))
        if control:
            self._broken(f"{control} control characters: not a text file, or truncated")
            if control > len(text) * _MAX_BINARY_SHARE:
                raise PermanentJobError(f"{self._page_id}: binary, {control} control characters")
            text = _CONTROL.sub("", text)
        return text

    def _unit(self, text: str) -> str | None:
        """The county that the page names most often; None if it names none."""
        counts: dict[str, int] = {}
        for words in _UNIT.findall(text):
            name = words.split()
            while name and name[0] in _NOT_FIRST | {"The"}:
                name = name[1:]
            if name:
                counts[" ".join(name)] = counts.get(" ".join(name), 0) + 1
        if not counts:
            return None
        return max(counts, key=lambda name: (counts[name], name)) + " County"

    def _tables(self, text: str, unit: str | None) -> list[Record]:
        rows: list[list[str]] = []
        for line in text.splitlines():
            if line.startswith("|"):
                rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
                if not line.rstrip().endswith("|"):
                    self._broken("a table row ends in the middle")
                    rows.pop()
        if len(rows) < 2:
            return []
        header = [cell.lower() for cell in rows[0]]
        body = [row for row in rows[1:] if not set("".join(row)) <= set("-: ")]
        name_at = next((at for at, cell in enumerate(header) if cell in NAME_LABELS), None)
        if name_at is None:
            return []
        declared = _DECLARED.search(text)
        if declared and int(declared.group(1)) != len(body):
            self._broken(f"{declared.group(1)} rows announced, {len(body)} found")
        records = []
        for row in body:
            if len(row) != len(header):
                self._broken(f"a row of {len(row)} cells under a header of {len(header)}")
                continue
            values = self._values(zip(header, row, strict=True))
            if row[name_at]:
                records.append(Record(row[name_at], unit, values, self._page_id))
        return records

    def _values(self, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
        values: dict[str, str] = {}
        for label, raw in pairs:
            for name, attribute in self._attributes.items():
                if label in attribute.labels:
                    value = attribute.normalise(raw)
                    if value is not None:
                        values.setdefault(name, value)
        return values

    def _labelled(self, text: str, unit: str | None) -> list[Record]:
        """Read lines of ``Label: value``; a label for an entity's name starts a new record."""
        found: list[tuple[str, str | None, list[tuple[str, str]]]] = []
        known = {label for attribute in self._attributes.values() for label in attribute.labels}
        for line in text.splitlines():
            match = _LABELLED.match(line)
            if match is None:
                continue
            label, value = match["label"].strip().lower(), match["value"].strip()
            if label in known and not value:
                self._broken(f"{label!r} has no value: the page is truncated")
            elif label in NAME_LABELS:
                found.append((value, unit, []))
            elif found and label in UNIT_LABELS:
                found[-1] = (found[-1][0], _first_unit(value) or unit, found[-1][2])
            elif found:
                found[-1][2].append((label, value))
        return [
            Record(name, where, self._values(pairs), self._page_id)
            for name, where, pairs in found
            if name
        ]

    def _prose(self, text: str, unit: str | None) -> list[Record]:
        """Find names in running text; a value belongs to the name that precedes it."""
        mentions = [
            (match.start(), name)
            for match in self._name.finditer(text)
            if (name := _clean_name(match.group())) is not None
        ]
        if not mentions:
            return []
        values: dict[str, dict[str, str]] = {name: {} for _, name in mentions}
        for attribute_name, attribute in self._attributes.items():
            for position, value in self._in_prose(text, attribute):
                before = [name for start, name in mentions if start <= position]
                owner = before[-1] if before else mentions[0][1]
                values[owner].setdefault(attribute_name, value)
        return [Record(name, unit, found, self._page_id) for name, found in values.items()]

    def _in_prose(self, text: str, attribute: Attribute) -> Iterable[tuple[int, str]]:
        for line_match in re.finditer(r"[^\n]+", text):
            labelled = _LABELLED.match(line_match.group())
            if labelled and labelled["label"].strip().lower() in attribute.labels:
                value = attribute.normalise(labelled["value"])
                if value is not None:
                    yield line_match.start(), value
        if attribute.prose is not None:
            for match in attribute.prose.finditer(text):
                value = attribute.normalise(match["value"])
                if value is not None:
                    yield match.start(), value


def _first_unit(value: str) -> str | None:
    match = _UNIT.search(value)
    return f"{match.group(1)} County" if match else None


def _clean_name(raw: str) -> str | None:
    """Remove words of the sentence that precede a name; None if no proper name is left."""
    words = raw.rstrip(".").split()
    if raw.endswith("Acad.") or raw.endswith("Ctr."):
        words[-1] += "."
    while words and words[0] in _NOT_FIRST:
        words = words[1:]
    if len(words) < 2 or _NEVER.intersection(words):
        return None
    if words[0] == "The" and len(words) == 2:
        return None
    return " ".join(words)
