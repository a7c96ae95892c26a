"""``lua_source``: the text of the queue's Lua scripts, for one key prefix."""

from __future__ import annotations

from importlib import resources

from otel_bridge.publish.redis_keys import DEFAULT_KEYS, RedisKeys

__all__ = ["lua_source"]


def lua_source(name: str, keys: RedisKeys = DEFAULT_KEYS) -> str:
    """
    Return the text of one of the queue's Lua scripts, with the shared prelude before it.

    Reads two small files at each call.

    Args:
        name: Name of the script's file in the folder ``lua``, without ``.lua``.
        keys: Their prefix (default ``nexus``) becomes a constant of the script; its characters need
            no quoting.

    Raises:
        FileNotFoundError: There is no such script.
    """
    folder = resources.files("otel_bridge.orchestration.queue") / "lua"
    prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
    script = (folder / f"{name}.lua").read_text(encoding="utf-8")
    return f"local PREFIX = '{keys.prefix}:'\n{prelude}{script}"
