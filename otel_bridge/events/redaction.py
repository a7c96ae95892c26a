"""
What may leave the process: the attributes that may enter ``meta``, and the masking of secrets.

Attributes pass by an allowlist, because a list of what is secret is never complete: only attributes
under ``nexus.meta.`` and those named in ``MONITORING_META_ATTRIBUTES`` enter ``meta``: by default
short facts, such as the name of a model (``content.DEFAULT_FACTS``). Of these,
values are masked when the key or the value looks like a secret. Prompts and answers of language
models are left out unless ``MONITORING_PROMPTS_ENABLED`` is true; ``content`` has the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from otel_bridge.events.content import LEFT_OUT, without_content

__all__ = [
    "MASK",
    "MetaAllowlist",
    "redact_fields",
    "redact_meta",
    "redact_name",
    "redact_text",
]

MASK: Final = "[redacted]"
"""The text that replaces a secret."""

MAX_META_KEYS: Final = 64
"""Bound on the keys of ``meta``, and on the items of each mapping or list in it."""
MAX_TEXT_CHARS: Final = 1024
"""Bound on each text in ``meta``; the size limit of the event applies in addition."""
_MAX_DEPTH: Final = 8
_MIN_SECRET_CHARS: Final = 8
"""Shorter texts are not searched: they are too short to hold a secret."""

_SECRET_KEY: Final = re.compile(
    r"authori[sz]ation|cookie|passw(?:or)?d|passphrase|secret|credential"
    r"|(?:private|api|access|account|signing|encryption)[_.-]?key|[_.-](?:amz|goog)[_.-]signature$"
    r"|(?:^|[_.-])(?:auth|dsn|pwd)(?:$|[_.-])"
    r"|(?:^|[_.-])(?:access|refresh|id|auth|bearer|session|csrf|api)?[_.-]?token$",
    re.IGNORECASE,
)
"""``token`` matches at the end of a key only, because ``usage.input_tokens`` is a useful number."""

_IN_URL: Final = re.compile(
    r"(?P<user>://[^\s/:@\[]{0,128}:)(?!\d{1,5}(?:[/?#,;\s]|$))"  # no port, so a password follows
    r"(?:[^\s/\"'<>]{1,512}|[^\s\"'<>]{1,128}?)(?=@)"
    r"|(?P<no_user>://)[A-Za-z0-9_-]{20,256}(?=@)"
    r"|(?P<query>[?&;](?i:(?:(?:access|refresh|id|auth|api|session|security|sas|bearer|csrf|private"
    r"|user|bot|app|deploy|job|client)[_-]?)?token|x-(?:amz|goog|oss|ms)-(?:signature|credential"
    r"|security-token)|sig|signature|awsaccesskeyid|(?:api|access|subscription)[_-]?key|jwt|auth"
    r"|passw(?:or)?d|pwd|(?:client[_-]?)?secret)=)[^\s&;#\"'<>]+"
)
"""Passwords, long user names, and parameters that give access."""
_QUERY_NAMES: Final = tuple(
    ["token", "sig", "key", "jwt", "auth", "passw", "pwd", "secret", "credential"]
)
"""One of these, in lower case, is in each parameter that ``_IN_URL`` finds."""

_BY_FORM: Final = re.compile(
    r"\b(?:"
    r"(?P<jwt>eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2})"  # JSON Web Token
    r"|sk[-_](?=[A-Za-z_-]{0,80}\d)[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, Stripe
    r"|pk[-_](?=[A-Za-z_-]{0,80}\d)[A-Za-z0-9_-]{16,}"
    r"|rk[-_](?=[A-Za-z_-]{0,80}\d)[A-Za-z0-9_-]{16,}"
    r"|A[KS]IA[A-Z0-9]{16}\b"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    r"|gl(?:pat|ptt|dt|rt|cbt|ft)-[A-Za-z0-9_-]{20,}"  # GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"  # Slack
    r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}"  # Google
    r"|npm_[A-Za-z0-9]{24,}|hf_[A-Za-z0-9]{24,}|gsk_[A-Za-z0-9]{24,}|r8_[A-Za-z0-9]{24,}"
    r"|whsec_[A-Za-z0-9]{24,}|dop_v1_[A-Za-z0-9]{24,}|shp(?:at|ca|pa|ss)_[A-Za-z0-9]{24,}"
    r"|lsv2_[ps]t_[A-Za-z0-9]{24,}"  # LangSmith
    r"|xai-(?=[A-Za-z_-]{0,80}\d)[A-Za-z0-9_-]{24,}|pplx-[A-Za-z0-9]{24,}"
    r"|tvly-(?=[A-Za-z_-]{0,80}\d)[A-Za-z0-9_-]{24,}|nvapi-[A-Za-z0-9_-]{24,}"
    r"|pypi-[A-Za-z0-9_]{24,}"
    r"|hv[sbr]\.[A-Za-z0-9_-]{20,}"  # Vault
    r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}|SK[0-9a-f]{32}\b"  # SendGrid, Twilio
    r"|\d{8,10}:AA[A-Za-z0-9_-]{32,}"  # Telegram
    r"|(?P<hook>hooks\.slack\.com/[a-z]{1,16}/|discord(?:app)?\.com/api/webhooks/\d{1,24}/"
    r"|webhook\.office\.com/webhookb2/)[A-Za-z0-9@/_-]{8,}"
    r")"
    r"|-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,32}PRIVATE KEY-----|\Z)"
)
"""The keys, tokens and webhooks of providers. A digit distinguishes most of them from words."""

_KEY_MARKS: Final = (
    *("eyJ", "sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "AKIA", "ASIA", "ghp_", "gho_", "ghu_"),
    *("ghs_", "ghr_", "github_pat_", "glpat-", "glptt-", "gldt-", "glrt-", "glcbt-", "glft-"),
    *("xox", "xapp-", "AIza", "ya29.", "GOCSPX-", "npm_", "hf_", "gsk_", "r8_", "whsec_"),
    *("dop_v1_", "shp", "lsv2_", "xai-", "pplx-", "tvly-", "nvapi-", "pypi-", "hvs.", "hvb."),
    *("hvr.", "SG.", "SK", ":AA", "hooks.slack.com/", "discord", "webhook.office.com/"),
)
"""One of these is in each text in which ``_BY_FORM`` finds something but a private key: looking for
all of them takes a tenth of the search."""

_BY_NAME: Final = re.compile(
    r"(?P<header>\b[Bb](?i:earer\s{1,8})"
    r"|\b[Aa](?i:uthorization\W{1,4}(?:basic|token|apikey|digest)\s{1,8}))"
    r"[A-Za-z0-9._~+/=-]{16,}"
    r"|(?P<cookie>\b[Cc](?i:ookie)\s{0,4}:\s{0,4}(?=[^\s=;]{1,64}=))[^\r\n]+"
    r"|(?P<name>(?:[Pp](?i:assw(?:or)?d|assphrase|rivate[_-]?key)|(?<![A-Za-z0-9])[Pp](?i:wd)"
    r"(?!\s{0,4}[=:]\s{0,4}/)|[Ss](?i:ecret(?:[_-]?access)?(?:[_-]?key)?|hared[_-]?access[_-]?(?:key"
    r"|signature)|ession[_-]?token)|[Rr](?i:efresh[_-]?token)"
    r"|[Aa](?i:pi[_-]?(?:key|token)|ccount[_-]?key|ccess[_-]?token|uth[_-]?token)"
    r"|[BbCc](?i:ot[_-]token|srf[_-]?token))"
    r"\\{0,2}[\"']?\s{0,8}[=:]\s{0,8}\\{0,2}[\"']?)"
    r"(?!\[redacted\])(?:(?<=\")[^\"\\]{3,}|(?<=')[^'\\]{3,}|[^\s,;&\"']{3,})"
    r"|(?P<token>[Tt](?i:oken)[\"']?\s{0,8}[=:]\s{0,8}[\"']?)(?=[A-Za-z._~+/=-]{0,80}\d)"
    r"[A-Za-z0-9._~+/=-]{20,}"
)
"""
What follows a name that says so, also in JSON and in the text of a dict.

In all three patterns each repetition is bounded, or what follows it cannot fail, so that the time
grows with the length of the text alone: of 64 KiB made to be slow the worst takes 60 ms. A
letter in both cases before ``(?i:`` lets the search skip other letters: twice as fast.
"""
_NAMES: Final = ("pass", "secret", "key", "token", "pwd", "cookie", "bearer", "access", "authoriz")
"""One of these, in lower case, is in each text in which ``_BY_NAME`` finds something."""
_MIN_KEY_CHARS: Final = 15
"""Keys and tokens are words at least as long as this."""
_MIN_CLAIMS_CHARS: Final = 4
"""Of the second part of a JSON Web Token."""

_MAX_CACHED: Final = 4096
_MAX_CACHED_CHARS: Final = 256
_shown_names: Final[dict[str, str]] = {}
"""The newest names as they are shown: jobs of one type and queue repeat them. 0.05 us each."""
_secret_keys: Final[dict[str, bool]] = {}
_NAME_FIELDS: Final = ("task_type", "phase", "queue", "worker_id", "name", "reason")


class MetaAllowlist:
    """
    Picks the span attributes that may enter ``meta``, the free part of an event; default: none.

    Immutable; its method may be called from any thread and never raises. At most 64 attributes of a
    span pass, the first ones; the others are left out.

    Args:
        names: Attribute names as text, spaces around them ignored, in any number. A name that ends
            in ``*`` is a prefix.
        with_prompts: Whether a name may also pass prompts and answers of language models; default
            False: of a key that names a content only numbers and booleans pass, and what a star
            picks must be as small as a fact (``events.content``).
    """

    def __init__(self, names: Iterable[str] = (), *, with_prompts: bool = False) -> None:
        names = [name.strip() for name in names if name.strip()]
        self._exact = frozenset(name for name in names if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
        self._with_prompts = with_prompts

    def pick(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return the attributes that may pass, at most ``MAX_META_KEYS`` (64).

        Values are unchanged, but for mappings that a star picks: these lose their keys of contents.
        """
        if not self._prefixes and self._exact.isdisjoint(attributes):
            return {}
        picked: dict[str, Any] = {}
        for key, value in attributes.items():
            is_exact = key in self._exact
            if not (is_exact or key.startswith(self._prefixes)):
                continue
            kept = value
            if not self._with_prompts:
                kept = without_content(key, value, is_size_limited=not is_exact)
                if kept is LEFT_OUT:
                    continue
            picked[key] = kept
            if len(picked) >= MAX_META_KEYS:
                break
        return picked


def redact_text(text: str) -> str:
    """
    Return a text in which everything that looks like a secret is replaced by ``[redacted]``.

    Recognised are passwords in URLs and in ``password=...``, signatures and tokens in a URL's
    query, bearer and basic credentials, JSON Web Tokens, private keys in PEM, and the API keys and
    webhooks of common providers. Other secrets stay. Never raises for text; its length is not
    bounded here, and the time grows with it: about 15 ms for 64 KiB of prose.
    """
    # Each search costs about 0.1 us a character, and most texts cannot hold what it finds.
    is_named = ":" in text or "=" in text or "earer" in text
    # Unlike ``lower()`` it also changes the letters outside ASCII that IGNORECASE takes for ASCII.
    folded = text.casefold() if is_named else ""
    if ("@" in text and "://" in text) or (
        "=" in text
        and ("?" in text or "&" in text or ";" in text)
        and _has_one_of(folded, _QUERY_NAMES)
    ):
        text = _IN_URL.sub(_mask, text)
    if len(text) >= _MIN_KEY_CHARS and _may_hold_key(text):
        text = _BY_FORM.sub(_mask, text)
    if is_named and _has_one_of(folded, _NAMES):
        return _BY_NAME.sub(_mask, text)
    return text


def _may_hold_key(text: str) -> bool:
    if "-----BEGIN" in text:
        return True
    if max(map(len, text.split()), default=0) < _MIN_KEY_CHARS:
        return False
    return _has_one_of(text, _KEY_MARKS)


def _has_one_of(text: str, marks: tuple[str, ...]) -> bool:
    found = False
    for mark in marks:  # no ``any``: a generator takes twice as long
        if mark in text:
            found = True
            break
    return found


def _mask(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind is None:
        return MASK
    kept = match[kind]
    if kind == "jwt":
        # The whole run is matched also if it is no token, so that none is searched twice.
        return MASK if len(kept.partition(".")[2].partition(".")[0]) >= _MIN_CLAIMS_CHARS else kept
    return kept + MASK


def redact_name(name: str) -> str:
    """
    Return a name as it is shown: like ``redact_text``, but what was found is kept for the next use.

    For names by which work is grouped, such as job types and queues. The same name is shown alike
    wherever it stands, so that the depth of a queue and the jobs in it still meet. The newest 4,096
    names of at most 256 characters are kept. Never raises for text; any thread.
    """
    shown = _shown_names.get(name)
    if shown is None:
        shown = redact_text(name) if len(name) >= _MIN_SECRET_CHARS else name
        if len(name) <= _MAX_CACHED_CHARS:
            if len(_shown_names) >= _MAX_CACHED:
                _shown_names.clear()
            _shown_names[name] = shown
    return shown


def redact_fields(fields: dict[str, Any]) -> None:
    """
    Mask secrets in the texts, the names and the ``meta`` of an event's fields, in place.

    Ids stay as they are, because jobs are looked up, requeued and merged by them: ``task_id``,
    ``parent_task_id``, ``project_id``, ``run_id`` and those of spans.

    Args:
        fields: Values by the names of ``MonitoringEvent``'s fields. In ``message``, ``error``,
            ``name``, ``reason``, ``task_type``, ``phase``, ``queue``, ``worker_id`` and in the keys
            of ``queue`` and ``counts`` what looks like a secret becomes ``[redacted]``; the texts
            are not shortened. ``meta`` is replaced by a masked copy: texts of at most 1,024
            characters, 64 items, 8 levels.

    Raises:
        TypeError: ``message`` or ``error`` is no text.
        Exception: What ``str()`` of a key or value in ``meta`` raises.
    """
    known = _shown_names
    for field in _NAME_FIELDS:
        if field in fields:
            value = fields[field]
            if type(value) is str:
                fields[field] = known[value] if value in known else redact_name(value)
            elif type(value) is dict:
                fields[field] = _redact_keys(value)
    for field in ("message", "error"):
        if field in fields:
            fields[field] = redact_text(fields[field])
    if "counts" in fields:
        fields["counts"] = _redact_keys(fields["counts"])
    if "meta" in fields:
        fields["meta"] = redact_meta(fields["meta"])


def _redact_keys(numbers: Any) -> Any:
    """Counts or depths by name; names that are shown alike are one, with the sum."""
    if not isinstance(numbers, Mapping):
        return numbers
    shown: dict[Any, Any] = {}
    for name, number in numbers.items():
        key = redact_name(name) if isinstance(name, str) else name
        if key in shown and isinstance(number, int | float):
            number += shown[key]
        shown[key] = number
    return shown


def redact_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a copy of ``meta`` with secrets masked at any depth.

    The value of a key that looks like a secret's name is masked whole. The copy is bounded: texts
    have at most 1,024 characters, mappings and lists at most 64 items, and what is nested deeper
    than 8 levels is replaced by an ellipsis. Keys and values of other types become text; if
    ``meta`` is no mapping, the copy is empty. Raises only what ``str()`` of a key or value raises.
    """
    copied = _redact(meta, 0)
    return copied if isinstance(copied, dict) else {}


def _redact(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        if len(value) < _MIN_SECRET_CHARS:
            return value
        # Twice the length, so that a secret across the bound is whole, and found.
        text = redact_text(value[: 2 * MAX_TEXT_CHARS])
        if len(text) <= MAX_TEXT_CHARS and len(value) <= 2 * MAX_TEXT_CHARS:
            return text
        return text[: MAX_TEXT_CHARS - 1] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        redacted: dict[str, Any] = {}
        for key, item in list(value.items())[:MAX_META_KEYS]:
            name = str(key)
            is_secret = _is_secret_key(name)
            redacted[redact_name(name)] = MASK if is_secret else _redact(item, depth + 1)
        return redacted
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, depth + 1) for item in list(value)[:MAX_META_KEYS]]
    return _redact(str(value), depth)


def _is_secret_key(key: str) -> bool:
    found = _secret_keys.get(key)
    if found is None:
        found = _SECRET_KEY.search(key) is not None
        if len(key) <= _MAX_CACHED_CHARS:
            if len(_secret_keys) >= _MAX_CACHED:
                _secret_keys.clear()
            _secret_keys[key] = found
    return found
