"""A settings class from the environment: strict, or with one warning for each wrong value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from otel_bridge_collector.settings import CollectorSettings
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from otel_bridge.environment import env_name, in_use, load_settings, unknown_names
from otel_bridge.errors import ConfigurationError
from otel_bridge.settings import COLLECTOR_NAMES, BridgeSettings

ENV_EXAMPLE = Path(__file__).parents[3] / ".env.example"


class Example(BaseSettings):
    model_config = SettingsConfigDict(extra="forbid", validate_by_name=True, env_ignore_empty=True)

    count: int = Field(default=3, ge=1, validation_alias="EXAMPLE_COUNT")
    ratio: float = Field(default=0.5, le=1, validation_alias="EXAMPLE_RATIO")
    site_url: str = Field(default="", max_length=5, validation_alias="EXAMPLE_SITE_URL")
    token: SecretStr = Field(default=SecretStr(""), max_length=5, validation_alias="EXAMPLE_TOKEN")


def load(strict: bool = False, **overrides: Any) -> tuple[Example, list[str]]:
    lines: list[str] = []
    made = load_settings(
        Example, overrides, strict=strict, warn=lambda text, *args: lines.append(text % args)
    )
    return made, lines


def test_each_wrong_value_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without strict every wrong value is named with its cure and gets its default, others stay."""
    monkeypatch.setenv("EXAMPLE_COUNT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("EXAMPLE_RATIO", "2")
    monkeypatch.setenv("EXAMPLE_SITE_URL", "x://")
    made, lines = load()
    assert (made.count, made.ratio, made.site_url) == (3, 0.5, "x://")
    assert [line.partition(":")[0] for line in lines] == [
        "EXAMPLE_COUNT=tcp",
        "EXAMPLE_RATIO=2",
    ]
    for line, default in zip(lines, ("3", "0.5"), strict=True):
        assert line.endswith(f"; see .env.example; until then the default is used: {default}")
    with pytest.raises(ConfigurationError, match=r"^EXAMPLE_COUNT=tcp"):
        load(strict=True)


def test_a_wrong_argument_is_treated_as_a_variable_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """For an argument that cannot work the default is used, not the variable under it."""
    monkeypatch.setenv("EXAMPLE_COUNT", "7")
    assert load(count=0)[0].count == 3
    assert load(count=None)[0].count == 7
    assert load(site_url="")[0].site_url == ""


def test_what_may_be_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of tokens and URLs are left out of the warnings; a long one is shortened."""
    monkeypatch.setenv("EXAMPLE_SITE_URL", "x://hunter2")
    monkeypatch.setenv("EXAMPLE_TOKEN", "hunter2")
    monkeypatch.setenv("EXAMPLE_COUNT", "9" * 10 + "x" * 1000)
    lines = load()[1]
    assert len(lines) == 3
    assert "hunter2" not in "".join(lines)
    assert max(map(len, lines)) < 300


def test_an_unknown_argument_is_an_error_all_the_same() -> None:
    """No default helps where an argument is mistyped; its value is not shown."""
    with pytest.raises(ConfigurationError) as raised:
        load(cuont="hunter2")
    assert str(raised.value) == "there is no setting cuont; did you mean count?"


def test_names_and_defaults_are_shown() -> None:
    """A field is named by its variable, and a warning ends with the defaults that have a text."""
    assert (env_name(Example, "count"), env_name(Example, "EXAMPLE_X")) == (
        "EXAMPLE_COUNT",
        "EXAMPLE_X",
    )
    assert in_use({"a": 10.0, "b": 30}) == "until then the default is used: 10.0 and 30"
    assert in_use({"a": None, "b": ""}) == "until then the default is used"


def variables_of_env_example() -> dict[str, str]:
    lines = ENV_EXAMPLE.read_text(encoding="utf-8").splitlines()
    named = [line[1:] for line in lines if line.startswith("#") and not line.startswith("# ")]
    return dict(line.split("=", 1) for line in named)


@pytest.mark.parametrize("is_empty", [False, True])
def test_env_example_uncommented_gives_the_defaults(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_empty: bool
) -> None:
    """Every line of it as it stands, and every variable set to the empty text: nothing changes."""
    defaults = BridgeSettings.load(), CollectorSettings.load()
    variables = variables_of_env_example()
    assert len(variables) > 60
    for name, value in variables.items():
        monkeypatch.setenv(name, "" if is_empty else value)
    found = BridgeSettings.load(otlp_protocol=None), CollectorSettings.load()
    assert found[0].model_copy(update={"otlp_protocol": None}) == defaults[0]
    assert found[1] == defaults[1]
    assert caplog.records == []


def test_the_library_reads_no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A ``.env`` in the working directory is the application's; only the commands read it."""
    (tmp_path / ".env").write_text("MONITORING_KEY_PREFIX=from_file\n")
    monkeypatch.chdir(tmp_path)
    assert BridgeSettings.load().key_prefix == "nexus"


def test_variables_of_other_programs_are_not_reported() -> None:
    """Variables of the collector and of other programs are not unknown settings."""
    environ = dict.fromkeys([*COLLECTOR_NAMES, "MONITOR", "REDIS_HOST", "PATH"], "x")
    assert unknown_names(environ, COLLECTOR_NAMES) == {}
    of_kubernetes = {
        "MONITORING_SERVICE_HOST": "10.0.0.1",
        "MONITORING_SERVICE_PORT_HTTP": "12000",
        "MONITORING_COLLECTOR_PORT": "tcp://10.0.0.1:12000",
        "MONITORING_PORT_12000_TCP": "tcp://10.0.0.1:12000",
        "MONITORING_PORT_12000_TCP_PROTO": "tcp",
    }
    assert unknown_names(of_kubernetes, COLLECTOR_NAMES) == {}
    unlike_any = "MONITORING_" + "Q" * 60
    assert unknown_names({unlike_any: "x"}, COLLECTOR_NAMES) == {unlike_any: None}
