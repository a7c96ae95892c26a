"""The rule that keeps prompts and answers out, on the keys that instrumentations really set."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.events import content
from otel_bridge.events.content import (
    DEFAULT_FACTS,
    LEFT_OUT,
    MAX_FACT_CHARS,
    content_word,
    contents_among,
    without_content,
)
from otel_bridge.events.redaction import MetaAllowlist

ROOT: Final = Path(__file__).parents[4]
SOURCES: Final[list[dict[str, Any]]] = tomllib.loads(
    (ROOT / "tests/fixtures/attribute_keys.toml").read_text(encoding="utf-8")
)["source"]
CONTENT: Final = sorted({key for source in SOURCES for key in source.get("content", "").split()})
NUMBERS: Final = sorted({key for source in SOURCES for key in source.get("numbers", "").split()})
METADATA: Final[dict[str, Any]] = {
    key: value for source in SOURCES for key, value in source.get("metadata", {}).items()
}

LEFT_OUT_FACTS: Final = {
    "agentops.session.end_state": "the state of an agent or a graph is all that was said",
    "crewai.task.agent": "a task is what an agent was told to do",
    "db.query.summary": "a summary may be one of a conversation",
    "gen_ai.agent.hosted.image": "an image may be a picture",
    "gen_ai.request.reasoning.summary": "a summary may be one of a conversation",
    "gen_ai.request.reasoning_summary": "a summary may be one of a conversation",
    "gen_ai.response.object": "ai.response.object is the answer",
    "logfire.msg_template": "a template may be one of a prompt",
    "pydantic_ai.response.state": "the state of an agent or a graph is all that was said",
}
"""Facts that the rule takes for contents, because their words also name contents."""

SPOKEN: Final[list[Any]] = [
    "hi",
    ["hi"],
    ("hi",),
    {"text": "hi"},
    {"name": "Ada"},
    [{"role": "user", "parts": ["hi"]}],
    '{"city": "Paris"}',
    b"hi",
    [15339, 1917],
]


@pytest.mark.parametrize("value", SPOKEN, ids=str)
def test_no_content_key_passes_by_a_star(value: Any) -> None:
    """What was said stays out in any form under each of the content keys, however short it is."""
    assert len(CONTENT) > 300
    assert MetaAllowlist(["*"]).pick(dict.fromkeys(CONTENT, value)) == {}


def test_no_content_key_passes_by_its_name() -> None:
    """Naming a content key without a star is not enough either."""
    assert MetaAllowlist(CONTENT).pick(dict.fromkeys(CONTENT, "hi")) == {}


def test_short_facts_pass_by_a_star() -> None:
    """Each typical value of a metadata key passes unchanged, but for those listed with a reason."""
    assert len(METADATA) > 400
    stopped = {
        key for key, value in METADATA.items() if MetaAllowlist(["*"]).pick({key: value}) == {}
    }
    assert stopped == set(LEFT_OUT_FACTS)
    for key in METADATA.keys() - stopped:
        assert without_content(key, METADATA[key]) == METADATA[key]


@pytest.mark.parametrize("value", [0, 7, 0.5, True, False, None])
def test_numbers_always_pass(value: float | bool | None) -> None:
    """Numbers, booleans and null pass under every key, even one of a content."""
    keys = [*NUMBERS, *CONTENT, *METADATA]
    for key in keys:
        assert without_content(key, value) is value


NEUTRAL: Final = st.from_regex(r"[a-z]{0,3}[0-9]{0,3}", fullmatch=True).filter(
    lambda word: content_word(f"{word}.prompt.{word}") == "prompt"
)
AFTER: Final = st.lists(
    st.sampled_from(["0", "17", "content", "text", "value", "parts", "body", "_x", "result"])
    | NEUTRAL,
    max_size=3,
)
SEPARATOR: Final = st.sampled_from([".", "_", "-", ":", "/"])


@given(st.sampled_from(CONTENT), st.lists(NEUTRAL, max_size=3), AFTER, SEPARATOR)
def test_no_prefix_suffix_or_index_makes_a_content_a_fact(
    key: str, before: list[str], after: list[str], separator: str
) -> None:
    """A content key stays one inside of a longer key, whatever separates its parts."""
    longer = separator.join([*before, key, *after])
    assert without_content(longer, "hi") is LEFT_OUT


@given(st.sampled_from(CONTENT), st.integers(1, 4), st.booleans())
def test_no_nesting_lets_a_content_through(key: str, depth: int, is_listed: bool) -> None:
    """In mappings and lists, and under a key that is a fact, contents are left out."""
    value: Any = {key: "hi", "id": "call_1"}
    for _ in range(depth):
        value = {"x": [value] if is_listed else value}
    picked = MetaAllowlist(["*"]).pick({"app": value})
    assert "hi" not in repr(picked)
    assert is_listed or "call_1" in repr(picked)


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("tool_response", "response"),
        ("ai.toolCall.args", "args"),
        ("mlflow.spanInputs", "inputs"),
        ("SYSTEM_PROMPT", "prompt"),
        ("systemprompt", "systemprompt"),
        ("langgraph.finalAnswer", "answer"),
        ("tool.arguments.name", "arguments"),
        ("input.name", "input"),
        ("input", "input"),
        ("gen_ai.prompt.0.content", "content"),
        ("gen_ai.prompt.name", ""),
        ("gen_ai.output.type", ""),
        ("input.mime_type", ""),
        ("app.customer", ""),
        ("", ""),
        ("x" * 257, "x" * 256),
    ],
)
def test_the_last_known_word_decides(key: str, word: str) -> None:
    """A key is one of a content by its last word that says so, and by none if that says a fact."""
    content._find_content_word.cache_clear()
    assert content_word(key) == word
    assert content_word(key) == word


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ("x" * MAX_FACT_CHARS, True),
        ("x" * (MAX_FACT_CHARS + 1), False),
        ("two\nlines", False),
        ("two\rlines", False),
        (["x"] * 16, True),
        (["x"] * 17, False),
        ([0.1] * 17, False),
        (["x" * 200, "x" * 200], False),
        ([["x"]] * 8, True),
        ([["x"]] * 9, False),
        ('{"input_tokens": 10, "model": "gpt-4o"}', True),
        ('[1, {"id": "a"}]', True),
        ('{"messages": "hi"}', False),
        ('[{"role": "user", "content": "hi"}]', False),
        ('[{"role": "user", "content": "hi…', False),
        ("{'role': 'user'}", False),
        ("{name} of [12]", True),
        ("[::1]:8080", True),
        (b"x", False),
        ({1: "x"}, False),
        ({}, False),
        ({"x" * 256: 1}, True),
        ({"x" * 257: 1}, False),
        ({"x" * 128: 1, "y" * 129: 1}, False),
        ([], True),
        (1j, False),
    ],
    ids=str,
)
def test_only_what_is_small_passes(value: Any, passes: bool) -> None:
    """One line of 256 characters, 16 values in all; JSON in a text counts as what it holds."""
    assert without_content("app.customer", value) == (value if passes else LEFT_OUT)


def test_values_nested_too_deep_stay_out() -> None:
    """What is nested in more than eight lists or mappings is not looked at, and stays out."""
    items: Any = "x"
    mappings: Any = "x"
    for _ in range(8):
        items, mappings = [items], {"a": mappings}
    assert without_content("app", items) == items
    assert without_content("app", [items]) is LEFT_OUT
    assert without_content("app", mappings) == mappings
    assert without_content("app", {"a": mappings}) is LEFT_OUT


def test_the_names_of_contents_among_settings() -> None:
    """Spaces do not count, and a star is no name."""
    names = [" app.prompt ", "app.id", "prompt*", "app.result", ""]
    assert contents_among(names) == ["app.prompt", "app.result"]


def test_what_settings_name_is_not_limited_in_size() -> None:
    """Under a name without a star the key alone decides: the user knows the value."""
    long = "x" * 1000
    attributes = {"app.notice": long, "app.prompt": "hi", "app.prompt.length": 2}
    picked = MetaAllowlist(list(attributes)).pick(attributes)
    assert picked == {"app.notice": long, "app.prompt.length": 2}
    assert MetaAllowlist(["app.*"]).pick(attributes) == {"app.prompt.length": 2}


def test_more_keys_than_are_remembered() -> None:
    """More different keys than are remembered change no result."""
    for number in range(5000):
        assert content_word(f"prompt.x{number}y") == "prompt"
    assert content_word("prompt.x1y") == "prompt"


def test_the_default_facts_are_facts() -> None:
    """Model, tokens, route and status pass; a text in the place of a number does not."""
    default = MetaAllowlist(DEFAULT_FACTS.split(","))
    facts = {"gen_ai.request.model": "small", "llm.token_count.prompt": 12, "http.route": "/a/{id}"}
    assert default.pick({**facts, "url.full": "https://a.test/a/7", "db.statement": "x"}) == facts
    assert default.pick({"llm.token_count.prompt": "Tell me a secret."}) == {}
    assert contents_among(DEFAULT_FACTS.split(",")) == []
