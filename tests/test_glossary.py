"""docs/GLOSSARY.md: every module it names exists, and every term stands there once."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from otel_bridge.publish.bus import BusCounters

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")


def rows(columns: int) -> list[list[str]]:
    """The cells of every table row with so many columns, headings left out."""
    lines = [line.strip("| ").split(" | ") for line in GLOSSARY.splitlines() if line[:1] == "|"]
    return [cells for cells in lines if len(cells) == columns and cells[0] not in ("term", "word")]


def test_every_module_named_exists() -> None:
    """Each path in the glossary is a file of the repository, and each term has one."""
    named = re.findall(r"`((?:otel_bridge|collector)/[\w/]+\.(?:py|lua))`", GLOSSARY)
    assert len(named) == len(rows(4))
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_every_term_stands_once() -> None:
    """No term has two rows, and no row is without an end: each says what it is not."""
    terms = [term for row in (*rows(4), *rows(3)) for term in row[0].split(", ")]
    assert sorted(terms) == sorted(set(terms))
    assert [row[0] for row in rows(4) if not row[2].endswith(".")] == []


def test_outcome_words_are_counters() -> None:
    """The bus counts five of the six outcome words under these names; a metric has the sixth."""
    counters = {field.name for field in fields(BusCounters)}
    outcomes = [row[0] for row in rows(3)]
    assert outcomes == ["refused", "rejected", "ignored", "skipped", "unreadable", "dropped"]
    assert set(outcomes) - counters == {"unreadable"}


def test_metrics_named_exist() -> None:
    """Each metric in the glossary is one that the collector renders."""
    source = (ROOT / "collector/otel_bridge_collector/metrics.py").read_text(encoding="utf-8")
    named = set(re.findall(r"`otel_bridge_(\w+)`", GLOSSARY)) - {"collector"}
    assert {name for name in named if f'"{name}"' not in source} == set()
