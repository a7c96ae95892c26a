"""The recorded views are what the collector sends, and what its models say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from otel_bridge_collector.views.catalog import CATALOG
from otel_bridge_collector.wire.typescript import VIEWS

from tests.support.view_client import ShownView
from tests.support.view_fixtures import CASES, FOLDER, Case, computed_cases, main, render


def recorded(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{case.name}.json").read_text(encoding="utf-8"))
    return found


def name_of(case: Case) -> str:
    return case.name


def test_every_view_is_recorded() -> None:
    """Each view of the catalog has a case with models, and each file a case."""
    assert CATALOG.keys() <= {case.view for case in CASES} == VIEWS.keys()
    names = {path.stem for path in FOLDER.iterdir()}
    assert names == {case.name for case in computed_cases()}


@pytest.mark.parametrize("case", computed_cases(), ids=name_of)
def test_the_collector_sends_what_is_recorded(case: Case) -> None:
    """Folding the log again makes the same messages; ``--write`` records them anew."""
    assert json.loads(render(case)) == recorded(case)


@pytest.mark.parametrize("case", computed_cases(), ids=name_of)
def test_the_changes_lead_to_the_last_full(case: Case) -> None:
    """A client that applied them shows what one shows that comes at the end."""
    found = recorded(case)
    client, later = ShownView(), ShownView()
    client.apply(found["full"])
    for step in found["then"]:
        if step["change"] is not None:
            client.apply(step["change"])
    later.apply(found["then"][-1]["full"])
    assert client.shown == later.shown
    assert client.version == later.version > 1, "nothing changes in this story"


@pytest.mark.parametrize("case", computed_cases(), ids=name_of)
def test_heads_and_rows_are_those_of_the_models(case: Case) -> None:
    """Every field has the type that they say, none is missing, and no other is sent."""
    _, head, row = VIEWS[case.view]
    found = recorded(case)
    messages = [found["full"], *filter(None, (step["change"] for step in found["then"]))]
    shown: dict[str, Any] = {}
    for message in messages:
        shown |= message.get("head", {})
        head.model_validate_json(json.dumps(shown))
        for one in message.get("rows", []):
            assert row is not None
            row.model_validate_json(json.dumps(one))


def test_the_command_compares(capsys: pytest.CaptureFixture[str]) -> None:
    """``--check`` succeeds for what is recorded; without an option it says what it does."""
    assert main(["--check"]) == 0
    assert main([]) == 2
    assert "--write" in capsys.readouterr().err
