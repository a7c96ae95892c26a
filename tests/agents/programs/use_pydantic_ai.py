"""An agent of pydantic-ai that looks something up and has a second agent write; its own spans."""

from __future__ import annotations

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.agents.programs.steps import ANSWER, PROMPT, ToolError, reach, run_async


async def writing(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return ModelResponse(parts=[TextPart(ANSWER)])


async def research(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    answers = sum(isinstance(message, ModelResponse) for message in messages)
    if answers == 0:
        await reach(f"{current[0]}-model")
        return ModelResponse(parts=[ToolCallPart("look_up", {"topic": PROMPT})])
    if answers == 1:
        return ModelResponse(parts=[ToolCallPart("write", {"notes": ANSWER})])
    return ModelResponse(parts=[TextPart(ANSWER)])


current = [""]
writer = Agent(FunctionModel(writing, model_name="fake-small"), name="writer")
researcher = Agent(FunctionModel(research, model_name="fake-large"), name="researcher")


@researcher.tool
async def look_up(context: RunContext[None], topic: str) -> str:
    await reach(f"{current[0]}-tool")
    if current[0] == "failed":
        raise ToolError
    return ANSWER


@researcher.tool
async def write(context: RunContext[None], notes: str) -> str:
    return str((await writer.run(notes)).output)


async def main(name: str) -> None:
    current[0] = name
    await researcher.run(PROMPT)


Agent.instrument_all()
run_async(main)
