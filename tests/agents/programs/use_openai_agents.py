"""Two agents of the OpenAI Agents SDK: a triage hands over to a researcher, who uses a tool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, generation_span
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from tests.agents.programs.steps import ANSWER, PROMPT, ToolError, reach, run_async

current = [""]


def call(name: str, arguments: str) -> ResponseFunctionToolCall:
    return ResponseFunctionToolCall(
        call_id=name, name=name, arguments=arguments, type="function_call"
    )


def text() -> ResponseOutputMessage:
    part = ResponseOutputText(text=ANSWER, type="output_text", annotations=[])
    return ResponseOutputMessage(
        id="m", content=[part], role="assistant", status="completed", type="message"
    )


class FakeModel(Model):
    """Answers with what it was given, one after the other, as a model's API would."""

    def __init__(self, *outputs: Any, step: str = "") -> None:
        self.outputs = list(outputs)
        self.step = step

    async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
        with generation_span(model="fake-large", input=[{"role": "user", "content": PROMPT}]):
            if self.step:
                await reach(f"{current[0]}-{self.step}")
                self.step = ""
            return ModelResponse(output=[self.outputs.pop(0)], usage=Usage(), response_id=None)

    def stream_response(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


@function_tool(failure_error_function=None)
async def look_up(topic: str) -> str:
    """Look a topic up."""
    await reach(f"{current[0]}-tool")
    if current[0] == "failed":
        raise ToolError
    return ANSWER


async def main(name: str) -> None:
    current[0] = name
    looked_up = call("look_up", f'{{"topic": "{PROMPT}"}}')
    researcher = Agent(
        name="researcher", model=FakeModel(looked_up, text()), tools=[look_up], instructions=PROMPT
    )
    triage = Agent(
        name="triage",
        model=FakeModel(call("transfer_to_researcher", "{}"), step="model"),
        handoffs=[researcher],
    )
    await Runner.run(triage, PROMPT)


run_async(main)
