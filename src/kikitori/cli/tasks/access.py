"""What all commands of tasks share: the server, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from kikitori.cli.exits import ExitCode, complain
from kikitori.cli.outputs import utf8
from kikitori.errors import Forbidden, KikitoriError, Unauthorized, Unavailable

if TYPE_CHECKING:
    from kikitori.cli.tasks.client import TaskClient

T = TypeVar("T")

FATAL = (Unauthorized, Forbidden, Unavailable)
"""Would befall every other task too."""

Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of tasks, as `submit` and `list` print them.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, as the API gives it.")]


def ask(
    url: str,
    api_key: str,
    work: Callable[[TaskClient], Awaitable[T]],
    *,
    on_interrupt: Callable[[], object] = lambda: None,
) -> T:
    """What ``work`` brings from the server. Raises KikitoriError, KeyboardInterrupt."""
    from kikitori.cli.interrupts import run_interruptibly
    from kikitori.cli.tasks.client import TaskClient

    async def run() -> T:
        async with TaskClient.open(url, api_key) as client:
            return await work(client)

    utf8(sys.stdout)
    return run_interruptibly(run(), on_interrupt=on_interrupt)


async def for_each(ids: Sequence[str], work: Callable[[str], Awaitable[object]]) -> ExitCode:
    """``work`` for one task after the other; one that fails keeps none of the others back."""
    code = ExitCode.OK
    for task_id in dict.fromkeys(ids):
        try:
            await work(task_id)
        except FATAL:
            raise
        except KikitoriError as exc:
            complain(exc, about=task_id if task_id not in str(exc) else "")
            code = ExitCode.FAILED
    return code
