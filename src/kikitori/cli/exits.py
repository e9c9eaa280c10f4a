"""How a command ends: its exit code, and one line for an error."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any

import typer

from kikitori.cli.flags import with_parameter
from kikitori.errors import (
    Forbidden,
    InvalidInput,
    InvalidOption,
    KikitoriError,
    ModelNotFound,
    Unauthorized,
    Unavailable,
    Unsupported,
)

logger = logging.getLogger(__name__)


class ExitCode(IntEnum):
    """What a command returns; docs/cli.md lists these."""

    OK = 0  # all fine
    FAILED = 1  # something failed; the rest was done
    USAGE = 2  # a flag or an argument is wrong
    UNAVAILABLE = 3  # no engine, model, server or database
    INTERRUPTED = 130  # Ctrl-C


class InvalidSetting(InvalidInput):
    """A flag, an argument, a variable or a file of settings that cannot be used."""


def exit_code(error: BaseException) -> ExitCode:
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, InvalidOption | InvalidSetting | Unsupported | Unauthorized | Forbidden):
        return ExitCode.USAGE
    if isinstance(error, ModelNotFound | Unavailable):
        return ExitCode.UNAVAILABLE
    return ExitCode.FAILED


def say(message: str, *, color: str | None = None) -> None:
    """A line on stderr: stdout belongs to results."""
    typer.secho(message, err=True, fg=color)


def complain(error: BaseException, *, about: str = "") -> None:
    """One line: what it is about, what is wrong, what to do."""
    where = f"{about}: " if about else ""
    text = " ".join(_words(error).split())
    say(f"kikitori: {where}{text}", color="red")


def _words(error: BaseException) -> str:
    if isinstance(error, InvalidOption):
        return f"--{error.field.replace('_', '-')} is {_plain(error.value)}. Allowed: {error.allowed}."
    if isinstance(error, KikitoriError):
        return str(error)
    return (
        f"Something went wrong ({type(error).__name__}: {error}). Run it again with --debug, and report what it shows."
    )


def _plain(value: object) -> str:
    return repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."


DEBUG = inspect.Parameter(
    "debug",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[bool, typer.Option("--debug", help="Show where an error comes from, and the log.")],
)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--debug``, and end it with one line and its exit code when it fails."""

    @functools.wraps(command)
    def wrapper(*, debug: bool, **arguments: Any) -> None:
        _set_up_log(debug)
        try:
            command(**arguments)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except Exception as exc:  # the edge of the program: people get one line, --debug gets everything
            if _is_usage(exc):
                raise
            logger.debug("command failed", exc_info=exc, extra={"action": "command_failed"})
            complain(exc)
            raise typer.Exit(exit_code(exc)) from None

    guarded_command: Callable[..., None] = with_parameter(command, wrapper, DEBUG)
    return guarded_command


def _is_usage(error: Exception) -> bool:
    """An error of the command line itself, which Typer shows with the usage."""
    return hasattr(error, "exit_code") and hasattr(error, "format_message")


def _set_up_log(debug: bool) -> None:
    from kikitori.logs import configure_logging

    configure_logging(level="debug" if debug else "warning")
