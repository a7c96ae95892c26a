"""The documents say what the code does: settings, event types, routes and README's snippets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from otel_bridge_collector.routes.views import one_view
from otel_bridge_collector.settings import CollectorSettings
from otel_bridge_collector.views.catalog import CATALOG

from otel_bridge.events.model import MonitoringEvent, MonitoringEventType
from otel_bridge.settings import COLLECTOR_NAMES, BridgeSettings
from tests.support.readme import README, snippet_with, snippets

ROOT = Path(__file__).parents[1]


def aliases(model: type[BridgeSettings] | type[CollectorSettings]) -> dict[str, object]:
    return {str(field.validation_alias): field.default for field in model.model_fields.values()}


def test_env_example_lists_every_setting() -> None:
    """.env.example names exactly the settings of both packages."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    listed = set(re.findall(r"^#([A-Z_]+)=", text, flags=re.MULTILINE))
    assert listed == aliases(BridgeSettings).keys() | aliases(CollectorSettings).keys()


def test_env_example_shows_the_defaults() -> None:
    """Every default in .env.example is the code's own."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^#(\w+)=(.+)$", text, flags=re.MULTILINE))
    defaults = aliases(BridgeSettings) | aliases(CollectorSettings)
    for name, value in shown.items():
        default = defaults[name]
        if isinstance(default, bool):
            assert value == str(default).lower(), name
        elif isinstance(default, int | float):
            assert float(value) == float(default), name
        elif default not in (None, ""):
            assert value == str(default), name


def test_collector_names_do_not_warn_as_mistyped() -> None:
    """The library knows exactly the collector's setting names."""
    ours = {name for name in aliases(CollectorSettings) if name.startswith("MONITORING_")}
    assert ours == set(COLLECTOR_NAMES)


def test_architecture_names_every_event_type() -> None:
    """ARCHITECTURE.md names the publisher of every event type."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("## Who publishes each event type")[2].partition("\n## ")[0]
    named = set(re.findall(r"`((?:task|phase|worker|queue|stats|span)_[a-z_]+)`", section)) - {
        "task_id"
    }
    assert named == {str(kind) for kind in MonitoringEventType}


def test_readme_event_is_a_real_event() -> None:
    """The event shown in the README validates and keeps every field."""
    shown = json.loads("\n".join(snippet_with("json", '"event_id"')))
    event = MonitoringEvent.model_validate(shown)
    assert set(json.loads(event.to_json())) == set(shown)


@pytest.mark.parametrize("number", range(len(snippets("python"))))
def test_readme_python_runs(number: int, tmp_path: Path) -> None:
    """Each Python snippet of the README runs as pasted, with nothing listening anywhere."""
    script = tmp_path / "snippet.py"
    script.write_text(snippets("python")[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "MONITORING_BUS_URL": "http://127.0.0.1:9"},
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_readme_python_passes_a_consumers_strict_type_check(tmp_path: Path) -> None:
    """Each Python snippet of the README passes ``mypy --strict`` without a plugin or setting."""
    for number, text in enumerate(snippets("python")):
        (tmp_path / f"snippet_{number}.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", "cache", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_views_are_described_where_people_look() -> None:
    """README's table has each view with its parameters; the other documents name each."""
    section = README.partition("## Views")[2].partition("\n## ")[0]
    table: dict[str, set[str]] = {}
    for views, parameters in re.findall(r"^\| (`.*?) \|.*\| (.*) \|$", section, flags=re.MULTILINE):
        named = set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", parameters)))
        table |= dict.fromkeys(re.findall(r"\w+", views), named)
    assert table == {
        name: {field.alias or key for key, field in view.params.model_fields.items()}
        for name, view in CATALOG.items()
    }
    promised = (ROOT / "docs" / "COMPATIBILITY.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| Views \|(.*?), at ", promised, flags=re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == sorted(CATALOG)
    assert set(CATALOG) <= set(re.findall(r"``(\w+)``", one_view.__doc__ or ""))


def test_readme_installs_what_exists() -> None:
    """Each extra that the README names is there, and it installs from the project's own address."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"otel-bridge\[([\w,]+)\]", README)
    extras = {extra for group in named for extra in group.split(",")}
    assert extras <= set(project["optional-dependencies"])
    assert extras >= {"cli", "collector", "demo", "celery"}
    cloned = set(re.findall(r"(?:git\+|git clone )(https://[^\s']+)", README))
    assert cloned == {project["urls"]["Source"]}


def test_readme_commands_exist() -> None:
    """Every `otel-bridge ...` line and `make ...` target in the README exists."""
    used = set(re.findall(r"otel-bridge (serve|demo|worker|submit|tail)\b", README))
    assert used >= {"serve", "worker", "submit", "tail"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)$", README, flags=re.MULTILINE):
        assert f"\n{target}:" in makefile
