"""Which frames are the application's own, in each language."""

from __future__ import annotations

import json
import re

import pytest

from otel_bridge.stacks import own_code as module
from otel_bridge.stacks.own_code import (
    OwnCode,
    last_two_parts,
    own_code,
    short_path,
    without_variables,
)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/srv/shop/orders.py", True),
        (re.__file__, False),
        (json.__file__, False),
        (pytest.__file__, False),
        (module.__file__, False),
        ("/usr/local/lib/python3.12/asyncio/tasks.py", False),
        ("/opt/venv/lib/python3.12/site-packages/celery/app/trace.py", False),
        ("<string>", False),
        ("<frozen runpy>", False),
        ("com.acme.shop.Orders", True),
        ("java.util.concurrent.ThreadPoolExecutor", False),
        ("org.springframework.web.Filter", False),
        ("kotlinx.coroutines.Deferred", False),
        ("/app/src/orders.ts", True),
        ("/app/node_modules/express/lib/router.js", False),
        ("node:internal/process/task_queues", False),
        ("Acme.Shop.Orders", True),
        ("System.Threading.Tasks.Task", False),
        ("github.com/acme/shop/orders.Buy", True),
        ("/root/go/pkg/mod/github.com/x/y.go", False),
    ],
)
def test_libraries_are_not_own_code(place: str, expected: bool) -> None:
    """Standard libraries and installed packages of each language are distinguished."""
    assert OwnCode().has(place) is expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/srv/app/shop/orders.py", True),
        ("/opt/venv/lib/python3.12/site-packages/shop/orders.py", True),
        ("/srv/app/shopping/orders.py", False),
        ("/srv/app/shop.py", True),
        ("com.acme.Orders", True),
        ("com.acmeother.Orders", False),
        ("github.com/acme/orders.Buy", True),
        ("C:\\code\\shop\\orders.py", True),
    ],
)
def test_packages_replace_the_rule(place: str, expected: bool) -> None:
    """``MONITORING_APP_PACKAGES`` names what counts, also where it is installed as a library."""
    assert OwnCode("shop, com.acme,github.com/acme").has(place) is expected


def test_one_object_a_setting() -> None:
    """Places that were seen are remembered, in a bounded number."""
    own = own_code("shop")
    assert own is own_code("shop")
    for number in range(10_000):
        own.has(f"/srv/shop/{number}.py")
    assert len(own._known) <= 4096


def test_names_without_what_varies() -> None:
    """Generated suffixes, numbers and addresses go; so do the folders that differ by host."""
    assert without_variables("Orders$$Lambda$14/0x00007f") == "Orders"
    assert without_variables("outer.<locals>.inner2") == "outer.inner"
    assert last_two_parts("/srv/a/shop/orders.py") == "shop/orders.py"
    assert last_two_parts("C:\\code\\shop\\orders.py") == "shop/orders.py"
    assert last_two_parts("orders.py") == "orders.py"


def test_paths_are_shown_from_where_they_are_imported() -> None:
    """A module of the standard library is shown without its prefix; another path as it is."""
    assert short_path(json.__file__) == "json/__init__.py"
    assert short_path("/nowhere/else.py") == "/nowhere/else.py"
