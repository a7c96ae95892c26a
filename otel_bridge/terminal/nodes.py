"""What is read of a collector by HTTP: the stack and attributes of a span, and one view once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from otel_bridge.terminal.printable import one_line
from otel_bridge.terminal.window import Row

__all__ = ["CollectorHttp", "SpanText"]

_TIMEOUT_SEC: Final = 10.0
_GONE: Final = (
    "Its stack has left the collector: it is kept for a day, once a minute for each cause."
)
_NO_RIGHT: Final = "Your access does not include stacks: a token needs rights=lines or projects=*."


@dataclass(frozen=True, slots=True)
class SpanText:
    """
    What is stored beside the log about one span; an immutable record.

    Attributes:
        stack: The text of its stack; empty: there is none.
        note: One sentence why there is no stack; empty if there is, and while it is asked for.
        is_of_another: Whether the stack is that of another span with the same failure.
        attributes: Attributes of the span by name.
        links: Of the span; each has ``trace`` and ``span``.
        log: ``held``, ``gone`` or ``unknown``: whether its attributes can still be read; empty: the
            collector is older and does not say.
    """

    stack: str = ""
    note: str = ""
    is_of_another: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    links: Sequence[Mapping[str, Any]] = ()
    log: str = ""


class CollectorHttp:
    """
    Requests to a collector; use it on one event loop, and close it with ``aclose``.

    Args:
        url: Address of the collector, http or https, already checked.
        token: Bearer token; empty: none is sent.
    """

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/", headers=headers, timeout=_TIMEOUT_SEC
        )

    async def span(self, span_id: str) -> SpanText:
        """
        Return what is stored about a span, or why there is nothing; never raises.

        Args:
            span_id: 16 hex digits.
        """
        try:
            answer = await self._client.get(f"monitor/nodes/{span_id}")
            body = answer.json() if answer.is_success else {}
        except (httpx.HTTPError, ValueError) as error:
            why = one_line(str(error)) or type(error).__name__
            return SpanText(note=f"The stack could not be read: {why}.")
        if answer.status_code == 403:
            return SpanText(note=_NO_RIGHT)
        stack = body.get("stack")
        # A span that may be seen is answered by 200; ``detail`` then says why without a stack.
        is_denied = "rights=lines" in str(body.get("detail"))
        return SpanText(
            stack=stack if isinstance(stack, str) else "",
            note="" if stack else _NO_RIGHT if is_denied else _GONE,
            is_of_another=body.get("stack_of") not in (None, span_id),
            attributes=body.get("attributes") or {},
            links=body.get("links") or (),
            log=str(body.get("log") or ""),
        )

    async def rows(self, view: str, params: Mapping[str, Any]) -> list[Row]:
        """
        Return the rows of one window of a view; none if they cannot be read. Never raises.

        Args:
            view: The name of the view.
            params: Its parameters, as ``ViewFeed.subscribe`` takes them.
        """
        try:
            answer = await self._client.get(
                f"monitor/views/{view}", params={"params": json.dumps(params)}
            )
            return list(answer.json()["rows"]) if answer.is_success else []
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return []

    async def aclose(self) -> None:
        """Close the connections; may be called again."""
        await self._client.aclose()
