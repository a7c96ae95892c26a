"""
``load_settings``: creates a settings class from the environment, strictly or with its defaults.

The commands are strict: a value that cannot work stops them. In a worker it must not stop the
user's program, so the default is used there and one warning names the variable, the value and the
cure.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Mapping, Set
from typing import Any, Final, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from otel_bridge.errors import ConfigurationError

__all__ = ["env_name", "in_use", "load_settings", "unknown_names"]

logger = logging.getLogger(__name__)

_Settings = TypeVar("_Settings", bound=BaseSettings)

_CURE: Final = "see .env.example"
_MAX_SHOWN_CHARS: Final = 100
_SERVICE_LINK: Final = re.compile(
    r"MONITORING_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP|SCTP)\w*)"
)


def load_settings(
    model: type[_Settings],
    overrides: Mapping[str, Any],
    *,
    strict: bool = True,
    warn: Callable[..., None] = logger.warning,
) -> _Settings:
    """
    Create settings of a class from the environment, which is read at each call.

    Opens no connection. A mistyped variable is not noticed here.

    Args:
        model: The settings class, a ``BaseSettings`` of pydantic-settings.
        overrides: Field values that take precedence over the environment; None and the empty text
            mean not given.
        strict: Whether a value that cannot work is an error; default True. If False, each is
            reported in one warning and the setting's own default is used.
        warn: Gets these warnings, as ``logging`` takes them; default: this module's logger, at
            level WARNING.

    Returns:
        An instance of ``model``.

    Raises:
        ConfigurationError: An override is no setting; or, if strict, a value cannot work. Names the
            variable, at most 100 characters of the value with it, and the cure; values that may
            hold a password are left out.
    """
    given = {name: value for name, value in overrides.items() if value not in (None, "")}
    while True:
        try:
            return model(**given)
        except ValidationError as error:
            failure = _failure(model, error)
        except ConfigurationError as error:
            failure = error
        if strict or not failure.settings:
            raise failure from None
        defaults = {
            name: model.model_fields[name].get_default(call_default_factory=True)
            for name in failure.settings
        }
        warn("%s; %s", failure, in_use(defaults))
        given.update(defaults)


def in_use(defaults: Mapping[str, object]) -> str:
    """Return the end of a warning about values that cannot work: what is used in their place."""
    shown = " and ".join(f"{value}" for value in defaults.values() if value not in (None, ""))
    return f"until then the default is used{': ' + shown if shown else ''}"


def _failure(model: type[BaseSettings], error: ValidationError) -> ConfigurationError:
    first = error.errors(include_url=False)[0]
    given = str(first["loc"][0]) if first["loc"] else model.__name__
    variable = env_name(model, given)
    for name, field in model.model_fields.items():
        if field.validation_alias == variable:
            is_secret = "URL" in variable or "ENDPOINT" in variable or field.annotation is SecretStr
            shown = "" if is_secret else f"={first['input']}"[:_MAX_SHOWN_CHARS]
            problem = f"{variable}{shown}: {first['msg']}"
            return ConfigurationError(problem, _CURE, settings=(name,))
    # The value is not shown: it may be a password under a mistyped name.
    near = difflib.get_close_matches(given, model.model_fields, n=1)
    cure = f"did you mean {near[0]}?" if near else _CURE
    return ConfigurationError(f"there is no setting {given}", cure)


def env_name(model: type[BaseSettings], field_or_alias: str) -> str:
    """Return the environment variable of a settings field, which may be given by its alias too."""
    field = model.model_fields.get(field_or_alias)
    return str(field.validation_alias) if field else field_or_alias


def unknown_names(environ: Mapping[str, str], known: Set[str]) -> dict[str, str | None]:
    """
    Return the ``MONITORING_*`` and ``NEXUS_MONITORING_*`` variables that are no setting.

    Only reads its arguments; never raises and has no limit.

    Args:
        environ: Variables by name, e.g. ``os.environ``; not modified.
        known: The names of all settings.

    Returns:
        Each with the most similar setting, or None when none is similar. Without the variables that
        Kubernetes sets in every pod for a Service called ``monitoring`` or ``monitoring-...``.
    """
    unknown: dict[str, str | None] = {}
    for name, value in environ.items():
        is_link = _SERVICE_LINK.fullmatch(name) or value.startswith(("tcp://", "udp://", "sctp://"))
        is_ours = name.startswith(("MONITORING_", "NEXUS_MONITORING_"))
        if is_ours and name not in known and not is_link:
            near = difflib.get_close_matches(name, known, n=1)
            unknown[name] = near[0] if near else None
    return unknown
