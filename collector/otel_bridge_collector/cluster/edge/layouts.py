"""``Layout``: which member answers for which partitions of a view, and what it has answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from otel_bridge_collector.cluster.partitions import PARTITIONS

__all__ = ["Layout", "PartGroup", "keys_of", "ranges"]

_ALL: Final = frozenset(range(PARTITIONS))


class PartGroup:
    """
    Partitions that one other member answers for together; a record.

    Attributes:
        member_id: Who answers.
        partitions: For which.
        number: Of the subscription; 0: not asked yet.
        part: The newest answer; None: it has none, or knows nothing.
        is_answered: Whether there was any.
    """

    __slots__ = ("is_answered", "member_id", "number", "part", "partitions")

    def __init__(self, member_id: str, partitions: frozenset[int]) -> None:
        self.member_id = member_id
        self.partitions = partitions
        self.number = 0
        self.part: Any = None
        self.is_answered = False


class Layout:
    """
    Who answers for each partition, from one moment on; pure.

    Args:
        serving: The partitions to ask each member for, by its id; disjoint.
        own_id: This member, which is not asked.

    Attributes:
        serving: As given.
        own: The partitions of this member.
        groups: Those of each other member.
        missing: Those that no member serves.
    """

    def __init__(self, serving: Mapping[str, frozenset[int]], own_id: str) -> None:
        self.serving = serving
        self.own = serving.get(own_id, frozenset())
        self.groups = [
            PartGroup(member_id, partitions)
            for member_id, partitions in serving.items()
            if member_id != own_id and partitions
        ]
        self.missing = _ALL.difference(*serving.values())

    @property
    def is_whole(self) -> bool:
        """Whether each partition is served, and each member has answered."""
        return not self.missing and all(group.is_answered for group in self.groups)


def keys_of(part: Any) -> Iterable[str]:
    """Return the keys of the rows that a part of a list has; none of another part."""
    found = getattr(getattr(part, "shown", None), "rows", ())
    return tuple(found)


def ranges(partitions: set[int]) -> str:
    """
    Return numbers as the start of a sentence, such as ``partitions 0, 3 to 5 are``.

    Args:
        partitions: At least one.
    """
    runs: list[list[int]] = []
    for number in sorted(partitions):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    noun, verb = ("partition", "is") if len(partitions) == 1 else ("partitions", "are")
    return f"{noun} {', '.join(texts)} {verb}"
