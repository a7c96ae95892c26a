"""smolagents: a manager that calls a managed agent, which uses a tool."""

from __future__ import annotations

import json
from typing import Any

from huggingface_hub import ChatCompletionOutput
from smolagents import InferenceClientModel, ToolCallingAgent, tool

from tests.agents.programs.steps import ANSWER, PROMPT, ToolError, reach_blocking, run

current = [""]


def call(name: str, arguments: dict[str, str]) -> Any:
    """What the API of Hugging Face answers if the model calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    message = {
        "role": "assistant",
        "content": ANSWER,
        "tool_calls": [{"id": name, "type": "function", "function": function}],
    }
    return ChatCompletionOutput.parse_obj_as_instance(
        {
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
            "usage": {"prompt_tokens": 8, "completion_tokens": 4, "total_tokens": 12},
        }
    )


class FakeClient:
    """Answers in turn, in place of the client that calls the API."""

    def __init__(self, answers: list[Any], step: str) -> None:
        self.answers = answers
        self.step = step

    def chat_completion(self, *_: Any, **__: Any) -> Any:
        if self.step:
            reach_blocking(f"{current[0]}-{self.step}")
            self.step = ""
        return self.answers.pop(0)


def model(*answers: Any, step: str = "") -> InferenceClientModel:
    found = InferenceClientModel(model_id="fake-large", token="none")
    found.client = FakeClient(list(answers), step)
    return found


@tool
def look_up(topic: str) -> str:
    """
    Look a topic up.

    Args:
        topic: What to look up.
    """
    reach_blocking(f"{current[0]}-tool")
    if current[0] == "failed":
        raise ToolError
    return ANSWER


def main(name: str) -> None:
    current[0] = name
    searched = model(call("look_up", {"topic": PROMPT}), call("final_answer", {"answer": ANSWER}))
    searcher = ToolCallingAgent(
        tools=[look_up], model=searched, name="searcher", description="Searches.", max_steps=2
    )
    managed = model(
        call("searcher", {"task": PROMPT}), call("final_answer", {"answer": ANSWER}), step="model"
    )
    ToolCallingAgent(
        tools=[], model=managed, managed_agents=[searcher], name="manager", max_steps=2
    ).run(PROMPT)


run(main)
