"""One command-line option for each setting of a run, made from the settings."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Annotated, Any

import typer

from cellrot_train.config import Config, ConfigError


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` one option for each setting of Config, passed on as `settings`."""
    own = inspect.signature(command).parameters
    options = [_option(entry.name) for entry in fields(Config)]

    def wrapped(**values: Any) -> None:  # noqa: ANN401
        given = {key: values.pop(key) for key in list(values) if key not in own}
        chosen = {key: value for key, value in given.items() if value is not None}
        try:
            Config(**chosen)
        except ConfigError as error:  # wrong usage, not a wrong file
            raise typer.BadParameter(str(error)) from None
        command(**values, settings=chosen)

    kept = [parameter for name, parameter in own.items() if name != "settings"]
    signature = inspect.Signature([*kept, *options])
    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    wrapped.__annotations__ = {
        p.name: p.annotation for p in signature.parameters.values()
    }
    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    return wrapped


def _option(name: str) -> inspect.Parameter:
    entry = next(entry for entry in fields(Config) if entry.name == name)
    assert entry.default is not MISSING
    kind, flag = type(entry.default), f"--{name.replace('_', '-')}"
    if kind is bool:
        flag += f"/--no-{name.replace('_', '-')}"
    text = entry.metadata["help"]
    if choices := entry.metadata["choices"]:
        text += f" One of {', '.join(map(str, choices))}."
    shown = str(entry.default) if entry.default != "" else False
    option = typer.Option(flag, help=text, show_default=shown)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )
