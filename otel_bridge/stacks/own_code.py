"""Which frames are the application's own code, and how their places are written."""

from __future__ import annotations

import functools
import os
import re
import sys
import sysconfig
from pathlib import Path
from typing import Final

__all__ = ["OwnCode", "last_two_parts", "own_code", "short_path", "without_variables"]

_LIBRARY_DIRECTORIES: Final = tuple(
    {
        os.path.realpath(sysconfig.get_path(name)) + os.sep
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    | {str(Path(__file__).resolve().parents[1]) + os.sep}
)
"""Of this machine: the standard library, installed packages, and this package itself."""
_LIBRARY: Final = re.compile(
    r"^(?:java|javax|jdk|sun|com\.sun|jakarta|kotlin|kotlinx|scala|akka|clojure|groovy"
    r"|org\.springframework|org\.apache|org\.hibernate|org\.junit|io\.netty|reactor"
    r"|io\.micrometer|io\.opentelemetry)\."
    r"|(?:^|[\\/])(?:node_modules|site-packages|dist-packages)[\\/]"
    r"|^node:"
    r"|[\\/]lib[\\/]python\d|[\\/]Lib[\\/](?!site-packages)"
    r"|[\\/]otel_bridge[\\/](?:adapters|coordinator|orchestration|spans)[\\/]"
    r"|^(?:System|Microsoft)\."
    r"|^go\.opentelemetry\.io/|[\\/]pkg[\\/]mod[\\/]"
    r"|^<"
)
"""Of any machine and language: frames that are not the application's."""
_VARIABLE: Final = re.compile(
    r"\$\$(?:Lambda|FastClass|EnhancerBy|SpringCGLIB)[^.|]*|\$Proxy\d+|\$\d+|lambda\$"
    r"|/?0x[0-9a-fA-F]+|<locals>\.|\d+"
)
_MAX_REMEMBERED: Final = 4096


class OwnCode:
    """
    Distinguishes the application's frames from those of libraries; from any thread, never raises.

    Without packages everything is the application's that is neither a standard library nor an
    installed package of its language: Python's ``site-packages``, ``node_modules``, ``java.``,
    ``org.springframework.``, ``System.``, Go's runtime and modules, and the like.

    Args:
        packages: Names as in ``MONITORING_APP_PACKAGES``, ``shop,com.acme.shop``: then a frame is
            the application's if its class begins with one of them, or its path has the package as a
            folder or a module. Empty, the default: as above.
    """

    def __init__(self, packages: str = "") -> None:
        names = [name.strip() for name in packages.split(",") if name.strip()]
        self._classes = tuple(f"{name}." for name in names)
        # A Go package has slashes already, and its dots are dots: github.com/acme/shop.
        paths = "|".join(
            re.escape(name if "/" in name else name.replace(".", "/")) for name in names
        )
        self._paths = re.compile(rf"(?:^|/)(?:{paths})(?:/|\.\w+$|$)") if names else None
        self._known: dict[str, bool] = {}

    def has(self, place: str) -> bool:
        """
        Whether a frame is the application's.

        Args:
            place: Its path, or its class with the package, as the language writes it.
        """
        known = self._known.get(place)
        if known is None:
            known = self._has(place)
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[place] = known
        return known

    def _has(self, place: str) -> bool:
        if self._paths is not None:
            is_class = f"{place}.".startswith(self._classes)
            return is_class or self._paths.search(place.replace("\\", "/")) is not None
        if _LIBRARY.search(place):
            return False
        return not os.path.realpath(place).startswith(_LIBRARY_DIRECTORIES)


@functools.lru_cache(maxsize=16)
def own_code(packages: str) -> OwnCode:
    """The one ``OwnCode`` of a setting, which remembers the places that it has seen."""
    return OwnCode(packages)


@functools.lru_cache(maxsize=1024)
def last_two_parts(path: str) -> str:
    """The last folder and the file of a path: the same on every machine and in every container."""
    return "/".join(re.split(r"[\\/]", path)[-2:])


@functools.lru_cache(maxsize=1024)
def without_variables(name: str) -> str:
    """A name without what differs from run to run: numbers, addresses, generated suffixes."""
    return _VARIABLE.sub("", name)


_ROOTS: Final = sorted(
    {os.path.abspath(path) + os.sep for path in sys.path if path}, key=len, reverse=True
)


@functools.lru_cache(maxsize=_MAX_REMEMBERED)
def short_path(path: str) -> str:
    """A path below the folder that it was imported from, without that folder."""
    for root in _ROOTS:
        if path.startswith(root):
            return path[len(root) :]
    return path
