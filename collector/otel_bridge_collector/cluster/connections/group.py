"""``LocalGroup`` and ``PeerAddress``: where members of a cluster are, and how they are reached."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from otel_bridge_collector.settings import PEER_PATH

__all__ = ["LocalGroup", "PeerAddress", "is_member_id"]

_MEMBER_ID: Final = re.compile(r"[0-9a-f]{8,64}")


class LocalGroup(NamedTuple):
    """
    The processes of one machine that share a port and the fold; a record.

    Attributes:
        directory: A private directory (mode 0700) for the Unix sockets between them.
        name: Unique among all groups that use the same Redis.
        processes: How many there are.
        number: Which of them this is, from 0.
    """

    directory: str
    name: str
    processes: int
    number: int

    def socket_of(self, member_id: str) -> str:
        """Return the path of a member's Unix socket; the id must be one of ``is_member_id``."""
        return str(Path(self.directory) / f"{member_id}.sock")


class PeerAddress(NamedTuple):
    """
    Where a member listens for its peers; either text may be empty.

    Attributes:
        path: Its Unix socket, for processes of the same machine.
        url: Its HTTP address, for other machines.
    """

    path: str
    url: str

    def text(self) -> str:
        """Return it as one text, as members store it in Redis."""
        return f"unix:{self.path} {self.url}".strip() if self.path else self.url

    @classmethod
    def parse(cls, text: str) -> PeerAddress:
        """Read what ``text`` returned; other texts give an address that cannot be reached."""
        first, _, rest = text.partition(" ")
        if first.startswith("unix:"):
            return cls(first.removeprefix("unix:"), rest)
        return cls("", first)

    @property
    def is_local(self) -> bool:
        """Whether its Unix socket is on this machine: its directory has a random name."""
        return bool(self.path) and Path(self.path).parent.exists()

    def websocket_url(self, member_id: str) -> str:
        """
        Return the URL of the peer connection to a member at ``url``; empty: there is no such way.

        Several members may have one ``url``: the process that is asked passes the connection on.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return ""
        scheme = "wss" if parts.scheme == "https" else "ws"
        path = parts.path.rstrip("/") + PEER_PATH
        return f"{scheme}://{parts.netloc}{path}?member={quote(member_id)}"


def is_member_id(text: str) -> bool:
    """Whether a text can be a member's id: 8 to 64 hexadecimal digits; a path is none."""
    return _MEMBER_ID.fullmatch(text) is not None
