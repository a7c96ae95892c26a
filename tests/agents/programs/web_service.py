"""
A web service as FastAPI's users write it: requests enqueue Celery jobs, and an agent answers.

``POST /reports`` puts a job into the queue and answers at once; ``POST /agent`` runs an agent
inside the request, with spans by the GenAI conventions. ``uvicorn`` or ``celery`` starts it.
"""

from __future__ import annotations

import os

from celery import Celery
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from tests.agents.programs.steps import ANSWER, PROMPT, ToolError, reach, reach_blocking

queue = Celery("reports", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app = FastAPI()
tracer = trace.get_tracer("agent-service")


@queue.task(name="make_report")
def make_report(run: str) -> str:
    reach_blocking(f"{run}-tool")
    if run == "failed":
        raise ToolError
    return ANSWER


@app.get("/health")
async def health() -> str:
    return "ok"


@app.post("/reports")
async def reports(run: str) -> str:
    return str(make_report.delay(run).id)


@app.post("/agent")
async def agent(run: str) -> str:
    invoked = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "researcher"}
    called = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "fake-large",
        "gen_ai.input.messages": PROMPT,
    }
    used = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look_up"}
    start = tracer.start_as_current_span
    with start("invoke_agent researcher", attributes=invoked):
        with start("chat fake-large", kind=SpanKind.CLIENT, attributes=called) as call:
            await reach(f"{run}-model")
            call.set_attribute("gen_ai.output.messages", ANSWER)
        with start("execute_tool look_up", attributes=used):
            await reach(f"{run}-tool")
            if run == "failed":
                raise ToolError
    return ANSWER
