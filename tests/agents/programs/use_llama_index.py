"""An agent of LlamaIndex with a tool, and a workflow of two steps that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.agent.workflow import ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms import CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

from tests.agents.programs.steps import ANSWER, PROMPT, ToolError, reach, run_async

current = [""]


class FakeLLM(CustomLLM):
    """Answers in turn in the format that a ReAct agent reads."""

    answers: list[str]
    stage: str = ""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="fake-large")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        raise NotImplementedError

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        if self.stage:
            await reach(f"{current[0]}-{self.stage}")
            self.stage = ""
        return ChatResponse(message=ChatMessage(self.answers.pop(0), role="assistant"))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        raise NotImplementedError


async def look_up(topic: str) -> str:
    """Look a topic up."""
    await reach(f"{current[0]}-tool")
    if current[0] == "failed":
        raise ToolError
    return ANSWER


class Planned(Event):
    question: str


class Research(Workflow):
    """Plans, then lets the agent search."""

    @step
    async def plan(self, start: StartEvent) -> Planned:
        return Planned(question=start.question)

    @step
    async def search(self, planned: Planned) -> StopEvent:
        llm = FakeLLM(
            answers=[
                f'Thought: look.\nAction: look_up\nAction Input: {{"topic": "{PROMPT}"}}',
                f"Thought: I know.\nAnswer: {ANSWER}",
            ],
            stage="model",
        )
        agent = ReActAgent(name="researcher", tools=[look_up], llm=llm, streaming=False)
        return StopEvent(result=str(await agent.run(planned.question)))


async def main(name: str) -> None:
    current[0] = name
    await Research(timeout=None).run(question=PROMPT)


# opentelemetry-instrument leaves it out: its package asks for integrations that are not installed.
LlamaIndexInstrumentor().instrument()
run_async(main)
