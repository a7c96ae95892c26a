"""
``ResultStore``: a SQLite database and CSV files of results in the data directory.

Storing a research task again replaces its earlier results, so a process can finish a task that
another one started. The methods block; the orchestrator calls them in a thread.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from otel_bridge.orchestration.research.resolution import Entity

__all__ = ["ResultStore"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entity (
    task_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    unit TEXT,
    aliases TEXT NOT NULL,
    sources TEXT NOT NULL,
    PRIMARY KEY (task_id, number)
);
CREATE TABLE IF NOT EXISTS entity_value (
    task_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    attribute TEXT NOT NULL,
    value TEXT NOT NULL,
    conflicts TEXT NOT NULL,
    PRIMARY KEY (task_id, number, attribute)
);
"""


class ResultStore:
    """
    Stores the results of research tasks in one directory, as a SQLite database and CSV files.

    Nothing is opened until a method is called, and nothing stays open after it. The methods block,
    so call them in a thread; they wait up to 30 s for another process that writes the database,
    then raise ``sqlite3.OperationalError``. Nothing is deleted by itself; sizes are not limited.

    Args:
        data_dir: Created when missing, by ``save``; gets ``research.sqlite3`` and one
            ``<task id>.csv`` for each research task.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def save(self, task_id: str, entities: Sequence[Entity]) -> Path:
        """
        Store the entities of a task; return the path of the database.

        One transaction; waits up to 30 s for another process that writes.

        Args:
            task_id: Id of the research task; what was stored for it before is replaced.
            entities: Its entities, without a limit; their order is kept.

        Raises:
            OSError: The directory cannot be created.
            sqlite3.Error: The database cannot be written, or was locked for over 30 s.
        """
        self._data_dir.mkdir(parents=True, exist_ok=True)
        path = self._data_dir / "research.sqlite3"
        with closing(sqlite3.connect(path, timeout=30)) as database, database:
            database.executescript(_SCHEMA)
            for table in ("entity", "entity_value"):
                database.execute(f"DELETE FROM {table} WHERE task_id = ?", (task_id,))  # noqa: S608
            for number, entity in enumerate(entities, 1):
                database.execute(
                    "INSERT INTO entity VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        task_id,
                        number,
                        entity.name,
                        entity.unit,
                        json.dumps(entity.aliases),
                        json.dumps(entity.sources),
                    ),
                )
                database.executemany(
                    "INSERT INTO entity_value VALUES (?, ?, ?, ?, ?)",
                    [
                        (task_id, number, name, value, json.dumps(entity.conflicts.get(name, ())))
                        for name, value in entity.values.items()
                    ],
                )
        return path

    def write_csv(self, task_id: str, attributes: Sequence[str]) -> Path:
        """
        Write what ``save`` stored as CSV; return the absolute path of the file.

        The columns are name, unit, the attributes, sources and conflicts; the number of rows is not
        limited. An incomplete file never has the final name. A cell that a spreadsheet would run as
        a formula gets a leading quote, since its text comes from third-party pages.

        Args:
            task_id: Every character other than letters, digits and ``_.-`` becomes ``_`` in the
                name of the file. Nothing stored under it: the file has the header only.
            attributes: The attributes, in the order of their columns; values of others are left
                out.

        Raises:
            OSError: The file cannot be written.
            sqlite3.Error: The database cannot be read, was locked for over 30 s, or ``save`` has
                never been called.
        """
        with closing(sqlite3.connect(self._data_dir / "research.sqlite3", timeout=30)) as database:
            rows = database.execute(
                "SELECT number, name, unit, sources FROM entity WHERE task_id = ? ORDER BY number",
                (task_id,),
            ).fetchall()
            values: dict[int, dict[str, tuple[str, str]]] = {}
            for number, attribute, value, conflicts in database.execute(
                "SELECT number, attribute, value, conflicts FROM entity_value WHERE task_id = ?",
                (task_id,),
            ):
                values.setdefault(number, {})[attribute] = (value, conflicts)
        path = self._data_dir / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', task_id)}.csv"
        partial = path.with_suffix(".csv.part")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "unit", *attributes, "sources", "conflicts"])
            for number, name, unit, sources in rows:
                known = values.get(number, {})
                disputed = [
                    f"{attribute}: {' / '.join(json.loads(conflicts))}"
                    for attribute, (_, conflicts) in sorted(known.items())
                    if json.loads(conflicts)
                ]
                cells = [
                    name,
                    unit or "",
                    *(known.get(attribute, ("", ""))[0] for attribute in attributes),
                    " ".join(json.loads(sources)),
                    "; ".join(disputed),
                ]
                writer.writerow([_escape_formula(cell) for cell in cells])
        os.replace(partial, path)
        return path.resolve()


def _escape_formula(cell: str) -> str:
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
