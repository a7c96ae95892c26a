"""Which attributes may leave the process, and how secrets are masked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.events.redaction import (
    MASK,
    MetaAllowlist,
    redact_fields,
    redact_meta,
    redact_text,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    "secret",
    [
        JWT,
        "sk-proj-abcdefghijklmnop1234",
        "sk_live_abcdefghijklmnop1234",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "xoxb-123456789012-abcdefghijkl",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_secrets_are_masked_wherever_they_stand(secret: str) -> None:
    """A known form of secret is masked in the middle of a sentence, and the sentence stays."""
    assert redact_text(f"calling with {secret} failed") == f"calling with {MASK} failed"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://user:hunter2@db:6379/0", f"redis://user:{MASK}@db:6379/0"),
        ("redis://:hunter2@db", f"redis://:{MASK}@db"),
        ("Authorization: Bearer abcdefghijklmnop", f"Authorization: Bearer {MASK}"),
        ("Authorization: Basic dXNlcjpodW50ZXIyMjI=", f"Authorization: Basic {MASK}"),
        ("password=hunter2; host=db", f"password={MASK}; host=db"),
        ("api_key: abc123def", f"api_key: {MASK}"),
    ],
)
def test_the_text_around_a_secret_stays(text: str, expected: str) -> None:
    """Only the secret part is masked, so that the line can still be understood."""
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ValueError: page has no address",
        "https://example.org:8080/a@b",
        "basic research",
        "6ba529d4-1c2f-4c51-9a3e-0b8f5f7f9d11",
        "risk-assessment-of-schools",
        "the secret garden",
    ],
)
def test_plain_text_is_left_alone(text: str) -> None:
    """Text that only resembles a secret is not masked."""
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "http.request.header.Cookie",
        "db_password",
        "X-Api-Key",
        "apikey",
        "client_secret",
        "accessToken",
        "token",
        "refresh_token",
        "sentry.dsn",
        "private_key",
    ],
)
def test_secret_keys_are_masked_at_any_depth(key: str) -> None:
    """The value of a key that looks like a secret's name never leaves, whatever its type."""
    assert redact_meta({"a": {"b": [{key: {"x": 1}}]}}) == {"a": {"b": [{key: MASK}]}}


@pytest.mark.parametrize("key", ["title", "input_tokens", "tokens", "author", "keyword", "monkey"])
def test_plain_keys_are_kept(key: str) -> None:
    """A number of tokens or the name of an author is not masked."""
    assert redact_meta({key: "x"}) == {key: "x"}


def test_long_values_and_many_keys_are_bounded() -> None:
    """A value has at most 1,024 characters and a mapping 64 keys."""
    redacted = redact_meta({"long": "x" * 5000, **{f"k{n}": n for n in range(100)}})
    assert len(redacted) == 64
    assert len(redacted["long"]) == 1024


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=9), JSON), st.sampled_from(["x", "a.b", "n"]))
def test_a_planted_secret_never_survives(meta: dict[str, Any], key: str) -> None:
    """Wherever a token is in ``meta``, the result does not contain it."""
    redacted = redact_meta(
        {key: [JWT, {"deep": f"at {JWT}"}], **{f"m{k}": v for k, v in meta.items()}}
    )
    assert JWT not in repr(redacted)


def test_nothing_is_picked_by_default() -> None:
    """Without a list no attribute enters ``meta``."""
    assert MetaAllowlist().pick({"http.url": "x", "a": 1}) == {}


def test_named_attributes_are_picked() -> None:
    """A name matches exactly; a name with a star at its end matches as a prefix."""
    allowlist = MetaAllowlist(["agent.*", " http.route ", ""])
    attributes = {"agent.name": "a", "agent.id": 1, "http.route": "/", "http.url": "x"}
    assert allowlist.pick(attributes) == {"agent.name": "a", "agent.id": 1, "http.route": "/"}


def test_prompts_stay_out_unless_switched_on() -> None:
    """Even a prefix passes no prompt or answer of a language model, unless they are enabled."""
    attributes = {
        "gen_ai.request.model": "m",
        "gen_ai.input.messages": "[...]",
        "gen_ai.prompt.0.content": "hi",
        "llm.input_messages.0.message.content": "hi",
        "input.value": "hi",
    }
    names = ["gen_ai.*", "llm.*", "input.value"]
    assert MetaAllowlist(names).pick(attributes) == {"gen_ai.request.model": "m"}
    assert MetaAllowlist(names, with_prompts=True).pick(attributes) == attributes


def test_the_free_texts_of_an_event_are_masked() -> None:
    """Message, error and meta are masked; ids and numbers stay as they are."""
    fields = {"task_id": JWT, "message": f"a {JWT}", "error": f"b {JWT}", "meta": {"password": "x"}}
    redact_fields(fields)
    assert fields == {
        "task_id": JWT,
        "message": f"a {MASK}",
        "error": f"b {MASK}",
        "meta": {"password": MASK},
    }
    empty: dict[str, Any] = {}
    redact_fields(empty)
    assert empty == {}


def test_a_name_may_be_shorter_than_its_prefix() -> None:
    """Of ``agent.*`` every key that begins with ``agent.`` passes, and no other."""
    allowlist = MetaAllowlist(["agent.*"])
    keys = ["agent.", "agent.id", "agent", "agentic", "a", "agent.*"]
    assert list(allowlist.pick(dict.fromkeys(keys, 1))) == ["agent.", "agent.id", "agent.*"]
    assert MetaAllowlist(["a"]).pick({"a": 1, "ab": 2}) == {"a": 1}


def test_at_most_64_attributes_are_picked() -> None:
    """A star lets 64 attributes through, in the order of the span."""
    picked = MetaAllowlist(["*"]).pick({f"k{n}": n for n in range(100)})
    assert list(picked.values()) == list(range(64))


def test_a_text_of_the_longest_length_is_kept() -> None:
    """1,024 characters are kept; of one more the end is replaced by an ellipsis."""
    texts = redact_meta({"a": "x " * 512, "b": "x " * 512 + "y"})
    assert texts == {"a": "x " * 512, "b": ("x " * 512)[:1023] + "…"}


@pytest.mark.parametrize("value", [None, True, 7, 0.5])
def test_numbers_stay_numbers(value: Any) -> None:
    """Numbers, booleans and null keep their type, in mappings and in lists."""
    assert redact_meta({"a": value, "b": [value]}) == {"a": value, "b": [value]}


def test_other_values_become_text() -> None:
    """A value that JSON does not know becomes text, and a secret in it is masked."""
    assert redact_meta({"a": 1j, "b": Opaque()}) == {"a": "1j", "b": f"at {MASK}"}


class Opaque:
    """Something with a secret in its text."""

    def __str__(self) -> str:
        return f"at {JWT}"


def test_nesting_ends_after_eight_levels() -> None:
    """The eighth level of mappings or lists is kept, the ninth is an ellipsis."""
    mappings: Any = 1
    lists: Any = 1
    for _ in range(7):
        mappings, lists = {"a": mappings}, [lists]
    assert redact_meta({"m": mappings, "l": lists}) == {"m": mappings, "l": lists}
    text = str(redact_meta({"m": {"a": mappings}, "l": [lists]}))
    assert (
        text
        == "{'m': " + "{'a': " * 7 + "'…'" + "}" * 7 + ", 'l': " + "[" * 7 + "'…'" + "]" * 7 + "}"
    )


def test_what_is_no_mapping_is_no_meta() -> None:
    """A ``meta`` that is a text by mistake becomes an empty one."""
    assert redact_meta("text") == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["message", "error", "name", "reason"])
def test_every_free_text_is_masked(name: str) -> None:
    """Each field that holds a sentence or a user's name for something is masked."""
    fields = {name: f"a {JWT}"}
    redact_fields(fields)
    assert fields == {name: f"a {MASK}"}
