"""``kikitori tasks result``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import ExitCode, complain, guarded, say
from kikitori.cli.flags import layout_flags, with_flags
from kikitori.cli.outputs import TASK_FORMATS, Folder, output_names, parse_formats, standard_output
from kikitori.cli.shared_flags import DEFAULT_URL, ApiKey, Formats, OutputFolder, ServerUrl
from kikitori.cli.tasks.access import FATAL, Ids, ask, for_each
from kikitori.errors import KikitoriError

if TYPE_CHECKING:
    from kikitori.cli.inputs import Recording
    from kikitori.cli.tasks.client import TaskClient
    from kikitori.text.formats import OutputFormat

    Give = Callable[[Recording, Mapping[OutputFormat, bytes], bool], None]


def register(app: App) -> None:
    app.command()(result)


@guarded
@with_flags("layout", layout_flags())
def result(
    ids: Ids,
    *,
    formats: Formats = None,
    output: OutputFolder = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait, with progress, for tasks that run.")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="What there is so far, or until it broke off.")] = False,
    url: ServerUrl = DEFAULT_URL,
    api_key: ApiKey = "",
    layout: dict[str, Any],
) -> None:
    """Get the texts of tasks, on stdout or into a folder."""
    from kikitori.text.subtitle_options import parse_layout

    parse_layout(layout)
    chosen = parse_formats(formats or [], allowed=TASK_FORMATS)
    query = {name: _plain(value) for name, value in layout.items()} | ({"partial": "true"} if partial else {})

    async def work(client: TaskClient) -> Any:
        waited = await _wait(client, ids) if wait else ExitCode.OK
        fetched = await _fetch(client, ids, chosen, query, output)
        return max(waited, fetched)

    raise typer.Exit(ask(url, api_key, work))


async def _wait(client: TaskClient, ids: list[str]) -> ExitCode:
    from kikitori.cli.progress import reporter
    from kikitori.cli.tasks.watch import watch_ids

    with reporter(quiet=False) as told:
        return await watch_ids(client, ids, told)


async def _fetch(
    client: TaskClient,
    ids: Sequence[str],
    formats: Sequence[OutputFormat],
    query: Mapping[str, str],
    output: Path | None,
) -> ExitCode:
    from kikitori.cli.tasks.facts import recordings_of

    tasks: list[Any] = []

    async def look(task_id: str) -> None:
        tasks.append(await client.get(task_id))

    code = await for_each(ids, look)
    recordings = recordings_of(tasks)
    give = _giver(recordings, formats, output)
    for task, recording in zip(tasks, recordings, strict=True):
        try:
            files = {each: await client.file(task["id"], {**query, "format": each.value}) for each in formats}
            give(recording, files, task["status"] == "succeeded")
        except FATAL:
            raise
        except KikitoriError as exc:
            complain(exc, about=recording.name)
            code = ExitCode.FAILED
    return code


def _giver(recordings: Sequence[Recording], formats: Sequence[OutputFormat], output: Path | None) -> Give:
    """Where texts go."""
    if output is not None:
        folder = Folder(output, output_names(recordings), tuple(formats))

        def write(recording: Recording, files: Mapping[OutputFormat, bytes], whole: bool) -> None:
            say(f"{recording.name} → {', '.join(map(str, folder.write_files(recording, files, whole=whole)))}")

        return write
    stdout = standard_output(tuple(formats), several=len(recordings) > 1)

    def show(recording: Recording, files: Mapping[OutputFormat, bytes], whole: bool) -> None:
        stdout.write_files(recording, files)

    return show


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
