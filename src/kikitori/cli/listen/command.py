"""``kikitori listen``: the microphone, a recording or samples on stdin → live captions."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kikitori.cli.apps import App
from kikitori.cli.config import MODEL_FLAGS, load_settings, settings_flags
from kikitori.cli.exits import ExitCode, guarded
from kikitori.cli.flags import option_flags, with_fields, with_flags, with_language_code
from kikitori.cli.inputs import STDIN, check_piped
from kikitori.cli.outputs import TEXT_FORMATS, write_whole
from kikitori.cli.shared_flags import ApiKey, InsteadUrl, Microphone, Quiet
from kikitori.errors import InvalidOption

if TYPE_CHECKING:
    from kikitori.cli.interrupts import StoppableInput
    from kikitori.cli.listen.captions import LiveSource, Notebook
    from kikitori.cli.listen.sounds import Sound
    from kikitori.text.formats import OutputFormat

app = App()

WRITE_EVERY_SECONDS = 2.0
"""A file of captions is written anew at most so often, and at the end."""
START_FIELDS = {"language": "lang", "initial_prompt": "prompt", "hotwords": "hotwords"}
"""Decode options of a session, and what they are called in ``start``."""

EPILOG = (
    "Exit codes: 0 all fine, also when Ctrl-C ended the microphone; 1 the sound broke off; 2 a flag or argument is "
    "wrong; 3 no engine, model, server or microphone; 130 a file or stdin was stopped with Ctrl-C, the last words came."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed."""

    source: Annotated[
        str,
        typer.Argument(metavar="FILE|-", help="A recording, or - for samples on stdin. Default: the microphone."),
    ] = ""
    captions_file: Annotated[
        Path | None,
        typer.Option(
            "--srt",
            "--output",
            "-o",
            metavar="FILE",
            help=f"Write the captions here too; the suffix says how: {', '.join(TEXT_FORMATS)}.",
        ),
    ] = None
    endpoint_ms: Annotated[
        int | None,
        typer.Option(metavar="MS", min=100, max=10_000, help="Silence that ends an utterance. Default: 500."),
    ] = None
    microphone: Microphone = ""
    rate: Annotated[int, typer.Option(metavar="HZ", help="Samples a second on stdin.")] = 16_000
    encoding: Annotated[
        str, typer.Option(metavar="s16le|f32le|mulaw|alaw", help="How samples on stdin are written.")
    ] = "s16le"
    quiet: Quiet = False
    url: InsteadUrl = ""
    api_key: ApiKey = ""


@app.command(epilog=EPILOG)
@guarded
@with_flags("settings", settings_flags(["data_dir", *MODEL_FLAGS], panel="Model"))
@with_flags("options", option_flags(START_FIELDS))
@with_fields("line")
def listen(*, line: CommandLine, options: dict[str, Any], settings: dict[str, Any]) -> None:
    """Show what is spoken, while it is spoken.

    On a terminal, text that may still change is grey. In a pipe, stdout gets a line for each utterance.
    """
    asked = Asked(
        line=line,
        captions=_captions(line.captions_file),
        start=start_fields(line, options, settings.get("model")),
        settings=settings,
    )
    raise typer.Exit(run(asked))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line, read."""

    line: CommandLine
    captions: tuple[Path, OutputFormat] | None
    start: dict[str, Any]
    """Fields of the ``start`` message."""
    settings: dict[str, Any]


def start_fields(line: CommandLine, options: Mapping[str, Any], model: str | None) -> dict[str, Any]:
    """What the ``start`` of the session says. Raises InvalidOption, naming the flag."""
    from kikitori.options import parse_options

    options = with_language_code(options)
    parse_options(options)
    fields = {START_FIELDS[name]: value for name, value in options.items()}
    fields |= {"endpoint_ms": line.endpoint_ms, "model": model}
    return {name: value for name, value in fields.items() if value}


def run(asked: Asked) -> ExitCode:
    """Listen until the sound ends or Ctrl-C. Raises KikitoriError."""
    from kikitori.cli.interrupts import StoppableInput, run_interruptibly

    with StoppableInput(sys.stdin) as stdin:
        sound = _sound(asked.line, stdin)
        stopping = Stopping(sound)
        source = live_source(asked)
        run_interruptibly(listen_to(sound, source, asked, stopping), on_interrupt=stopping.ask, cancel=False)
    return ExitCode.INTERRUPTED if stopping.asked and asked.line.source else ExitCode.OK


@dataclass(slots=True)
class Stopping:
    """What the first Ctrl-C does: it ends the sound, and the last words still come."""

    sound: Sound
    asked: bool = False
    give_up: Callable[[], object] | None = None
    """Called too, while there is nothing to wait for yet."""

    def ask(self) -> None:
        self.asked = True
        self.sound.stop()
        if self.give_up is not None:
            self.give_up()


async def listen_to(
    sound: Sound, source: AbstractAsyncContextManager[LiveSource], asked: Asked, stopping: Stopping
) -> None:
    """Show and write what is heard. Raises KikitoriError; CancelledError when it is stopped before it listens."""
    from kikitori.cli.listen.captions import Notebook, Said, Told
    from kikitori.cli.listen.screen import open_screen

    notebook = Notebook(asked.start.get("model", ""))
    file = CaptionsFile(*asked.captions) if asked.captions else None
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        stopping.give_up = partial(loop.call_soon_threadsafe, task.cancel)
    async with source as listener:
        stopping.give_up = None
        with open_screen(quiet=asked.line.quiet) as screen:
            try:
                async with aclosing(listener.captions(sound)) as captions:
                    async for caption in captions:
                        screen.show(caption)
                        if isinstance(caption, Said):
                            notebook.add(caption)
                            if file:
                                await file.update(notebook)
                if sound.lost_seconds:
                    message = f"{sound.lost_seconds:.1f} s of sound were lost, because nobody took them in time."
                    screen.show(Told(message=message, problem=True))
            finally:
                if file:
                    await file.write(notebook)


def live_source(asked: Asked) -> AbstractAsyncContextManager[LiveSource]:
    """Enter it to load what it takes. Raises KikitoriError then and now."""
    if asked.line.url:
        from kikitori.cli.listen.remote import RemoteSource

        return nullcontext(RemoteSource(asked.line.url, asked.line.api_key, asked.start))
    from kikitori.cli.listen.local import LocalSource
    from kikitori.cli.progress import reporter

    start = {name: value for name, value in asked.start.items() if name != "model"}  # that is a setting here
    return LocalSource.open(load_settings(asked.settings), start, reporter(quiet=asked.line.quiet))


@dataclass(slots=True)
class CaptionsFile:
    """Captions on the disk, as they were a moment ago."""

    path: Path
    format: OutputFormat
    _written: float = field(default=-WRITE_EVERY_SECONDS)

    async def update(self, notebook: Notebook) -> None:
        if time.monotonic() - self._written >= WRITE_EVERY_SECONDS:
            await self.write(notebook)

    async def write(self, notebook: Notebook) -> None:
        from kikitori.text.formats import render_file

        transcript = notebook.transcript
        await asyncio.to_thread(lambda: write_whole(self.path, render_file(transcript, self.format)))
        self._written = time.monotonic()


def _captions(path: Path | None) -> tuple[Path, OutputFormat] | None:
    """The file of captions and its form. Raises InvalidOption."""
    if path is None:
        return None
    from kikitori.text.formats import OutputFormat

    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in TEXT_FORMATS:
        raise InvalidOption("srt", str(path), "a file name that ends in ." + ", .".join(TEXT_FORMATS))
    if not path.expanduser().parent.is_dir():
        raise InvalidOption("srt", str(path), "a file in a folder that exists")
    return path.expanduser(), OutputFormat(suffix)


def _sound(line: CommandLine, stdin: StoppableInput) -> Sound:
    """Raises InvalidOption, InvalidSetting, InvalidInput, Unavailable."""
    from kikitori.cli.listen.sounds import (
        MicrophoneSound,
        StdinSound,
        check_format,
        file_sound,
        import_microphone_library,
    )

    if line.source == STDIN:
        check_format(line.encoding, line.rate)
        check_piped([line.source], "arecord -f S16_LE -r 16000 | kikitori listen -")
        return StdinSound(stdin, line.encoding, line.rate)
    if line.source:
        return file_sound(line.source)
    import_microphone_library()
    return MicrophoneSound(line.microphone)
