"""``kikitori transcribe``: recordings → text and subtitles."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.config import MODEL_FLAGS, load_settings, settings_flags
from kikitori.cli.exits import ExitCode, guarded
from kikitori.cli.flags import layout_flags, option_flags, with_fields, with_flags, with_language_code
from kikitori.cli.inputs import Missing, Recording, check_piped, find_recordings, those_there
from kikitori.cli.outputs import Folder, output_names, parse_formats, standard_output
from kikitori.cli.shared_flags import ApiKey, Formats, InsteadUrl, OutputFolder, Quiet

if TYPE_CHECKING:
    from kikitori.cli.progress import Reporter
    from kikitori.cli.run import Backend, Deliver
    from kikitori.options import DecodeOptions
    from kikitori.text.formats import OutputFormat
    from kikitori.text.subtitle_options import SubtitleLayout
    from kikitori.types import Transcript

app = App()

EPILOG = (
    "Exit codes: 0 all fine; 1 a recording failed, the others are done; 2 a flag or argument is wrong; "
    "3 no engine, model or server; 130 stopped with Ctrl-C, what was heard until then is printed."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed."""

    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files, folders, patterns such as '*.mp3', or - for stdin.")
    ]
    formats: Formats = None
    output: OutputFolder = None
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", min=1, max=64, help="Recordings decoded side by side.")
    ] = 4
    quiet: Quiet = False
    url: InsteadUrl = ""
    api_key: ApiKey = ""


@app.command(epilog=EPILOG)
@guarded
@with_flags("settings", settings_flags(["data_dir", *MODEL_FLAGS], panel="Model"))
@with_flags("layout", layout_flags())
@with_flags("options", option_flags())
@with_fields("line")
def transcribe(*, line: CommandLine, options: dict[str, Any], layout: dict[str, Any], settings: dict[str, Any]) -> None:
    """Turn recordings into text or subtitles.

    The text goes to stdout (or into a folder), everything else to stderr.
    """
    from kikitori.options import parse_options
    from kikitori.text.subtitle_options import parse_layout

    options = with_language_code(options)
    asked = Asked(
        line=line,
        formats=parse_formats(line.formats or []),
        given=options,
        options=parse_options(options),
        layout=parse_layout(layout),
        settings=settings,
    )
    check_piped(line.files, "kikitori transcribe - < talk.mp3")
    raise typer.Exit(run(asked, find_recordings(line.files)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line, read."""

    line: CommandLine
    formats: tuple[OutputFormat, ...]
    given: dict[str, Any]
    """The decode options as they were typed, for a server to read."""
    options: DecodeOptions
    layout: SubtitleLayout
    settings: dict[str, Any]


def run(asked: Asked, found: Sequence[Recording | Missing]) -> ExitCode:
    """Transcribe what was found. Raises KikitoriError when nothing can be, KeyboardInterrupt."""
    from kikitori.cli.interrupts import StoppableInput, run_interruptibly
    from kikitori.cli.progress import reporter
    from kikitori.cli.run import Run

    recordings = those_there(found)
    told = reporter(quiet=asked.line.quiet)
    deliver = _deliver(asked, recordings, told)
    if not recordings:
        return ExitCode.FAILED
    stdin = StoppableInput(sys.stdin)

    async def work() -> ExitCode:
        async with _backend(asked, stdin, told) as backend:
            work_of_all = Run(backend, deliver, told, jobs=asked.line.jobs, in_order=asked.line.output is None)
            return await work_of_all.all(recordings)

    with stdin, told:
        code = run_interruptibly(work(), on_interrupt=stdin.stop)
    return ExitCode.FAILED if len(recordings) < len(found) else code


@asynccontextmanager
async def _backend(asked: Asked, stdin: Any, told: Reporter) -> AsyncIterator[Backend]:
    if asked.line.url:
        from kikitori.cli.api import form_fields
        from kikitori.cli.remote import RemoteBackend

        fields = form_fields(asked.given, model=asked.settings.get("model", ""))
        async with RemoteBackend.open(asked.line.url, asked.line.api_key, fields, stdin) as remote:
            yield remote
        return
    from kikitori.cli.local import LocalBackend

    async with LocalBackend.open(load_settings(asked.settings), asked.options, stdin, told) as local:
        yield local


def _deliver(asked: Asked, recordings: Sequence[Recording], told: Reporter) -> Deliver:
    """Where transcripts go."""
    if asked.line.output is not None:
        folder = Folder(asked.line.output, output_names(recordings), asked.formats)

        def write(recording: Recording, transcript: Transcript, *, whole: bool) -> None:
            written = folder.write(recording, transcript, asked.layout, whole=whole)
            told.note(f"  → {', '.join(map(str, written))}")

        return write
    stdout = standard_output(asked.formats, several=len(recordings) > 1)

    def show(recording: Recording, transcript: Transcript, *, whole: bool) -> None:
        stdout.write(recording, transcript, asked.layout)

    return show
