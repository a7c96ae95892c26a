"""An agent with the GenAI conventions' spans and nothing of ours; waits for a line to go on."""

from __future__ import annotations

import sys

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode


def main() -> None:
    start = trace.get_tracer("agent").start_as_current_span
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "travel planner"}
    with start("plan a trip to Oslo"), start("invoke_agent travel planner", attributes=agent):
        chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"}
        with start("chat m-1", kind=SpanKind.CLIENT, attributes=chat):
            pass
        failing = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
        with start("execute_tool weather", attributes=failing) as span:
            span.set_status(StatusCode.ERROR, "no such town")
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "maps"}
        with start("execute_tool maps", attributes=tool):
            print("running", flush=True)
            sys.stdin.readline()


if __name__ == "__main__":
    main()
