"""The text of the queue's Lua scripts, for one key prefix."""

from __future__ import annotations

from importlib import resources

import pytest

from otel_bridge.orchestration.queue.lua_scripts import lua_source
from otel_bridge.publish.redis_keys import RedisKeys

FOLDER = resources.files("otel_bridge.orchestration.queue") / "lua"
NAMES = sorted(
    entry.name.removesuffix(".lua") for entry in FOLDER.iterdir() if entry.name.endswith(".lua")
)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prelude"])
def test_a_script_comes_with_prefix_and_prelude(name: str) -> None:
    """Each script begins with its prefix and the shared prelude, and ends with its own file."""
    source = lua_source(name, RedisKeys("shop"))
    prelude = (FOLDER / "prelude.lua").read_text(encoding="utf-8")
    own = (FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    assert source == f"local PREFIX = 'shop:'\n{prelude}{own}"


def test_the_default_prefix_is_nexus() -> None:
    """Without keys the script is for the prefix that needs no setting."""
    assert lua_source("submit").startswith("local PREFIX = 'nexus:'\n")


def test_an_unknown_script_is_an_error() -> None:
    """A name without a file is an error at once, not an empty script."""
    with pytest.raises(FileNotFoundError):
        lua_source("nonsense")
