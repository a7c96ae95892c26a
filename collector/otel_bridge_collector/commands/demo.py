"""``otel-bridge demo``: the research task that it submits, and the same request for curl."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["DEMO_PACE_SEC", "DEMO_REQUEST", "curl_command"]

DEMO_PACE_SEC: Final = 0.6
"""Delay of each job; with four workers the research task then takes about a minute to watch."""

DEMO_REQUEST: Final[dict[str, Any]] = {
    "title": "Private Schools GA",
    "research_query": "List and profile private K-12 schools in Georgia",
    "research_type": "data_aggregation",
    "user_id": "dev",
    "project_id": "default_project",
    "data_aggregation_config": {
        "entities": ["private schools"],
        "attributes": ["address", "tuition", "enrollment"],
        "search_space": "in Georgia",
        "domain_hint": "schools",
    },
}

_CURL: Final = """curl -sS -X POST {url}/tasks -H 'Content-Type: application/json'{token} -d '{{
  "title": "Private Schools GA", "research_query": "List and profile private K-12 schools in Georgia",
  "research_type": "data_aggregation", "user_id": "dev", "project_id": "default_project",
  "data_aggregation_config": {{"entities": ["private schools"], "attributes": ["address", "tuition", "enrollment"],
    "search_space": "in Georgia", "domain_hint": "schools"}}}}'"""  # noqa: E501


def curl_command(url: str, *, has_tokens: bool = False) -> str:
    """
    Return the shell command that submits the demo's task, as the README has it; never raises.

    Args:
        url: The collector's address, such as ``http://localhost:12000``; goes into the command as
            it is, without a check.
        has_tokens: Whether to send the token that the shell has in ``$TOKEN``.
    """
    token = ' -H "Authorization: Bearer $TOKEN"' if has_tokens else ""
    return _CURL.format(url=url, token=token)
