"""
Where the pages come from: a directory of text files, and a full-text index over it.

``SearchProvider`` and ``ExtractionProvider`` are what a team replaces with its own (a web search,
a language model); ``CorpusSearch`` is ours: SQLite FTS5, in memory, built in about 20 ms for the
bundled pages. It indexes what can be read of every page, so that a broken page is still found;
reading it properly, or failing to, is the extraction's part.
"""

from __future__ import annotations

import re
import sqlite3
import weakref
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from otel_bridge.errors import ConfigurationError

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
_LABELS: Final = frozenset({"County", "Type", "Region", "Every", "This", "Each", "Any"})


class Hit(NamedTuple):
    """One page that a search found."""

    page_id: str
    score: float
    """Higher is better; comparable within one search only."""


class Record(NamedTuple):
    """What one page says about one entity."""

    name: str
    unit: str | None
    """Where in the search space, e.g. ``Bibb County``; None when the page does not say."""
    values: dict[str, str]
    """By attribute, in the words of the request; attributes the page is silent on are absent."""
    page_id: str


class SearchProvider(Protocol):
    """Finds pages."""

    async def units(self, search_space: str) -> Sequence[str]:
        """The parts that a search space falls into, at least one: what is searched one by one."""

    async def search(
        self, terms: Sequence[str], *, phrase: str | None = None, limit: int = 25
    ) -> Sequence[Hit]:
        """The best pages with the phrase (if given) and at least one of the terms."""

    async def read(self, page_id: str) -> bytes:
        """
        A page's bytes.

        Raises:
            KeyError: There is no such page.
        """


class ExtractionProvider(Protocol):
    """Reads entities out of a page."""

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
        What the page says; nothing, for a page about something else.

        Args:
            page_id: Goes into the records.
            data: The page as it is stored.
            entities: E.g. ``["private schools"]``.
            attributes: What to look for.
            is_lenient: Repair what is broken instead of refusing it: the second attempt.

        Raises:
            Exception: The page is broken; the job is tried again, leniently.
            PermanentJobError: It cannot be read in any way.
        """


def load_corpus(directory: Path | None) -> dict[str, bytes]:
    """
    Read every ``.txt`` and ``.md`` file of a directory (not of those below), by file name.

    Args:
        directory: None: the bundled synthetic pages. A file over 256 KiB is cut there.

    Raises:
        ConfigurationError: The directory does not exist, cannot be read or holds no page.
    """
    folder: Traversable
    if directory is None:
        folder = resources.files("otel_bridge.orchestration.research") / "corpus"
    else:
        folder = directory
        if not directory.is_dir():
            raise ConfigurationError(
                f"corpus directory {str(directory)!r} does not exist",
                "give --corpus a directory of .txt or .md files, or leave it out",
            )
    try:
        pages = {
            entry.name: entry.read_bytes()[:MAX_PAGE_BYTES]
            for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
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
    """An FTS5 string: every operator inside is text. A NUL would end the query there."""
    return '"' + words.replace("\0", " ").replace('"', '""') + '"'


class CorpusSearch:
    """
    ``SearchProvider`` over a directory of text files.

    Everything is in memory: fit for tens of thousands of short pages. Used on one event loop; a
    search of the bundled pages takes well under a millisecond.

    Args:
        pages: Bytes by page id, as ``load_corpus`` gives them.
    """

    def __init__(self, pages: dict[str, bytes]) -> None:
        self._pages = pages
        # The index is only read after this; check_same_thread would forbid a caller's thread.
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        # Python 3.13 warns of a connection that is left to the garbage collector.
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
        The counties that pages about the search space mention, in alphabetical order.

        A corpus without counties is one unit: the search space itself.
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
        return self._pages[page_id]

    def _match(self, query: str, *, limit: int) -> list[tuple[str]]:
        rows: list[tuple[str]] = self._index.execute(
            "SELECT id FROM page WHERE page MATCH ? LIMIT ?", (query, limit)
        ).fetchall()
        return rows
