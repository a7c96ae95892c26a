"""
The rule that keeps prompts and answers of language models out of ``meta``.

A text passes only as a short fact: its key is not that of a content, and it is one line of at most
256 characters. The last known word of a key decides: ``llm.input_messages.0.message.content`` and
``tool_response`` are contents, ``llm.input_messages.0.message.role`` and ``gen_ai.response.model``
are facts about one. Numbers and booleans always pass, so ``gen_ai.usage.input_tokens`` does.

Words instead of names, because each instrumentation has names of its own: of the 370 content keys
of 36 packages in ``tests/fixtures/attribute_keys.toml`` a list of 16 prefixes stopped 38, and this
rule stops all. Of 469 short facts it lets 460 pass.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pydantic_core

__all__ = [
    "DEFAULT_FACTS",
    "LEFT_OUT",
    "MAX_FACT_CHARS",
    "content_word",
    "contents_among",
    "without_content",
]

DEFAULT_FACTS: Final = ",".join(
    [
        *("gen_ai.request.model", "gen_ai.response.model", "gen_ai.provider.name", "gen_ai.system"),
        *("gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.usage.input_tokens"),
        *("gen_ai.usage.output_tokens", "llm.model_name", "llm.token_count.prompt"),
        *("llm.token_count.completion", "http.route", "http.response.status_code"),
    ]
)
"""Attributes that enter ``meta`` unless a setting names others: short facts that people look for
first. Which model and tool, how many tokens, which route, what came of the request."""

_DEFAULT_NAMES: Final = frozenset(DEFAULT_FACTS.split(","))

LEFT_OUT: Final = object()
"""What ``without_content`` returns for a value that may not pass."""
MAX_FACT_CHARS: Final = 256
"""Bound on a text, or on all texts of a list or mapping together, that counts as a fact. The
longest in that corpus are 176 characters (the place of a span in LangSmith's trees) and 119 (the
name of a browser); the next has 80."""
_MAX_FACT_ITEMS: Final = 16
"""Bound on the items of a list or mapping: finish reasons and tags, not an embedding's numbers."""
_MAX_DEPTH: Final = 8
_MAX_CACHED_KEYS: Final = 4096

_WORD: Final = re.compile(r"[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+")
"""A word of a key in any spelling: ``tool_args``, ``tool-args``, ``toolArgs``, ``TOOL_ARGS``."""


_CONTENT_WORDS: Final = """
    actions annotation annotations answers arg args argument arguments attachment attachments
    audio backstory bodies body call calls candidate candidates caption choice choices chunk
    citation citations command comment content contents context conversation data definition
    definitions delta deltas description devset dialog diff doc docs document documents
    embedding embeddings error errors example examples exception excerpt explanation feedback
    feedbacks file files functions goal guidelines header headers history html image images init
    input inputs introduction item items js knowledge kwargs log logs markdown match memory msg
    note notes object objects observation output outputs param parameter parameters params
    passage passages payload payloads persona plan planning preamble queries query quote
    reasoning reply report request response responses result results schema schemas script
    sensitive sentence snippet speech state statement stderr stdin stdout summary task tasks
    template templates text texts thinking thought thoughts tools trainset transcript
    translation utterance value values variable variables video word words
"""
_CONTENT: Final = frozenset(_CONTENT_WORDS.split())
"""Words for what goes into a model, a tool or a query and what comes out, and for what describes
it to a model."""
_CONTENT_PART: Final = re.compile("prompt|message|completion|instruction|question|answer|content")
"""Found inside of longer words too, such as ``systemprompt``."""
_FACT_WORDS: Final = """
    action attempt base cache category class cost count created date decision digest direction
    effort endpoint environment fingerprint format formats hash host id ids index key kind label
    labels language length level limit method mime mode model name names namespace node number
    operation order path phase priority protocol purpose quality queue reason reasons role route
    score sdk seed severity size source speaker stage status strategy style subtype tag
    tags tier time timestamp token tokens total truncation type types unit usage variant vendor
    version voice worker
"""
_FACT: Final = frozenset(_FACT_WORDS.split())
"""Words for a fact about it: what kind it is, whose, how many, how large, when."""
_OPAQUE_WORDS: Final = """
    argument arguments arg args kwargs params parameter parameters inputs outputs variables headers
"""
_OPAQUE: Final = frozenset(_OPAQUE_WORDS.split())
"""Below these stand names that a user or a model gave: ``dspy.inputs.name`` is no fact."""
_USER_KEYED: Final = re.compile(
    r"(?:^|[.:])(?:input|output)[.:](?!(?:.*[._:-])?(?:type|format|model|count|tokens|size|length)$)"
)
"""As the above, but with ``gen_ai.output.type`` and the like."""

_INLINE_JSON: Final = ('{"', "{'", "[{", '["', "['", "[[")
"""How a mapping or list begins that was made a text, by JSON or by ``str()``."""


def content_word(key: str) -> str:
    """
    Return the word by which a key names a content, such as ``prompt``; empty for any other key.

    The last of its words that is known decides: a content (``prompt``, ``arguments``, ``result``)
    or a fact about one (``id``, ``type``, ``model``, ``count``). Below words such as ``arguments``
    and ``variables`` every key is a content, and so is one of more than 256 characters (its first
    256 are returned). Never raises; any thread.

    Args:
        key: An attribute's name in any spelling: ``ai.toolCall.args``, ``tool_arguments``. Nested
            keys are put together with dots. Numbers in it do not count.
    """
    return key[:MAX_FACT_CHARS] if len(key) > MAX_FACT_CHARS else _find_content_word(key)


@functools.lru_cache(maxsize=_MAX_CACHED_KEYS)  # spans repeat their keys: 0.1 us instead of 5
def _find_content_word(key: str) -> str:
    words: list[str] = [word.lower() for word in _WORD.findall(key)]
    for word in words:
        if word in _OPAQUE:
            return word
    is_fact_allowed = _USER_KEYED.search(key) is None
    for word in reversed(words):
        if word in _FACT and is_fact_allowed:
            return ""
        if word in _CONTENT or _CONTENT_PART.search(word):
            return word
    return ""


def contents_among(names: Iterable[str]) -> list[str]:
    """
    Return the names of contents among names without a star, spaces around them removed.

    Those of ``DEFAULT_FACTS`` are none: their values are numbers.
    """
    stripped = (name.strip() for name in names)
    own = (name for name in stripped if name not in _DEFAULT_NAMES and not name.endswith("*"))
    return [name for name in own if content_word(name)]


class _TooLargeError(Exception):
    """A value is larger than a fact."""


class _Room:
    """Counts how much of a value was looked at."""

    __slots__ = ("chars", "items")

    def __init__(self) -> None:
        self.chars = MAX_FACT_CHARS
        self.items = _MAX_FACT_ITEMS

    def take(self, *, chars: int = 0, items: int = 0) -> None:
        self.chars -= chars
        self.items -= items
        if self.chars < 0 or self.items < 0:
            raise _TooLargeError


def without_content(key: str, value: Any, *, is_size_limited: bool = True) -> Any:
    """
    Return what of an attribute's value is no prompt or answer; ``LEFT_OUT`` if nothing is.

    A number, a boolean and None are returned as they are. A text passes if its key is none of a
    content (``content_word``), and if it is one line of at most 256 characters. A list passes whole
    or not at all; of a mapping, keys of contents are left out. Both may hold 16 values, also nested
    ones, with 256 characters in all, and so may a text that is JSON, which passes unchanged. Bytes
    and values of other types do not pass. Never raises; any thread.

    Args:
        key: The attribute's name.
        value: Its value, as OpenTelemetry has them; not changed.
        is_size_limited: Default True. False for an attribute that the settings name without a star:
            its key alone decides.
    """
    if not is_size_limited:
        is_number = value is None or isinstance(value, bool | int | float)
        return LEFT_OUT if content_word(key) and not is_number else value
    try:
        return _kept(key, value, _Room(), 0)
    except _TooLargeError:
        return LEFT_OUT


def _kept(key: str, value: Any, room: _Room, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if content_word(key):
        return LEFT_OUT
    if isinstance(value, str):
        return _kept_text(key, value, room, depth)
    if depth >= _MAX_DEPTH:
        return LEFT_OUT
    if isinstance(value, Mapping):
        room.take(items=len(value))
        nested = {name: _kept_item(key, name, item, room, depth) for name, item in value.items()}
        return {name: item for name, item in nested.items() if item is not LEFT_OUT} or LEFT_OUT
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        room.take(items=len(value))
        items = [_kept(key, item, room, depth + 1) for item in value]
        return value if items == list(value) else LEFT_OUT
    return LEFT_OUT


def _kept_item(key: str, name: Any, item: Any, room: _Room, depth: int) -> Any:
    if not isinstance(name, str):
        return LEFT_OUT
    room.take(chars=len(name))
    return _kept(f"{key}.{name}", item, room, depth + 1)


def _kept_text(key: str, text: str, room: _Room, depth: int) -> Any:
    room.take(chars=len(text))
    if "\n" in text or "\r" in text:
        return LEFT_OUT
    start = text.lstrip()[:2]
    if start not in _INLINE_JSON:
        return text
    try:
        parsed = pydantic_core.from_json(text)
    except ValueError:
        # Shortened by the SDK's limit on attributes, or of str(): what is in it is not known.
        return LEFT_OUT
    # Its characters are counted already.
    room.chars += len(text)
    return text if _kept(key, parsed, room, depth + 1) == parsed else LEFT_OUT
