"""
Where the pages come from: a directory of text files or the generated corpus, and a full-text index.

``SearchProvider`` and ``ExtractionProvider`` are the interfaces that a team implements with its own
services (a web search, a language model). ``CorpusSearch`` is the reference implementation: SQLite
FTS5, in memory, built in about 20 ms for the generated pages. It indexes whatever text it can
decode of each page, so that a search finds damaged pages too; extraction then repairs or refuses
them.
"""

from __future__ import annotations

import re
import sqlite3
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from otel_bridge.errors import ConfigurationError
from otel_bridge.orchestration.research.corpus import generate_corpus

__all__ = [
    "CorpusSearch",
    "ExtractionProvider",
    "Hit",
    "Record",
    "SearchProvider",
    "load_corpus",
]

MAX_PAGE_BYTES: Final = 256 * 1024
_SUFFIXES: Final = (".txt", ".md")
_UNIT: Final = re.compile(r"\b([A-Z][A-Za-z]+(?:[ ][A-Z][A-Za-z]+)?)[ ]County\b")
# Words of a sentence that may stand before the name of a county.
_LEADING: Final = frozenset(
    [
        "A",
        "An",
        "And",
        "At",
        "For",
        "From",
        "In",
        "Of",
        "On",
        "Or",
        "Our",
        "The",
        "To",
        "Visit",
        "Near",
        "Around",
        "Across",
        "With",
        "Entry",
    ]
)
# Words that show that a match of ``_UNIT`` is no name of a county.
_LABELS: Final = frozenset({"County", "Type", "Region", "Every", "This", "Each", "Any"})


class Hit(NamedTuple):
    """One page that ``SearchProvider.search`` found, and how well it matches."""

    page_id: str
    score: float
    """Higher is better; comparable within one search only."""


class Record(NamedTuple):
    """What one page states about one entity; made by an ``ExtractionProvider``."""

    name: str
    unit: str | None
    """Its part of the search space, e.g. ``Bibb County``; None when the page names none."""
    values: dict[str, str]
    """By attribute, named as in the request; one that the page does not state is absent."""
    page_id: str


class SearchProvider(Protocol):
    """
    Finds pages and returns their bytes, for the functions that run the jobs.

    ``units`` divides a search space, ``search`` finds pages and ``read`` returns one.
    ``CorpusSearch`` is such a provider. Its methods are called at the same time by several workers
    of one event loop. What they raise fails the job's attempt, which is retried (twice by default);
    a ``PermanentJobError`` is not. A call, with the rest of its job, may take 300 s by default.
    """

    async def units(self, search_space: str) -> Sequence[str]:
        """
        Divide a search space into units, at least one; each is searched by a job of its own.

        What it raises fails the attempt, which is retried; no unit at all fails the research task.
        The number of units is not limited.

        Args:
            search_space: Where to look, as in the request: ``in Georgia``.
        """

    async def search(
        self, terms: Sequence[str], *, phrase: str | None = None, limit: int = 25
    ) -> Sequence[Hit]:
        """
        Find pages that contain the phrase and at least one of the terms; best first.

        Each result has a page id and a score. What it raises fails the attempt, which is retried.

        Args:
            terms: Words or phrases; one of them is enough.
            phrase: Must be on the page; None: not required.
            limit: At most this many pages are returned; default 25. The handlers give 1 to 1,000.
        """

    async def read(self, page_id: str) -> bytes:
        """
        Return the bytes of a page; their number is not limited.

        Raises:
            KeyError: There is no page with this id; the job then fails at once. Other errors fail
                the attempt, which is retried.
        """


class ExtractionProvider(Protocol):
    """Extracts entities from a page, for the handlers; ``PageExtraction`` is one."""

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
        Extract one record for each entity on the page; none from a page about something else.

        A record has the entity's name, unit (its part of the search space), values by attribute and
        page id.
        Neither the size of the page nor the number of records is limited; the job has 300 s by
        default.

        Args:
            page_id: Copied into the records.
            data: The page as it is stored.
            entities: Kinds of entities, e.g. ``["private schools"]``.
            attributes: What to look for, e.g. ``["address", "tuition"]``.
            is_lenient: Repair a damaged page instead of raising; True from the second attempt on.

        Raises:
            Exception: The page is damaged; the job is retried, leniently.
            PermanentJobError: Nothing can be read from the page; the job fails at once.
        """


def load_corpus(directory: Path | None) -> dict[str, bytes]:
    """
    Return the pages of a directory, or of the generated corpus, by page id.

    Reads all files into memory, without a limit on their number; blocks.

    Args:
        directory: Its ``.txt`` and ``.md`` files are the pages, without those of subdirectories;
            the file name is the page id, and a file over 256 KiB is truncated there. None: 280
            generated pages, the same in every process.

    Raises:
        ConfigurationError: The directory does not exist, cannot be read or has no such file.
    """
    if directory is None:
        return generate_corpus()
    if not directory.is_dir():
        raise ConfigurationError(
            f"corpus directory {str(directory)!r} does not exist",
            "give --corpus a directory of .txt or .md files, or leave it out",
        )
    try:
        pages = {
            entry.name: entry.read_bytes()[:MAX_PAGE_BYTES]
            for entry in sorted(directory.iterdir(), key=lambda entry: entry.name)
            if entry.name.endswith(_SUFFIXES) and entry.is_file()
        }
    except OSError as error:
        raise ConfigurationError(
            f"corpus directory {str(directory)!r} cannot be read: {error.strerror}",
            "check its permissions",
        ) from None
    if not pages:
        raise ConfigurationError(
            f"corpus directory {str(directory)!r} holds no .txt or .md file",
            "give --corpus a directory of text files",
        )
    return pages


def _quoted(words: str) -> str:
    """Quote words as an FTS5 string: operators in it are text. A NUL would end the query."""
    return '"' + words.replace("\0", " ").replace('"', '""') + '"'


class CorpusSearch:
    """
    ``SearchProvider`` over pages in memory.

    Suits up to tens of thousands of short pages; more are not refused. Use it from one event loop;
    a search of the 280 generated pages takes well under a millisecond. Bytes that are no UTF-8 are
    replaced, so damaged pages are found too. ``read`` of an unknown page raises ``KeyError``.

    Args:
        pages: Bytes by page id, as ``load_corpus`` returns them.
    """

    def __init__(self, pages: dict[str, bytes]) -> None:
        self._pages = pages
        # The index may be built in one thread and read in another; SQLite's Python module forbids
        # that by default.
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        # Python 3.13 warns of a connection that only the garbage collector closes.
        weakref.finalize(self, self._index.close)
        self._index.execute(
            "CREATE VIRTUAL TABLE page USING fts5(id UNINDEXED, body, tokenize='porter unicode61')"
        )
        self._index.executemany(
            "INSERT INTO page (id, body) VALUES (?, ?)",
            (
                (page_id, data.decode("utf-8", "replace").replace("\0", " "))
                for page_id, data in pages.items()
            ),
        )
        self._index.commit()

    def __len__(self) -> int:
        return len(self._pages)

    async def units(self, search_space: str) -> Sequence[str]:
        """
        Return the counties that pages about the search space mention, in alphabetical order.

        Without any county the search space itself is the only unit, so a bad one raises nothing.
        Reads all pages that match, on the event loop.
        """
        place = re.sub(r"^(?:in|within|across|of|from)\s+", "", search_space, flags=re.IGNORECASE)
        rows = self._match(_quoted(place), limit=len(self._pages))
        found: Counter[str] = Counter()
        for (page_id,) in rows:
            text = self._pages[page_id].decode("utf-8", "replace")
            for words in _UNIT.findall(text):
                name = words.split()
                while name and name[0] in _LEADING:
                    name = name[1:]
                if name and not _LABELS.intersection(name):
                    found[" ".join(name) + " County"] += 1
        return sorted(found) or [place]

    async def search(
        self, terms: Sequence[str], *, phrase: str | None = None, limit: int = 25
    ) -> Sequence[Hit]:
        """
        Find the pages that contain the phrase and at least one of the terms; best first.

        Does not wait for anything: the index is in memory. Words match in any case and inflection;
        every sign is text, so no query is invalid.

        Args:
            terms: Words or phrases; none: the phrase alone decides.
            phrase: Must be on the page; None: not required. Without both, nothing is found.
            limit: At most this many pages are returned; default 25.
        """
        query = " OR ".join(_quoted(term) for term in terms)
        if phrase is not None:
            query = f"{_quoted(phrase)} AND ({query})" if terms else _quoted(phrase)
        if not query:
            return []
        rows = self._index.execute(
            "SELECT id, -bm25(page) FROM page WHERE page MATCH ? ORDER BY bm25(page), id LIMIT ?",
            (query, limit),
        )
        return [Hit(page_id, round(score, 4)) for page_id, score in rows]

    async def read(self, page_id: str) -> bytes:
        """Return the bytes of a page, at once; raises ``KeyError`` if there is no such page."""
        return self._pages[page_id]

    def _match(self, query: str, *, limit: int) -> list[tuple[str]]:
        rows: list[tuple[str]] = self._index.execute(
            "SELECT id FROM page WHERE page MATCH ? LIMIT ?", (query, limit)
        ).fetchall()
        return rows
