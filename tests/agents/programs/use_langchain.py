"""LangChain: an agent with a tool, and a chain of prompt, model and parser in that tool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

from tests.agents.programs.steps import ANSWER, PROMPT, ToolError, reach, run_async

current = [""]


class FakeModel(GenericFakeChatModel):
    """Answers in turn; the first answer is a step that the test sees."""

    step: str = ""

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> FakeModel:
        return self

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        if self.step:
            await reach(f"{current[0]}-{self.step}")
            self.step = ""
        return self._generate(messages)


@tool
async def look_up(topic: str) -> str:
    """Look a topic up."""
    await reach(f"{current[0]}-tool")
    if current[0] == "failed":
        raise ToolError
    prompt = ChatPromptTemplate.from_template("Summarise {text}")
    chain = prompt | FakeModel(messages=iter([AIMessage(ANSWER)])) | StrOutputParser()
    return str(await chain.ainvoke({"text": PROMPT}))


async def main(name: str) -> None:
    current[0] = name
    call = {"name": "look_up", "args": {"topic": PROMPT}, "id": "1"}
    answers = iter([AIMessage("", tool_calls=[call]), AIMessage(ANSWER)])
    agent = create_agent(
        FakeModel(messages=answers, step="model"), tools=[look_up], name="researcher"
    )
    await agent.ainvoke({"messages": [("user", PROMPT)]})


run_async(main)
