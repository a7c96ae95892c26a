"""The floor of branch coverage: it holds, and it only rises."""

from __future__ import annotations

import pytest

from tests.support.coverage_floor import ROOT, complaint, earlier_floors, floor_in


@pytest.mark.parametrize(
    ("measured", "floor", "earlier", "cure"),
    [
        (83.67, 83, [], None),
        (83.67, 82, [80, 82], None),
        (82.99, 83, [83], "add tests"),
        (85.0, 83, [83], "set fail_under in pyproject.toml to 85"),
        (90.0, 82, [83, 80], "set fail_under back to it"),
    ],
)
def test_the_floor_only_rises(
    measured: float, floor: int, earlier: list[int], cure: str | None
) -> None:
    """Less coverage, a floor two points behind and a lowered floor are errors with a cure."""
    found = complaint(measured, floor, earlier)
    assert found == cure if cure is None or found is None else cure in found


def test_the_floor_was_never_higher() -> None:
    """The floor in pyproject.toml is the highest of all that were committed."""
    floor = floor_in((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert floor >= max(earlier_floors(), default=0)


def test_without_a_floor_it_is_0() -> None:
    """A pyproject.toml from before coverage was measured has the floor 0."""
    assert floor_in("[project]\nname = 'x'") == 0
    assert floor_in("[tool.coverage.report]\nfail_under = 83") == 83
