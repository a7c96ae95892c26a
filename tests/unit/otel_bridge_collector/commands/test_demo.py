"""The request of the demo and the curl command that is printed beside it."""

from __future__ import annotations

import json
import re

from otel_bridge_collector.commands.demo import DEMO_PACE_SEC, DEMO_REQUEST, curl_command

from otel_bridge.orchestration.queue.task_types import ResearchTaskRequest


def test_the_request_is_a_valid_one() -> None:
    """The demo submits what ``POST /tasks`` takes."""
    request = ResearchTaskRequest.model_validate(DEMO_REQUEST)
    assert request.model_dump(mode="json") == DEMO_REQUEST


def test_curl_sends_the_same_request() -> None:
    """The printed command posts the demo's own request to the collector's address."""
    command = curl_command("http://127.0.0.1:12000")
    assert command.startswith("curl -sS -X POST http://127.0.0.1:12000/tasks ")
    body = re.search(r"-d '(.*)'$", command, re.DOTALL)
    assert body is not None
    assert json.loads(body[1]) == DEMO_REQUEST


def test_curl_sends_a_token_where_one_is_needed() -> None:
    """The token is taken from the shell's variable, so that it is not shown."""
    command = curl_command("http://h", has_tokens=True)
    assert ' -H "Authorization: Bearer $TOKEN" -d ' in command
    assert "Authorization" not in curl_command("http://h")


def test_the_pace_gives_time_to_watch() -> None:
    """About 320 jobs by four workers, each delayed by it, take between half and one minute."""
    assert 30 < 320 / 4 * DEMO_PACE_SEC < 60
