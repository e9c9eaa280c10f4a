"""``kikitori tasks submit``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.exits import ExitCode, InvalidSetting, complain, guarded, say
from kikitori.cli.flags import SectionedCommand, option_flags, with_flags, with_language_code
from kikitori.cli.inputs import STDIN, Missing, Recording, find_recordings
from kikitori.cli.outputs import TASK_FORMATS, parse_formats
from kikitori.cli.tasks.access import DEFAULT_URL, FATAL, ApiKey, AsJson, Url, ask
from kikitori.cli.tasks.times import parse_length
from kikitori.errors import InvalidInput, KikitoriError

if TYPE_CHECKING:
    from kikitori.cli.interrupts import StoppableInput
    from kikitori.cli.tasks.client import TaskClient

PRIORITIES = ("high", "normal", "low")
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


def register(app: typer.Typer) -> None:
    app.command(cls=SectionedCommand, epilog=EPILOG)(submit)


@guarded
@with_flags("options", option_flags())
def submit(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders, patterns such as '*.mp3', links to media or video pages, - for stdin.",
        ),
    ],
    *,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="A model of the server. Default: its own.", show_default=False)
    ] = "",
    priority: Annotated[
        str,
        typer.Option(
            "--priority",
            "-p",
            metavar="|".join(PRIORITIES),
            help="What goes first.",
            autocompletion=lambda incomplete: [name for name in PRIORITIES if name.startswith(incomplete)],
        ),
    ] = "normal",
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TEXT", help="A label to find them by; repeat it for several.")
    ] = None,
    platform: Annotated[
        str, typer.Option(metavar="TEXT", help="Where they come from, to find them by.", show_default=False)
    ] = "",
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="|".join(TASK_FORMATS), help="Forms of the text, noted on the task."),
    ] = None,
    callback_url: Annotated[
        str, typer.Option(metavar="URL", help="Told when a task has ended.", show_default=False)
    ] = "",
    idempotency_key: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Sent again with the same key, a source makes no second task. Several sources get KEY#1, KEY#2, ….",
            show_default=False,
        ),
    ] = "",
    expires_in: Annotated[
        str,
        typer.Option(metavar="TIME", help="Not begun within 90s, 10m, 2h, 7d it is given up.", show_default=False),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Show progress until all have ended.")] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only, and the ids.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    options: dict[str, Any],
) -> None:
    """Send recordings and links to a server.

    Each becomes a task, which is done even when the server is stopped in between.
    """
    from kikitori.cli.api import form_fields
    from kikitori.cli.interrupts import StoppableInput
    from kikitori.options import parse_options

    options = with_language_code(options)
    parse_options(options)
    texts: dict[str, str | list[str]] = {
        "priority": priority,
        "tags": tags or [],
        "platform": platform,
        "formats": [each.value for each in parse_formats(formats, allowed=TASK_FORMATS)] if formats else [],
        "callback_url": callback_url,
        "expires_in": f"{parse_length(expires_in, 'expires_in'):g}" if expires_in else "",
    }
    fields = {**form_fields(options, model=model), **{name: value for name, value in texts.items() if value}}
    found = [*find_sources(_checked(sources))]
    for item in found:
        if isinstance(item, Missing):
            complain(InvalidInput(item.problem), about=item.name)
    wanted = [item for item in found if not isinstance(item, Missing)]
    if not wanted:
        raise typer.Exit(ExitCode.FAILED)
    with StoppableInput(sys.stdin) as stdin:
        sender = Sender(fields, idempotency_key, stdin, as_json=as_json, quiet=quiet)

        async def work(client: TaskClient) -> Any:
            code = await sender.send_all(client, wanted)
            return max(code, await _wait(client, sender.made, quiet)) if wait else code

        try:
            code = ask(url, api_key, work, on_interrupt=stdin.stop)
        except KeyboardInterrupt:
            if sender.made:
                say("What was sent goes on without you.")
            raise
    raise typer.Exit(ExitCode.FAILED if len(wanted) < len(found) else code)


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
            async with asyncio.TaskGroup() as group:
                for number, source in enumerate(sources, start=1):
                    fields = self._with_key(number if len(sources) > 1 else 0)
                    sent.append((source, group.create_task(self._send(client, places, source, fields))))
                for source, task in sent:
                    await asyncio.wait([task])
                    told += 1
                    failed += not self._tell(source, task.result())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
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
            from kikitori.cli.tasks.facts import waiting_words

            say(f"{source.name}: {waiting_words(made)}")
        return True


async def _wait(client: TaskClient, made: Sequence[dict[str, Any]], quiet: bool) -> ExitCode:
    from kikitori.cli.progress import reporter
    from kikitori.cli.tasks.following import follow_all

    with reporter(quiet=quiet) as told:
        ended = await follow_all(client, made, told)
    return ExitCode.OK if all(task["status"] == "succeeded" for task in ended) else ExitCode.FAILED


def _checked(sources: list[str]) -> list[str]:
    if STDIN in sources and (sys.stdin is None or sys.stdin.isatty()):
        raise InvalidSetting("Nothing is piped in.", remedy="Do so: kikitori tasks submit - < talk.mp3")
    return sources
