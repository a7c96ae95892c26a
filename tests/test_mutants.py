"""The mutation tests' own files: targets, reasons for survivors, and decorators written out."""

from __future__ import annotations

import tomllib

from tests.support.mutants.__main__ import EXPLAINED, read_explained
from tests.support.mutants.targets import ROOT, TARGETS
from tests.support.mutants.tree_copy import write_out_decorators


def test_every_target_exists_with_its_tests() -> None:
    """Each module under mutation and each of its test files is there."""
    folders = (ROOT, ROOT / "collector")
    missing = [
        path
        for target in TARGETS
        for path, found in [
            (target.path, any((folder / target.path).exists() for folder in folders)),
            *((test, (ROOT / "tests/unit" / test).exists()) for test in target.tests),
        ]
        if not found
    ]
    assert missing == []


def test_every_survivor_has_a_reason_and_a_target() -> None:
    """``survivors.toml`` explains each survivor in a sentence, of modules that are mutated."""
    groups = tomllib.loads(EXPLAINED.read_text(encoding="utf-8"))["survivors"]
    assert all(group["reason"].endswith(".") and group["mutants"] for group in groups)
    assert read_explained().keys() <= {target.module for target in TARGETS}


def test_decorators_are_written_out_as_the_same_program() -> None:
    """Properties, context managers and stacked decorators do the same when they are written out."""
    source = '''
from contextlib import contextmanager
from functools import cache

class One:
    @property
    def value(self):
        """The value."""
        return 1

    @staticmethod
    def kept():
        return 2

    @contextmanager
    def around(self):
        yield 3

@cache
@cache
def both(x):
    return x + 4

with One().around() as three:
    found = [One().value, One.kept(), three, both(0), One.value.__doc__]
'''
    written = write_out_decorators(source)
    assert [line.strip() for line in written.splitlines() if "@" in line] == ["@staticmethod"]
    results = []
    for text in (source, written):
        names: dict[str, object] = {}
        exec(text, names)
        results.append(names["found"])
    assert results == [[1, 2, 3, 4, "The value."]] * 2
