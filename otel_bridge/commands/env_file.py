"""
``.env`` in the working directory, which the commands read; the library never does.

Its variables become part of this process' environment, because OpenTelemetry's SDK reads its own
settings from there. ``docker compose`` and most tools read the same form of file.
"""

from __future__ import annotations

from pathlib import Path

from dotenv import load_dotenv
from dotenv.parser import parse_stream

from otel_bridge.errors import ConfigurationError

__all__ = ["read_env_file"]

# Some editors on Windows put a byte order mark before the first name.
_ENCODING = "utf-8-sig"


def read_env_file(path: Path = Path(".env")) -> None:
    """
    Set the variables of a file in the environment of this process, except those it has already.

    Nothing is set if a line is wrong. The size of the file is not limited; a second call does no
    harm.

    Args:
        path: Lines of ``NAME=value``, comments and empty lines, in UTF-8; default ``.env`` in the
            working directory. If there is no such file, nothing happens.

    Raises:
        ConfigurationError: The file cannot be read, is not UTF-8, or a line is of another form. The
            line is named by its number: its text may be a password.
    """
    if not path.is_file():
        return
    try:
        with path.open(encoding=_ENCODING) as file:
            bindings = list(parse_stream(file))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path}: {error.strerror}", "make it readable, or remove it"
        ) from error
    except UnicodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8", "save it as UTF-8") from error
    for binding in bindings:
        if binding.error or (binding.key is not None and binding.value is None):
            # The parser counts the empty lines before a statement as part of it.
            text = binding.original.string
            empty_lines = text[: len(text) - len(text.lstrip())].count("\n")
            raise ConfigurationError(
                f"{path}, line {binding.original.line + empty_lines}: this is not a variable",
                "write NAME=value, with quotes around a value that has # or a line end in it",
            )
    load_dotenv(path, encoding=_ENCODING)
