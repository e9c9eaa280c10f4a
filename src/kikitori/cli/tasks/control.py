"""``kikitori tasks cancel``, ``retry``, ``priority`` and ``delete``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import guarded, say
from kikitori.cli.shared_flags import DEFAULT_URL, ApiKey, ServerUrl
from kikitori.cli.tasks.access import Ids, ask, for_each
from kikitori.cli.tasks.facts import PRIORITIES, Priority, label_of

if TYPE_CHECKING:
    from kikitori.cli.tasks.client import TaskClient


def register(app: App) -> None:
    for command in (cancel, retry, priority, delete):
        app.command()(command)


@guarded
def cancel(ids: Ids, *, url: ServerUrl = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """End tasks that wait or run. What they have heard is kept."""

    async def end(client: TaskClient, task_id: str) -> None:
        task = await client.act(task_id, "cancel")
        ended = task["status"] == "cancelled"
        say(f"{task_id} ({label_of(task)}) {'is cancelled' if ended else 'is being cancelled'}.")

    _run(ids, url, api_key, end)


@guarded
def retry(ids: Ids, *, url: ServerUrl = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Begin tasks again that failed, were cancelled or expired.

    Their text so far is removed.
    """

    async def begin(client: TaskClient, task_id: str) -> None:
        task = await client.act(task_id, "retry")
        say(f"{task_id} ({label_of(task)}) is {task['status']} again.")

    _run(ids, url, api_key, begin)


@guarded
def priority(
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a task.", show_default=False)],
    priority: Annotated[
        Priority, typer.Argument(metavar="|".join(PRIORITIES), help="Its new priority.", show_default=False)
    ],
    *,
    url: ServerUrl = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Let a task that waits go before others, or after them."""

    async def change(client: TaskClient, task_id: str) -> None:
        task = await client.act(task_id, "priority", {"priority": priority.value})
        place = task.get("queue_position")
        say(f"{task_id} ({label_of(task)}) is {task['priority']}{f', number {place}' if place else ''}.")

    _run([task_id], url, api_key, change)


@guarded
def delete(ids: Ids, *, url: ServerUrl = DEFAULT_URL, api_key: ApiKey = "") -> None:
    """Remove tasks for good, with their recordings and texts.

    One that runs is cancelled first.
    """

    async def remove(client: TaskClient, task_id: str) -> None:
        await client.delete(task_id)
        say(f"{task_id} is removed.")

    _run(ids, url, api_key, remove)


def _run(ids: list[str], url: str, api_key: str, act: Callable[[Any, str], Awaitable[None]]) -> None:
    async def work(client: TaskClient) -> Any:
        return await for_each(ids, lambda task_id: act(client, task_id))

    raise typer.Exit(ask(url, api_key, work))
