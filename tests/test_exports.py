"""What `import otel_bridge` gives is what its modules say is public."""

from __future__ import annotations

import importlib
import pkgutil

import otel_bridge


def test_top_level_names_are_public_in_their_module() -> None:
    """Every top-level name is in the ``__all__`` of the module it comes from."""
    for name in otel_bridge.__all__:
        exported = getattr(otel_bridge, name)
        module = importlib.import_module(exported.__module__)
        assert name in module.__all__, f"{name} is not in {module.__name__}.__all__"


def test_all_lists_are_sorted_and_true() -> None:
    """Every ``__all__`` names things that exist."""
    for module_name in [
        m.name for m in pkgutil.walk_packages(otel_bridge.__path__, "otel_bridge.")
    ]:
        if module_name.endswith("__main__"):
            continue
        module = importlib.import_module(module_name)
        missing = [name for name in getattr(module, "__all__", []) if not hasattr(module, name)]
        assert missing == [], module_name
