"""The word list: what counts as prose, what as a name, and what is left alone."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.support.plain_words import WORDS, check_text, main


def found(path: str, text: str) -> list[tuple[int, str, bool]]:
    """Line, word and whether it is a name, of each finding."""
    text = textwrap.dedent(text).lstrip("\n")
    return [(hit.line, hit.word, hit.is_name) for hit in check_text(path, text)]


def test_python_prose_is_comments_docstrings_and_messages() -> None:
    """Comments, docstrings and texts of three words are read, keys and text in backticks not."""
    text = '''
        """
        Summary.

        Nobody knows.
        """
        # Whoever comes.
        logger.warning("%s was told to end", name)
        raise ValueError(f"{name} has a foreign owner")
        KEY = "told"
        # ``told`` and `nobody` are names here.
    '''
    assert found("otel_bridge/x.py", text) == [
        (4, "Nobody", False),
        (6, "Whoever", False),
        (7, "told", False),
        (8, "foreign", False),
    ]


def test_python_names_are_those_it_defines() -> None:
    """Each name is found where it is defined, once; a use of another module's name is not."""
    text = """
        from a import Fleet as LocalFleet
        from b import tell

        class StrangerThing:
            beat_count: int = 0

            def lend(self, *, outbox: int) -> None:
                self._pulse = tell(outbox)
                self._pulse = None
    """
    assert found("otel_bridge/x.py", text) == [
        (1, "LocalFleet", True),
        (4, "StrangerThing", True),
        (5, "beat_count", True),
        (7, "lend", True),
        (7, "outbox", True),
        (8, "_pulse", True),
    ]


def test_a_phrase_may_span_lines() -> None:
    """Two words are one phrase over the line break of a comment, and with a hyphen between."""
    text = """
        # It goes to the dead
        # list; a dead-list entry stays.
    """
    assert found("otel_bridge/x.py", text) == [(1, "dead # list", False), (2, "dead-list", False)]


def test_terms_of_others_and_of_the_wire_are_allowed() -> None:
    """Celery beat, work-horses, foreign keys and the wire's own names are left alone."""
    text = """
        # Celery beat enqueues; RQ's work-horse and the foreign key stay; so does ``span_beats``.
        tick = cut = refused = gap = 0
        beat_ms = work_horse = span_beats = 0
        heartbeat = 1
    """
    assert found("otel_bridge/x.py", text) == []


def test_module_names_count() -> None:
    """A module named by a word of the list is found at its first line."""
    assert found("collector/otel_bridge_collector/fleet.py", "") == [(1, "fleet", True)]


def test_typescript() -> None:
    """Comments, texts and names of TypeScript are read; members, imports and expressions not."""
    text = """
        import { isWished } from "./old/wish";
        // Nobody else.
        const lastBeat = Math.floor(row.told) + isWished(1);
        const label = `the page was told ${lastBeat} times`;
        const url = "https://example.org/told"; /* told
          twice told */
        const pattern = /"told/g;
    """
    assert found("collector/dashboard/src/x.ts", text) == [
        (2, "Nobody", False),
        (3, "lastBeat", True),
        (4, "told", False),
        (5, "told", False),
        (6, "told", False),
    ]


def test_css_lua_markdown_and_settings() -> None:
    """CSS and settings give comments, Lua comments and locals, Markdown all but its code."""
    assert found("collector/dashboard/src/a.css", "/* told */ .told {}") == [(1, "told", False)]
    assert found("otel_bridge/a.lua", "-- told\nlocal outbox = math.floor(1)") == [
        (1, "told", False),
        (2, "outbox", True),
    ]
    markdown = "Told.\n\n```sh\ntold\n```\n\n`told` and [a link](told.md)\n"
    assert found("README.md", markdown) == [(1, "Told", False)]
    assert found(".env.example", "# told\n#TOLD=told") == [(1, "told", False)]


def test_a_row_may_hold_for_some_paths_only() -> None:
    """A hint is a wake-up notification in the queue and an ordinary word elsewhere."""
    assert found("otel_bridge/orchestration/queue/x.py", "# a hint") == [(1, "hint", False)]
    assert found("otel_bridge/settings.py", "# a hint") == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints file, line, word and cure and fails; without a finding it passes in silence."""
    readme = tmp_path / "README.md"
    readme.write_text("A page.\nNobody asks.\n")
    assert main(["--root", str(tmp_path)]) == 1
    assert re.fullmatch(
        r"README\.md:2: word 'Nobody': write say which.*\n", capsys.readouterr().out
    )
    assert main(["--root", str(tmp_path), "--summary"]) == 1
    assert re.search(r"documents +1 +1 +0", capsys.readouterr().out)
    readme.write_text("A page.\n")
    assert main(["--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


def test_every_row_says_what_to_write() -> None:
    """Each row holds for something and names a better word."""
    assert all(row.better and (row.prose or row.name) for row in WORDS)
