"""A graph of LangGraph with three nodes, a loop over two searches and a tool."""

from __future__ import annotations

from typing import TypedDict

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

from tests.agents.programs.steps import ANSWER, PROMPT, ToolError, reach, run_async

current = [""]


class State(TypedDict):
    question: str
    found: list[str]


@tool
async def look_up(topic: str) -> str:
    """Look a topic up."""
    await reach(f"{current[0]}-tool")
    if current[0] == "failed":
        raise ToolError
    return ANSWER


async def plan(state: State) -> dict[str, list[str]]:
    await reach(f"{current[0]}-model")
    await GenericFakeChatModel(messages=iter([AIMessage(ANSWER)])).ainvoke(state["question"])
    return {"found": []}


async def search(state: State) -> dict[str, list[str]]:
    return {"found": [*state["found"], await look_up.ainvoke({"topic": state["question"]})]}


async def write(state: State) -> dict[str, list[str]]:
    await GenericFakeChatModel(messages=iter([AIMessage(ANSWER)])).ainvoke(state["question"])
    return {}


def enough(state: State) -> str:
    return "write" if len(state["found"]) == 2 else "search"


async def main(name: str) -> None:
    current[0] = name
    graph = StateGraph(State)
    graph.add_node("plan", plan)
    graph.add_node("search", search)
    graph.add_node("write", write)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "search")
    graph.add_conditional_edges("search", enough)
    graph.add_edge("write", END)
    await graph.compile(name="school research").ainvoke({"question": PROMPT, "found": []})


run_async(main)
