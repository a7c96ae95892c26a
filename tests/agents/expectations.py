"""
What a person of each library expects to see: one row of the table for each program.

The pictures are in ``expected/<module>.txt``: under each heading a card, and its tree below it.
What a library's instrumentation does not say cannot be shown; docs/AGENTS.md names these cases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.agents.observed import RUNS, STEPS, Picture, Way

__all__ = ["EXPECTED", "Expected"]

_FOLDER: Final = Path(__file__).parent / "expected"


@dataclass(frozen=True)
class Expected:
    """
    What is seen of a program.

    Attributes:
        library: Its name, for the tests' ids.
        module: The program's module is ``use_<module>``.
        environment: Name of the environment in which it runs.
        quotes_prompts: Fields in which the library itself quotes what the model said.
    """

    library: str
    module: str
    environment: str
    quotes_prompts: frozenset[str] = frozenset()

    def live(self, way: Way, step: str) -> Picture:
        """While the first run is in that step."""
        return self._pictures()[f"{way}, in the {step}"]

    def final(self, way: Way, run: str) -> Picture:
        """After a run; over OTLP the same, unless the file says otherwise."""
        found = self._pictures()
        return found.get(f"{way}, {run}") or found[f"bus, {run}"]

    @property
    def headings(self) -> list[str]:
        """Those of its file."""
        return list(self._pictures())

    def _pictures(self) -> dict[str, Picture]:
        text = (_FOLDER / f"{self.module}.txt").read_text(encoding="utf-8")
        found = {}
        for part in re.split(r"(?m)^# ", text)[1:]:
            heading, *lines = part.strip().splitlines()
            found[heading] = Picture(tuple(lines))
        return found


EXPECTED: Final = (
    Expected("pydantic-ai", "pydantic_ai", "pydantic-ai"),
    Expected("OpenAI Agents SDK", "openai_agents", "openai-agents"),
    Expected("LangChain", "langchain", "langchain"),
    Expected("LangGraph", "langgraph", "langchain"),
    Expected("LlamaIndex", "llama_index", "llama-index"),
    # The text of its exception: Error executing tool 'look_up' with arguments {...}.
    Expected("smolagents", "smolagents", "smolagents", frozenset({"error"})),
)

HEADINGS: Final = {
    *(f"{way}, in the {step}" for way in ("bus", "otlp") for step in STEPS),
    *(f"bus, {run}" for run in RUNS),
}
"""What each file has; beside them ``otlp, <run>`` where OTLP cannot give the same."""
