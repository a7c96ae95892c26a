"""SQLite and CSV."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

from otel_bridge.orchestration.research.resolution import Entity
from otel_bridge.orchestration.research.result_store import ResultStore

QUILLMERE = Entity(
    name="Quillmere Academy",
    unit="Bibb County",
    values={"tuition": "9500", "address": "12 Larkspur Lane, Macon"},
    sources=("a.txt", "b.txt"),
    aliases=("The Quillmere Acad.",),
    conflicts={"tuition": ("9000", "9100")},
)
FERNHOLT = Entity(name="Fernholt School", unit=None, values={}, sources=("c.txt",))


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_csv_holds_what_was_saved(tmp_path: Path) -> None:
    """One row an entity: name, unit, the attributes asked for, sources, disagreements."""
    store = ResultStore(tmp_path / "new" / "directory")
    store.save("t1", [QUILLMERE, FERNHOLT])
    path = store.write_csv("t1", ["address", "tuition", "enrollment"])
    assert path.is_absolute()
    assert rows(path) == [
        ["name", "unit", "address", "tuition", "enrollment", "sources", "conflicts"],
        [
            "Quillmere Academy",
            "Bibb County",
            "12 Larkspur Lane, Macon",
            "9500",
            "",
            "a.txt b.txt",
            "tuition: 9000 / 9100",
        ],
        ["Fernholt School", "", "", "", "", "c.txt", ""],
    ]


def test_saving_again_replaces_and_leaves_other_tasks_alone(tmp_path: Path) -> None:
    """A research task that is finished by a second process is not stored twice."""
    store = ResultStore(tmp_path)
    store.save("other", [QUILLMERE])
    store.save("t1", [QUILLMERE, FERNHOLT])
    path = store.save("t1", [FERNHOLT])
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT task_id, name FROM entity ORDER BY 1").fetchall()
    assert found == [("other", "Quillmere Academy"), ("t1", "Fernholt School")]


def test_a_cell_that_looks_like_a_formula_is_escaped(tmp_path: Path) -> None:
    """Text of third-party pages does not run as a formula in a spreadsheet."""
    store = ResultStore(tmp_path)
    store.save("t1", [Entity('=HYPERLINK("http://x")', "+1", {"a": "@SUM(A1)"}, ("-p",))])
    assert rows(store.write_csv("t1", ["a"]))[1] == [
        '\'=HYPERLINK("http://x")',
        "'+1",
        "'@SUM(A1)",
        "'-p",
        "",
    ]


def test_a_task_id_cannot_leave_the_directory(tmp_path: Path) -> None:
    """The file's name is made harmless whatever the id."""
    store = ResultStore(tmp_path)
    store.save("../../etc/x", [])
    assert tmp_path.resolve() == store.write_csv("../../etc/x", []).parent
