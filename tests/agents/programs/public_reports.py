"""Programs of public bug reports about tracing agents, as their authors wrote them."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from tests.agents.programs.steps import reach, run_async

tracer = trace.get_tracer("report")


def tool(name: str) -> dict[str, str]:
    return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}


def agent(name: str) -> dict[str, str]:
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name}


async def stuck() -> None:
    """Specification 373: two of three steps have ended, the third is stuck."""
    with tracer.start_as_current_span("three steps"):
        for name in ("first", "second"):
            with tracer.start_as_current_span(name, attributes=tool(name)):
                pass
        with tracer.start_as_current_span("third", attributes=tool("third")):
            await reach("stuck-tool")


async def unended() -> None:
    """Agentscope 1618: ``except Exception`` does not see the cancellation; the span never ends."""
    manager = tracer.start_as_current_span("reply", attributes=agent("reply"), end_on_exit=False)
    with manager as span:
        try:
            await reach("unended-tool")
        except Exception:
            span.end()
            raise


async def generator() -> None:
    """Agentscope 2076: a generator with a current span is closed by another task."""

    async def reply() -> AsyncIterator[int]:
        with tracer.start_as_current_span("stream", attributes=agent("stream")):
            yield 1
            yield 2

    stream = reply()
    await anext(stream)
    await reach("generator-tool")
    await asyncio.create_task(stream.aclose())  # type: ignore[attr-defined]


async def background() -> None:
    """Contrib 4251: work goes on after its request has ended."""
    with tracer.start_as_current_span("POST /send", kind=SpanKind.SERVER) as request:
        context = trace.set_span_in_context(request)
    with tracer.start_as_current_span("send", context, attributes=agent("sender")):
        await reach("background-tool")


class State(TypedDict):
    found: Annotated[list[str], operator.add]


async def parallel() -> None:
    """OpenInference 2865 and Langfuse 7200: nodes that run at the same time."""

    async def classify(state: State) -> State:
        await reach("parallel-tool")
        return {"found": ["class"]}

    async def title(state: State) -> State:
        await reach("parallel-tool")
        return {"found": ["title"]}

    graph = StateGraph(State)
    graph.add_node("classify", classify)
    graph.add_node("title", title)
    for name in ("classify", "title"):
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    await graph.compile(name="triage").ainvoke({"found": []})


RUNS = {each.__name__: each for each in (stuck, unended, generator, background, parallel)}
run_async(lambda name: RUNS[name]())
