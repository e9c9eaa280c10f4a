"""``kikitori transcribe``: recordings → text and subtitles."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.config import MODEL_FLAGS, load_settings, settings_flags
from kikitori.cli.exits import ExitCode, InvalidSetting, complain, guarded
from kikitori.cli.flags import SectionedCommand, layout_flags, option_flags, with_flags, with_language_code
from kikitori.cli.inputs import STDIN, Missing, Recording, find_recordings
from kikitori.cli.outputs import FORMATS, TASK_FORMATS, Folder, output_names, parse_formats, standard_output
from kikitori.errors import InvalidInput

if TYPE_CHECKING:
    from kikitori.cli.progress import Reporter
    from kikitori.cli.run import Backend, Deliver
    from kikitori.options import DecodeOptions
    from kikitori.text.formats import OutputFormat
    from kikitori.text.subtitle_options import SubtitleLayout
    from kikitori.types import Transcript

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

DEFAULT_JOBS = 4

EPILOG = (
    "Exit codes: 0 all fine; 1 a recording failed, the others are done; 2 a flag or argument is wrong; "
    "3 no engine, model or server; 130 stopped with Ctrl-C, what was heard until then is printed."
)


@app.command(cls=SectionedCommand, epilog=EPILOG)
@guarded
@with_flags("settings", settings_flags(["data_dir", *MODEL_FLAGS], panel="Model"))
@with_flags("layout", layout_flags())
@with_flags("options", option_flags())
def transcribe(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files, folders, patterns such as '*.mp3', or - for stdin.")
    ],
    *,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(TASK_FORMATS),
            help="Form of the text; several with commas or by repeating the flag. Default: txt.",
            autocompletion=lambda incomplete: [name for name in FORMATS if name.startswith(incomplete)],
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write NAME.FORMAT files into this folder.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=64, help="Recordings decoded side by side.")
    ] = DEFAULT_JOBS,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; errors only.")] = False,
    url: Annotated[
        str, typer.Option(metavar="URL", help="Decode on this Kikitori server, not here.", show_default=False)
    ] = "",
    api_key: Annotated[
        str,
        typer.Option(metavar="KEY", envvar="KIKITORI_API_KEY", help="API key of that server.", show_default=False),
    ] = "",
    options: dict[str, Any],
    layout: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Turn recordings into text or subtitles.

    The text goes to stdout (or into a folder), everything else to stderr.
    """
    from kikitori.options import parse_options
    from kikitori.text.subtitle_options import parse_layout

    options = with_language_code(options)
    asked = Asked(
        formats=parse_formats(formats or []),
        output=output,
        jobs=jobs,
        quiet=quiet,
        url=url,
        api_key=api_key,
        given=options,
        options=parse_options(options),
        layout=parse_layout(layout),
        settings=settings,
    )
    raise typer.Exit(run(asked, find_recordings(_checked(files))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line, read."""

    formats: tuple[OutputFormat, ...]
    output: Path | None
    jobs: int
    quiet: bool
    url: str
    api_key: str
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

    for item in found:
        if isinstance(item, Missing):
            complain(InvalidInput(item.problem), about=item.name)
    recordings = [item for item in found if isinstance(item, Recording)]
    told = reporter(quiet=asked.quiet)
    deliver = _deliver(asked, recordings, told)
    if not recordings:
        return ExitCode.FAILED
    stdin = StoppableInput(sys.stdin)

    async def work() -> ExitCode:
        async with _backend(asked, stdin, told) as backend:
            return await Run(backend, deliver, told, jobs=asked.jobs, in_order=asked.output is None).all(recordings)

    with stdin, told:
        code = run_interruptibly(work(), on_interrupt=stdin.stop)
    return ExitCode.FAILED if len(recordings) < len(found) else code


@asynccontextmanager
async def _backend(asked: Asked, stdin: Any, told: Reporter) -> AsyncIterator[Backend]:
    if asked.url:
        from kikitori.cli.api import form_fields
        from kikitori.cli.remote import RemoteBackend

        fields = form_fields(asked.given, model=asked.settings.get("model", ""))
        async with RemoteBackend.open(asked.url, asked.api_key, fields, stdin) as remote:
            yield remote
        return
    from kikitori.cli.local import LocalBackend

    async with LocalBackend.open(load_settings(asked.settings), asked.options, stdin, told) as local:
        yield local


def _deliver(asked: Asked, recordings: Sequence[Recording], told: Reporter) -> Deliver:
    """Where transcripts go."""
    if asked.output is not None:
        folder = Folder(asked.output, output_names(recordings), asked.formats)

        def write(recording: Recording, transcript: Transcript, *, whole: bool) -> None:
            written = folder.write(recording, transcript, asked.layout, whole=whole)
            told.note(f"  → {', '.join(map(str, written))}")

        return write
    stdout = standard_output(asked.formats, several=len(recordings) > 1)

    def show(recording: Recording, transcript: Transcript, *, whole: bool) -> None:
        stdout.write(recording, transcript, asked.layout)

    return show


def _checked(files: list[str]) -> list[str]:
    if STDIN in files and (sys.stdin is None or sys.stdin.isatty()):
        raise InvalidSetting("Nothing is piped in.", remedy="Do so: kikitori transcribe - < talk.mp3")
    return files
