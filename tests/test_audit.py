"""What ``make audit`` makes of the reports that it gets."""

from __future__ import annotations

import json

import pytest

from tests.support.audit import read_node, read_python

VULNERABLE = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
SOUND = {"name": "b", "version": "2", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found"}


def test_a_vulnerability_is_counted_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The number is what makes ``make check`` fail."""
    report = json.dumps({"dependencies": [VULNERABLE, SOUND]})
    assert read_python("service.txt", report, "") == 2
    assert "service.txt: a 1: CVE-2" in capsys.readouterr().out
    counts = {"info": 0, "high": 1, "total": 1}
    assert read_node(json.dumps({"metadata": {"vulnerabilities": counts}})) == 1


@pytest.mark.parametrize("report", ["", "[]", "null", "{}", '{"message": "404 Not Found"}'])
def test_no_report_is_no_proof(report: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said in one loud line each, and does not fail the other checks."""
    assert read_python("service.txt", report, "no route to host") == 0
    assert read_node(report) == 0
    assert capsys.readouterr().out.count("NOT PROVED") == 2


def test_packages_without_an_entry_are_no_proof(capsys: pytest.CaptureFixture[str]) -> None:
    """A database that knows none of them proves nothing of them."""
    assert read_python("x", json.dumps({"dependencies": [SOUND, UNKNOWN]}), "") == 0
    assert "NOT PROVED: pip-audit of x: no database for 1 packages" in capsys.readouterr().out
