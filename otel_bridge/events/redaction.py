"""
What may leave the process: the attributes that may enter ``meta``, and the masking of secrets.

Attributes pass by an allowlist, because a list of what is secret is never complete: only attributes
under ``nexus.meta.`` and those named in ``MONITORING_META_ATTRIBUTES`` enter ``meta``. Of these,
values are masked when the key or the value looks like a secret. Prompts and answers of language
models are left out unless ``MONITORING_PROMPTS_ENABLED`` is true.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["MASK", "MetaAllowlist", "redact_meta", "redact_text"]

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
    r"authori[sz]ation|cookie|passw(?:or)?d|passphrase|secret|credential|private[_.-]?key"
    r"|api[_.-]?key|access[_.-]?key|(?:^|[_.-])(?:auth|dsn|pwd)(?:$|[_.-])"
    r"|(?:^|[_.-])(?:access|refresh|id|auth|bearer|session|csrf|api)?[_.-]?token$",
    re.IGNORECASE,
)
"""``token`` matches at the end of a key only, because ``usage.input_tokens`` is a useful number."""

_SECRET_VALUE: Final = re.compile(
    r"(?P<keep>://[^\s/:@]*:)[^\s/@]+(?=@)"  # the password in a URL
    r"|(?P<scheme>\bbearer\s+|\bauthorization\W{1,4}basic\s+)[A-Za-z0-9._~+/=-]{16,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"  # JSON Web Token
    r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic, Stripe
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\bAIza[A-Za-z0-9_-]{30,}"  # Google
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?P<name>\b(?:password|passwd|secret|api[_-]?key|access[_-]?token)\s*[=:]\s*)[^\s,;&]{3,}",
    re.IGNORECASE,
)

_PROMPT_KEYS: Final = (
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.tool.definitions",
    "input.value",
    "output.value",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompts",
    "llm.completions",
    "traceloop.entity.input",
    "traceloop.entity.output",
)
"""Prefixes of the keys that hold prompts and answers: OpenTelemetry GenAI, OpenInference and
OpenLLMetry."""


class MetaAllowlist:
    """
    Picks the span attributes that may enter ``meta``, the free part of an event; by default none.

    Immutable; its method may be called from any thread and never raises. At most 64 attributes of a
    span pass, the first ones; the others are left out.

    Args:
        names: Attribute names as text, spaces around them ignored, in any number. A name that ends
            in ``*`` is a prefix.
        with_prompts: Whether a name may also pass prompts and answers of language models; default
            False.
    """

    def __init__(self, names: Iterable[str] = (), *, with_prompts: bool = False) -> None:
        names = [name.strip() for name in names if name.strip()]
        self._exact = frozenset(name for name in names if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
        self._with_prompts = with_prompts

    def pick(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes that may pass, at most ``MAX_META_KEYS`` (64), values unchanged."""
        if not (self._exact or self._prefixes):
            return {}
        picked: dict[str, Any] = {}
        for key, value in attributes.items():
            if (key in self._exact or key.startswith(self._prefixes)) and (
                self._with_prompts or not key.startswith(_PROMPT_KEYS)
            ):
                picked[key] = value
                if len(picked) >= MAX_META_KEYS:
                    break
        return picked


def redact_text(text: str) -> str:
    """
    Return a text in which everything that looks like a secret is replaced by ``[redacted]``.

    Recognised are passwords in URLs and in ``password=...``, bearer and basic credentials, JSON Web
    Tokens, private keys in PEM, and the API keys of common providers. Other secrets stay. Never
    raises for text; its length is not bounded here.
    """
    return _SECRET_VALUE.sub(_mask, text)


def redact_fields(fields: dict[str, Any]) -> None:
    """
    Mask secrets in the texts and in the ``meta`` of an event's fields, in place.

    Args:
        fields: Values by the names of ``MonitoringEvent``'s fields. In ``message``, ``error``,
            ``name`` and ``reason`` what looks like a secret becomes ``[redacted]``; the texts are
            not shortened. ``meta`` is replaced by a masked copy: texts of at most 1,024 characters,
            64 items, 8 levels.

    Raises:
        TypeError: One of these four is no text.
        Exception: What ``str()`` of a key or value in ``meta`` raises.
    """
    for name in ("message", "error", "name", "reason"):
        if name in fields:
            fields[name] = redact_text(fields[name])
    if "meta" in fields:
        fields["meta"] = redact_meta(fields["meta"])


def _mask(match: re.Match[str]) -> str:
    kept = match["keep"] or match["scheme"] or match["name"] or ""
    return kept + MASK


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
        text = value if len(value) <= MAX_TEXT_CHARS else value[: MAX_TEXT_CHARS - 1] + "…"
        return redact_text(text) if len(text) >= _MIN_SECRET_CHARS else text
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        redacted: dict[str, Any] = {}
        for key, item in list(value.items())[:MAX_META_KEYS]:
            name = str(key)
            redacted[name] = MASK if _SECRET_KEY.search(name) else _redact(item, depth + 1)
        return redacted
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, depth + 1) for item in list(value)[:MAX_META_KEYS]]
    return _redact(str(value), depth)
