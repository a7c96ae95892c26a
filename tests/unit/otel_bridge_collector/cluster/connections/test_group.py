"""Addresses of members: a Unix socket on this machine, a URL for others."""

from __future__ import annotations

from pathlib import Path

import pytest
from otel_bridge_collector.cluster.connections.group import (
    LocalGroup,
    PeerAddress,
    is_member_id,
)

MEMBER = "0123456789ab"


@pytest.mark.parametrize(
    "address",
    [
        PeerAddress("/tmp/x/a.sock", ""),
        PeerAddress("", "http://10.0.0.5:12000"),
        PeerAddress("/tmp/x/a.sock", "https://c.example.org/base"),
        PeerAddress("", ""),
    ],
)
def test_an_address_survives_redis(address: PeerAddress) -> None:
    """It is stored as one text."""
    assert PeerAddress.parse(address.text()) == address


def test_a_socket_is_local_where_its_directory_is(tmp_path: Path) -> None:
    """The directory has a random name, so another machine does not have it."""
    group = LocalGroup(str(tmp_path), "g", 2, 0)
    assert PeerAddress(group.socket_of(MEMBER), "").is_local
    assert not PeerAddress("/nowhere/0.sock", "").is_local
    assert not PeerAddress("", "http://10.0.0.5:12000").is_local


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://10.0.0.5:12000", f"ws://10.0.0.5:12000/cluster/peer?member={MEMBER}"),
        ("https://c.example.org/base/", f"wss://c.example.org/base/cluster/peer?member={MEMBER}"),
        ("ftp://c", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_other_machines_use_the_http_address(url: str, found: str) -> None:
    """With the member that is meant; what is no such address cannot be reached."""
    assert PeerAddress("", url).websocket_url(MEMBER) == found


def test_an_id_is_no_path() -> None:
    """It becomes a part of one."""
    assert is_member_id(MEMBER)
    assert not any(map(is_member_id, ["", "../../etc/passwd", "0123456789ab/..", "A" * 12]))
