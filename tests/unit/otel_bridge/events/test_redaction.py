"""Which attributes may leave the process, and how secrets are masked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_bridge.events import redaction
from otel_bridge.events.redaction import (
    MASK,
    MetaAllowlist,
    redact_fields,
    redact_meta,
    redact_name,
    redact_text,
)

KEY = "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT"
"""Thirty letters and digits as in the keys of providers; none is real."""
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
        f"sk-ant-api03-{KEY}-{KEY}AA",
        f"sk-lf-{KEY}",
        f"github_pat_11ABCDEFG0{KEY}_{KEY}",
        f"glpat-{KEY}",
        f"npm_{KEY}{KEY}",
        f"hf_{KEY}",
        f"gsk_{KEY}{KEY}",
        f"r8_{KEY}",
        f"xai-{KEY}{KEY}",
        f"pplx-{KEY}{KEY}",
        f"tvly-dev-{KEY}",
        f"nvapi-{KEY}",
        f"lsv2_pt_{KEY}",
        f"whsec_{KEY}",
        f"shpat_{KEY}",
        f"dop_v1_{KEY}{KEY}",
        f"hvs.{KEY}",
        f"ya29.{KEY}",
        f"GOCSPX-{KEY}",
        f"SG.{KEY}.{KEY}",
        f"SK{'0123456789abcdef' * 2}",
        f"xapp-1-A012-{KEY}",
        f"123456789:AA{KEY}{KEY}",
        f"pypi-AgEIcHlwaS5vcmc{KEY}",
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
        ("api_token=abcdef", f"api_token={MASK}"),
        ("{'api_token': 'abc123'}", f"{{'api_token': '{MASK}'}}"),
        ("csrf_token: abc12345", f"csrf_token: {MASK}"),
        ("Authorization: Bearer abcdefghijklmnop", f"Authorization: Bearer {MASK}"),
        ("Authorization: Basic dXNlcjpodW50ZXIyMjI=", f"Authorization: Basic {MASK}"),
        ("password=hunter2; host=db", f"password={MASK}; host=db"),
        ("api_key: abc123def", f"api_key: {MASK}"),
        ("amqp://user:p@ss@host/q", f"amqp://user:{MASK}@host/q"),
        ("amqp://user:pa/ss@host/q", f"amqp://user:{MASK}@host/q"),
        ("redis://:12345@db", f"redis://:{MASK}@db"),
        ("https://u:p@host/a?mail=b@c", f"https://u:{MASK}@host/a?mail=b@c"),
        (f"https://{KEY}@sentry.example.org/1", f"https://{MASK}@sentry.example.org/1"),
        ("https://h/a?token=abc&page=2", f"https://h/a?token={MASK}&page=2"),
        ("/a?page=2&access_token=abc#x", f"/a?page=2&access_token={MASK}#x"),
        (
            "https://sqs.eu-west-1.amazonaws.com/1/jobs?X-Amz-Date=20260101T000000Z"
            "&X-Amz-Credential=AKIA%2F20260101&X-Amz-Signature=0f1e&X-Amz-Expires=900",
            "https://sqs.eu-west-1.amazonaws.com/1/jobs?X-Amz-Date=20260101T000000Z"
            f"&X-Amz-Credential={MASK}&X-Amz-Signature={MASK}&X-Amz-Expires=900",
        ),
        (
            "https://a.blob.core.windows.net/c?sv=2024-11-04&sig=a%2Bb%3D&se=2026",
            f"https://a.blob.core.windows.net/c?sv=2024-11-04&sig={MASK}&se=2026",
        ),
        (
            "AccountName=a;AccountKey=Zm9vYmFy/w==;EndpointSuffix=core",
            f"AccountName=a;AccountKey={MASK};EndpointSuffix=core",
        ),
        (
            f"https://hooks.slack.com/services/T0000/B0000/{KEY}",
            f"https://hooks.slack.com/services/{MASK}",
        ),
        (
            f"https://discord.com/api/webhooks/123456/{KEY}",
            f"https://discord.com/api/webhooks/123456/{MASK}",
        ),
        ("/a?sig=abc", f"/a?sig={MASK}"),
        ("a=1&sig=abc", f"a=1&sig={MASK}"),
        ("a=1;sig=abc", f"a=1;sig={MASK}"),
        ("using Bearer abcdefghijklmnop here", f"using Bearer {MASK} here"),
        ("xoxb-0123456789", MASK),
        ("eyJhbGciOiJIUzI1NiJ9.abcd", MASK),
        ("eyJhbGciOiJIUzI1NiJ9.abc", "eyJhbGciOiJIUzI1NiJ9.abc"),
        ("Cookie: session=abc; theme=dark", f"Cookie: {MASK}"),
        (f"authorization: token {KEY}", f"authorization: token {MASK}"),
        ('{"password": "two words", "a": 1}', f'{{"password": "{MASK}", "a": 1}}'),
        ("{'api_key': 'it is', 'a': 1}", f"{{'api_key': '{MASK}', 'a': 1}}"),
        ('"{\\"db_password\\": \\"abcd\\"}"', f'"{{\\"db_password\\": \\"{MASK}\\"}}"'),
        ("DB_PASSWORD=hunter2", f"DB_PASSWORD={MASK}"),
        ("Server=a;Uid=b;Pwd=hunter2;", f"Server=a;Uid=b;Pwd={MASK};"),
        (f"token: {KEY}", f"token: {MASK}"),
        (f"aws_secret_access_key = {KEY}", f"aws_secret_access_key = {MASK}"),
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
        " " * 20,
        "http://[::1]:8080/a@b",
        "kafka://one:9092,two:9092/topic@v1",
        "mail to a@b.example about https://example.org/x",
        "https://example.org/search?q=a&page=2&key=name&sort=asc",
        "SyntaxError: Unexpected token: }",
        "max_tokens: 4096, token_count=128",
        "secretary: Anna",
        "PWD=/home/user",
        "sk-learn-gradient-boosting-classifier",
        "task-risk-analysis-of-schools-in-georgia",
        "npm_config_user_agent_string_is_long",
        "hf_transformers_pipeline_for_summaries",
        "pypi-attestations-are-checked-here",
        "xai-explainability-methods-for-vision",
        "glpat-is-how-tokens-begin",
        "SG.1.2",
        "eyJhbGciOiJIUzI1NiJ9 alone is only a header",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "chatcmpl-AFz2gRHnyHYvIfoOSM4t8PPYFJZzK",
        "resp_0f1e2d3c4b5a69780f1e2d3c4b5a69780f1e2d3c4b5a6978",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        "cookie: missing",
        "the bearer of this letter, and a basic misunderstanding of authorization: none",
        "-----BEGIN CERTIFICATE-----",
        "key: value; access: denied; pass: 12 of 14",
        "12:34:56 worker host-a:4711 took nexus:tasks:high_priority",
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


@pytest.mark.parametrize("field", ["task_type", "phase", "queue", "worker_id", "name"])
def test_names_are_masked_as_values_are(field: str) -> None:
    """A secret in a name by which work is grouped is masked; the rest of it still says which."""
    fields: dict[str, Any] = {field: "amqp://user:pw@host/q"}
    redact_fields(fields)
    redact_fields(fields)
    assert fields == {field: f"amqp://user:{MASK}@host/q"}


def test_jobs_and_the_depth_of_their_queue_meet_under_the_masked_name() -> None:
    """A queue has one name in events of jobs and of depths; depths shown alike are added."""
    name, other = "amqp://user:old@host/q", "amqp://user:new@host/q"
    job: dict[str, Any] = {"queue": name}
    depths: dict[str, Any] = {
        "queue": {name: 3, other: 4, "plain": 5},
        "counts": {name: 3, other: 4, "plain": 5},
    }
    redact_fields(job)
    redact_fields(depths)
    shown = f"amqp://user:{MASK}@host/q"
    assert job["queue"] == shown
    assert depths == {"queue": {shown: 7, "plain": 5}, "counts": {shown: 7, "plain": 5}}


def test_ids_and_numbers_are_not_names() -> None:
    """A number as worker id stays a number, and ids stay what jobs are looked up by."""
    fields: dict[str, Any] = {
        "worker_id": 3,
        "task_id": JWT,
        "parent_task_id": JWT,
        "run_id": JWT,
        "project_id": JWT,
        "queue": {"a": {"depth": 1}},
        "counts": {1: 2},
    }
    expected = dict(fields)
    redact_fields(fields)
    assert fields == expected


def test_keys_of_meta_are_masked() -> None:
    """A secret in a key of ``meta`` is masked too."""
    assert redact_meta({f"for {JWT}": 1}) == {f"for {MASK}": 1}


def test_a_secret_across_the_longest_length_is_masked() -> None:
    """The part of a secret before the 1,024th character is not shown either."""
    text = "x " * 500 + f"sk-proj-{KEY}{KEY}"
    assert redact_meta({"a": text}) == {"a": "x " * 500 + MASK}
    assert KEY[:8] not in redact_meta({"a": "x " * 508 + f"sk-proj-{KEY}"})["a"]
    key = "-----BEGIN PRIVATE KEY-----".ljust(2048, "a")
    assert redact_meta({"a": key, "b": key + "a"}) == {"a": MASK, "b": f"{MASK}…"}


def test_the_shortest_text_that_is_searched() -> None:
    """Eight characters can hold a secret, as a name and as a value."""
    assert redact_name("pwd=abcd") == f"pwd={MASK}"
    assert redact_meta({"a": "pwd=abcd"}) == {"a": f"pwd={MASK}"}


@pytest.mark.parametrize(
    ("cache", "look_up", "found"),
    [
        (redaction._shown_names, redact_name, "password=12"),
        (redaction._secret_keys, redaction._is_secret_key, True),
    ],
    ids=["names", "keys"],
)
def test_what_is_remembered_is_bounded(
    cache: dict[str, Any], look_up: Callable[[str], Any], found: Any
) -> None:
    """4,096 names of at most 256 characters are remembered; one more, and all are forgotten."""
    cache.clear()
    look_up("password=12")
    look_up("x" * 256)
    look_up("x" * 257)
    assert (cache["password=12"], set(cache)) == (found, {"password=12", "x" * 256})
    for number in range(4094):
        look_up(f"name {number}")
    assert len(cache) == 4096
    look_up("one more")
    assert set(cache) == {"one more"}


def test_counts_that_are_no_mapping_stay_as_they_are() -> None:
    """What is no mapping by mistake is neither changed nor an error here."""
    fields: dict[str, Any] = {"counts": [1]}
    redact_fields(fields)
    assert fields == {"counts": [1]}


def test_more_names_than_are_remembered() -> None:
    """More different names than are remembered, and longer ones, change no result."""
    for number in range(5000):
        assert redact_name(f"queue {number}") == f"queue {number}"
        assert redact_meta({f"password{number}": 1}) == {f"password{number}": MASK}
    long = "x" * 300
    assert redact_name(f"{long} {JWT}") == f"{long} {MASK}"
    assert redact_meta({f"{long}_password": 1}) == {f"{long}_password": MASK}


@given(
    st.text(max_size=40),
    st.sampled_from(
        [
            JWT,
            f"sk-ant-{KEY}",
            f"ghp_{KEY}",
            "redis://u:hunter2@db",
            "password=hunter2",
            f"hf_{KEY}",
        ]
    ),
    st.text(max_size=40),
)
def test_masking_twice_changes_nothing_more(before: str, secret: str, after: str) -> None:
    """Masked text stays as it is: collectors mask again what external publishers masked."""
    masked = redact_text(f"{before} {secret} {after}")
    assert redact_text(masked) == masked
    assert KEY not in masked
    assert "hunter2" not in masked


def test_no_text_makes_the_search_slow() -> None:
    """Each unbounded repetition ends its alternative, or what follows it cannot fail."""
    found = []
    for pattern in (redaction._IN_URL, redaction._BY_FORM, redaction._BY_NAME):
        bare = re.sub(r"\[(?:\\.|[^\]\\])+\]|\\[sSwWd]", "C", pattern.pattern)
        assert re.search(r"\)[*+]|\)\{\d+,\}|[^CW(?][*+]|[^C]\{\d+,\}", bare) is None
        found += [bare[match.end() :] for match in re.finditer(r"C(?:[*+]|\{\d+,\})", bare)]
    assert len(found) > 30
    cannot_fail = ("|", ")", "(?:\\.C*){0,2})", "?(?:-----END ")
    assert [rest for rest in found if rest and not rest.startswith(cannot_fail)] == []


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


@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "https://",
                    "redis://",
                    "user:",
                    "@host",
                    "?",
                    "&",
                    ";",
                    "=",
                    ":",
                    " ",
                    "\n",
                    "/",
                ),
                *(
                    "token",
                    "\u017fecret",
                    "pa\u017f\u017fword",
                    "\u017fig",
                    "api_\u212aey",
                    "X-Amz-Credential",
                    "cooKie",
                ),
                *(
                    "sk-",
                    "\u017fk-",
                    "ghp_",
                    "xoxb-",
                    "AKIA",
                    "SK",
                    "SG.",
                    "eyJ",
                    "discord",
                    "hooks.slack.com/",
                ),
                *(
                    "abc123def456ghi789jkl",
                    "0123456789abcdef" * 2,
                    "Bearer ",
                    "authorization",
                    "pwd",
                ),
                *(
                    "-----BEGIN PRIVATE KEY-----",
                    "discord.com/api/webhooks/1/",
                    "1234567890:AA",
                    KEY,
                    JWT,
                ),
            ]
        )
        | st.text(max_size=5),
        max_size=12,
    ).map("".join)
)
def test_what_cannot_hold_a_secret_is_found_without_a_search(text: str) -> None:
    """The texts that are looked for first change nothing: the searches alone give the same."""
    expected = text
    for search in (redaction._IN_URL, redaction._BY_FORM, redaction._BY_NAME):
        expected = search.sub(redaction._mask, expected)
    assert redact_text(text) == expected
