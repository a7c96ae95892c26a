"""The corpus and its index."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.errors import ConfigurationError
from otel_bridge.orchestration.research.corpus import generate_corpus
from otel_bridge.orchestration.research.documents import MAX_PAGE_BYTES, CorpusSearch, load_corpus


def corpus(**texts: str) -> CorpusSearch:
    return CorpusSearch({f"{name}.txt": text.encode() for name, text in texts.items()})


async def test_the_generated_pages_fall_into_counties() -> None:
    """Without a directory the pages are generated; the demo divides its search space by them."""
    pages = load_corpus(None)
    assert pages == generate_corpus()
    units = await CorpusSearch(pages).units("in Georgia")
    assert {"Fulton County", "DeKalb County", "Ben Hill County"} <= set(units)
    assert 45 <= len(units) <= 60
    assert "Hamilton County" not in units


async def test_a_corpus_without_counties_is_one_unit() -> None:
    """Any directory of text can be searched, as a whole."""
    assert await corpus(a="Lavender in Provence.").units("in Provence") == ["Provence"]


async def test_search_requires_the_phrase_and_one_of_the_terms() -> None:
    """Pages of the unit that are not about the entity are not found; word forms are."""
    search = corpus(
        a="Private schools in Bibb County.", b="Roads in Bibb County.", c="Schools in Cobb County."
    )
    assert [hit.page_id for hit in await search.search(["school"], phrase="Bibb County")] == [
        "a.txt"
    ]


async def test_limit_and_order_are_kept() -> None:
    """The best pages come first, and no more of them than the limit."""
    search = corpus(a="school", b="school school school", c="school school")
    hits = await search.search(["school"], limit=2)
    assert [hit.page_id for hit in hits] == ["b.txt", "c.txt"]
    assert hits[0].score >= hits[1].score


async def test_no_terms_and_no_phrase_find_nothing() -> None:
    """An empty query is an empty answer, not an error of SQLite."""
    assert list(await corpus(a="school").search([])) == []


@given(st.lists(st.text(max_size=20), max_size=3), st.none() | st.text(max_size=20))
async def test_query_operators_are_text(terms: list[str], phrase: str | None) -> None:
    """Quotes, stars, parentheses and NEAR in a request cannot break or steer the query."""
    await corpus(a="Private schools in Bibb County.").search(terms, phrase=phrase)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """A corpus directory that does not exist is an error that names it and says what to change."""
    with pytest.raises(ConfigurationError, match=r"nowhere.*does not exist; give --corpus"):
        load_corpus(tmp_path / "nowhere")


def test_a_directory_without_pages_is_refused(tmp_path: Path) -> None:
    """A directory without text files is an error, not an empty corpus."""
    (tmp_path / "image.png").write_bytes(b"x")
    with pytest.raises(ConfigurationError, match=r"holds no \.txt or \.md file"):
        load_corpus(tmp_path)


def test_own_pages_are_read_and_truncated_at_the_limit(tmp_path: Path) -> None:
    """Text and Markdown files of the directory are the corpus; a huge one is truncated."""
    (tmp_path / "a.txt").write_bytes(b"one")
    (tmp_path / "b.md").write_bytes(b"x" * (MAX_PAGE_BYTES + 1))
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "c.txt").write_bytes(b"not read")
    pages = load_corpus(tmp_path)
    assert {name: len(data) for name, data in pages.items()} == {"a.txt": 3, "b.md": MAX_PAGE_BYTES}


async def test_an_undecodable_page_is_found_all_the_same() -> None:
    """A search finds a page with undecodable bytes, and its bytes are returned unchanged."""
    search = CorpusSearch({"a.txt": b"Private school caf\xe9 \x00 Bibb County"})
    assert [hit.page_id for hit in await search.search(["school"])] == ["a.txt"]
    assert b"caf\xe9" in await search.read("a.txt")
    with pytest.raises(KeyError):
        await search.read("b.txt")
