"""``kikitori tasks submit``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import ExitCode, complain, guarded, say
from kikitori.cli.flags import option_flags, with_fields, with_flags, with_language_code
from kikitori.cli.inputs import Missing, Recording, check_piped, find_recordings, those_there
from kikitori.cli.outputs import TASK_FORMATS, parse_formats
from kikitori.cli.parallel import side_by_side
from kikitori.cli.shared_flags import DEFAULT_URL, ApiKey, Quiet, ServerUrl
from kikitori.cli.tasks.access import FATAL, AsJson, ask
from kikitori.cli.tasks.facts import PRIORITIES, Priority, waiting_words
from kikitori.cli.tasks.times import parse_length
from kikitori.errors import KikitoriError

if TYPE_CHECKING:
    from kikitori.cli.interrupts import StoppableInput
    from kikitori.cli.tasks.client import TaskClient

JOBS = 4
"""Sent side by side."""
EPILOG = (
    "The ids of the tasks go to stdout, all else to stderr. Exit codes: 0 all fine; 1 something could not be sent, or "
    "did not succeed with --wait; 2 a flag or argument is wrong; 3 no server; 130 stopped with Ctrl-C."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link, or text with one inside."""

    name: str


Source = Recording | Link


def register(app: App) -> None:
    app.command(epilog=EPILOG)(submit)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed."""

    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders, patterns such as '*.mp3', links to media or video pages, - for stdin.",
        ),
    ]
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="A model of the server. Default: its own.", show_default=False)
    ] = ""
    priority: Annotated[
        Priority, typer.Option("--priority", "-p", metavar="|".join(PRIORITIES), help="What goes first.")
    ] = Priority.NORMAL
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TEXT", help="A label to find them by; repeat it for several.")
    ] = None
    platform: Annotated[
        str, typer.Option(metavar="TEXT", help="Where they come from, to find them by.", show_default=False)
    ] = ""
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(TASK_FORMATS),
            help="Forms of the text, noted on the task.",
            autocompletion=lambda: [*TASK_FORMATS],
        ),
    ] = None
    callback_url: Annotated[
        str, typer.Option(metavar="URL", help="Told when a task has ended.", show_default=False)
    ] = ""
    idempotency_key: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Sent again with the same key, a source makes no second task. Several sources get KEY#1, KEY#2, ….",
            show_default=False,
        ),
    ] = ""
    expires_in: Annotated[
        str,
        typer.Option(metavar="TIME", help="Not begun within 90s, 10m, 2h, 7d it is given up.", show_default=False),
    ] = ""
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Show progress until all have ended.")] = False
    as_json: AsJson = False
    quiet: Quiet = False
    url: ServerUrl = DEFAULT_URL
    api_key: ApiKey = ""


@guarded
@with_flags("options", option_flags())
@with_fields("line")
def submit(*, line: CommandLine, options: dict[str, Any]) -> None:
    """Send recordings and links to a server.

    Each becomes a task, which is done even when the server is stopped in between.
    """
    fields = task_fields(line, options)
    check_piped(line.sources, "kikitori tasks submit - < talk.mp3")
    found = [*find_sources(line.sources)]
    wanted: list[Source] = those_there(found)
    if not wanted:
        raise typer.Exit(ExitCode.FAILED)
    code = _send(line, fields, wanted)
    raise typer.Exit(ExitCode.FAILED if len(wanted) < len(found) else code)


def task_fields(line: CommandLine, options: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """The form of each task. Raises InvalidOption."""
    from kikitori.cli.api import form_fields
    from kikitori.options import parse_options

    options = with_language_code(options)
    parse_options(options)
    texts: dict[str, str | list[str]] = {
        "priority": line.priority.value,
        "tags": line.tags or [],
        "platform": line.platform,
        "formats": [each.value for each in parse_formats(line.formats, allowed=TASK_FORMATS)] if line.formats else [],
        "callback_url": line.callback_url,
        "expires_in": f"{parse_length(line.expires_in, 'expires_in'):g}" if line.expires_in else "",
    }
    return {**form_fields(options, model=line.model), **{name: value for name, value in texts.items() if value}}


def _send(line: CommandLine, fields: dict[str, str | list[str]], wanted: Sequence[Source]) -> ExitCode:
    """Make the tasks, and wait for them if that is asked for. Raises KikitoriError, KeyboardInterrupt."""
    from kikitori.cli.interrupts import StoppableInput

    with StoppableInput(sys.stdin) as stdin:
        sender = Sender(fields, line.idempotency_key, stdin, as_json=line.as_json, quiet=line.quiet or line.wait)

        async def work(client: TaskClient) -> ExitCode:
            code = await sender.send_all(client, wanted)
            return max(code, await _wait(client, sender.made, line.quiet)) if line.wait else code

        try:
            return ask(line.url, line.api_key, work, on_interrupt=stdin.stop)
        except KeyboardInterrupt:
            if sender.made:
                say("What was sent goes on without you.")
            raise


def find_sources(arguments: Sequence[str]) -> Iterator[Source | Missing]:
    """What the arguments stand for, in their order: text with a link inside is a link."""
    seen: set[str] = set()
    for argument in arguments:
        found: list[Source | Missing] = [Link(name=argument)] if "://" in argument else [*find_recordings([argument])]
        for item in found:
            path = item.path if isinstance(item, Recording) else None
            key = str(path.resolve()) if path else item.name
            if key not in seen:
                seen.add(key)
                yield item


class Sender:
    """Makes a task of each source, several at once, and tells of them in order."""

    def __init__(
        self,
        fields: dict[str, str | list[str]],
        key: str,
        stdin: StoppableInput,
        *,
        as_json: bool = False,
        quiet: bool = False,
    ) -> None:
        self._fields, self._key, self._stdin = fields, key, stdin
        self._as_json, self._quiet = as_json, quiet
        self.made: list[dict[str, Any]] = []

    async def send_all(self, client: TaskClient, sources: Sequence[Source]) -> ExitCode:
        """Raises what befalls all of them; tasks that were made before are told."""
        places = asyncio.Semaphore(JOBS)
        sent: list[tuple[Source, asyncio.Task[Any]]] = []
        told = failed = 0
        try:
            async with side_by_side() as group:
                for number, source in enumerate(sources, start=1):
                    fields = self._with_key(number if len(sources) > 1 else 0)
                    sent.append((source, group.create_task(self._send(client, places, source, fields))))
                for source, task in sent:
                    await asyncio.wait([task])
                    told += 1
                    failed += not self._tell(source, task.result())
        finally:
            for source, task in sent[told:]:
                if task.done() and not task.cancelled() and task.exception() is None:
                    self._tell(source, task.result())
        return ExitCode.FAILED if failed else ExitCode.OK

    def _with_key(self, number: int) -> dict[str, str | list[str]]:
        if not self._key:
            return self._fields
        return {**self._fields, "idempotency_key": f"{self._key}#{number}" if number else self._key}

    async def _send(
        self, client: TaskClient, places: asyncio.Semaphore, source: Source, fields: dict[str, str | list[str]]
    ) -> dict[str, Any] | KikitoriError:
        from kikitori.cli.uploads import opened

        async with places:
            try:
                if isinstance(source, Link):
                    return await client.create({**fields, "url": source.name})
                async with opened(source, self._stdin) as file:
                    return await client.create(fields, file, name=source.path.name if source.path else "stdin")
            except FATAL:
                raise
            except KikitoriError as exc:  # wrong with this one
                return exc

    def _tell(self, source: Source, made: dict[str, Any] | KikitoriError) -> bool:
        """Whether a task was made."""
        if isinstance(made, KikitoriError):
            complain(made, about=source.name)
            return False
        self.made.append(made)
        typer.echo(json.dumps(made, ensure_ascii=False) if self._as_json else made["id"])
        if not self._quiet:
            say(f"{source.name}: {waiting_words(made)}")
        return True


async def _wait(client: TaskClient, made: Sequence[dict[str, Any]], quiet: bool) -> ExitCode:
    from kikitori.cli.progress import reporter
    from kikitori.cli.tasks.following import follow_all

    with reporter(quiet=quiet) as told:
        ended = await follow_all(client, made, told)
    return ExitCode.OK if all(task["status"] == "succeeded" for task in ended) else ExitCode.FAILED
