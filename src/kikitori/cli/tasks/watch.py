"""``kikitori tasks watch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import ExitCode, guarded, say
from kikitori.cli.shared_flags import DEFAULT_URL, ApiKey, Quiet, ServerUrl
from kikitori.cli.tasks.access import Ids, ask, for_each

if TYPE_CHECKING:
    from kikitori.cli.progress import Reporter
    from kikitori.cli.tasks.client import TaskClient

EPILOG = "Exit codes: 0 all have succeeded; 1 one has not; 130 stopped with Ctrl-C, the tasks go on."


def register(app: App) -> None:
    app.command(epilog=EPILOG)(watch)


@guarded
def watch(ids: Ids, *, quiet: Quiet = False, url: ServerUrl = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Show how far tasks are until they end.

    A connection that is lost is made again: the server may restart in between.
    """
    from kikitori.cli.progress import reporter

    told = reporter(quiet=quiet)

    async def work(client: TaskClient) -> Any:
        return await watch_ids(client, ids, told)

    with told:
        try:
            code = ask(url, api_key, work)
        except KeyboardInterrupt:
            say("The tasks go on without you.")
            raise
    raise typer.Exit(code)


async def watch_ids(client: TaskClient, ids: list[str], told: Reporter) -> ExitCode:
    """Until all have ended; OK when all have succeeded."""
    from kikitori.cli.tasks.following import follow_all

    tasks: list[Any] = []

    async def look(task_id: str) -> None:
        tasks.append(await client.get(task_id))

    code = await for_each(ids, look)
    ended = await follow_all(client, tasks, told)
    return code if all(task["status"] == "succeeded" for task in ended) else ExitCode.FAILED
