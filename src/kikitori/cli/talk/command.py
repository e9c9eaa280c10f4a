"""``kikitori talk``: speak with a server, and hear its replies."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from kikitori.cli.exits import ExitCode, guarded, say
from kikitori.cli.flags import SectionedCommand, with_language_code

if TYPE_CHECKING:
    from kikitori.cli.talk.dialogue import Problem, Replied, Shown
    from kikitori.cli.talk.playing import Player

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

EPILOG = (
    "Exit codes: 0 all fine; 2 a flag or argument is wrong; 3 no server, microphone or loudspeaker, or the connection "
    "was lost; 130 Ctrl-C."
)


@app.command(cls=SectionedCommand, epilog=EPILOG)
@guarded
def talk(
    *,
    url: Annotated[
        str, typer.Option(metavar="URL", help="The server; https://api.openai.com works, too.")
    ] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str, typer.Option(metavar="KEY", envvar="KIKITORI_API_KEY", help="API key of that server.", show_default=False)
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Who answers, for servers that have several.")
    ] = "gpt-realtime",
    hears: Annotated[str, typer.Option(metavar="NAME", help="The model that writes down what you say.")] = "whisper-1",
    language: Annotated[
        str, typer.Option("--language", "-l", metavar="CODE", help="Of what you say; default: detected.")
    ] = "",
    instructions: Annotated[str | None, typer.Option(metavar="TEXT", help="How to answer.", show_default=False)] = None,
    voice: Annotated[str, typer.Option(metavar="NAME", help="Of the replies. Default: the server's.")] = "",
    text: Annotated[bool, typer.Option("--text", help="Replies are only written.")] = False,
    input_files: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", "-i", metavar="FILE", help="Say this recording instead; each one is a turn.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.wav",
            help="Write the replies here instead of playing them.",
            show_default=False,
        ),
    ] = None,
    microphone: Annotated[
        str, typer.Option(metavar="NAME|NUMBER", help="Which microphone. Default: the usual one.")
    ] = "",
) -> None:
    """Talk with a server: hold space, speak, let go, and hear the reply.

    Speak, and a reply stops. In terminals that do not say when a key is let go, space begins and ends what you say.
    """
    asked = Asked(
        url=url,
        api_key=api_key,
        model=model,
        hears=hears,
        language=with_language_code({"language": language}).get("language") or "",
        instructions=instructions,
        voice=voice,
        text=text,
        inputs=tuple(input_files or ()),
        output=output,
        microphone=microphone,
    )
    raise typer.Exit(run(asked))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The command line, read."""

    url: str
    api_key: str
    model: str
    hears: str
    language: str
    instructions: str | None
    voice: str
    text: bool
    inputs: tuple[Path, ...]
    output: Path | None
    microphone: str


def run(asked: Asked) -> ExitCode:
    """Talk until the user or the files end it. Raises KikitoriError, KeyboardInterrupt."""
    from kikitori.cli.interrupts import run_interruptibly

    player = _player(asked)
    try:
        run_interruptibly(_talk(asked, player))
    finally:
        player.close()
    return ExitCode.OK


async def _talk(asked: Asked, player: Player) -> None:
    from kikitori.cli.listen.sounds import MicrophoneSound, file_sound, import_microphone_library
    from kikitori.cli.talk.conversing import Talk, connected
    from kikitori.cli.talk.keys import TerminalKeys

    sounds = [file_sound(str(path)) for path in asked.inputs]
    keys = None
    if not sounds:
        keys = TerminalKeys(sys.stdin, sys.stdout)
        import_microphone_library()
    async with connected(asked.url, asked.api_key, asked.model) as socket:
        talk = Talk(socket, player, Lines(sys.stdout))
        talk.send(
            talk.dialogue.session(
                instructions=asked.instructions,
                voice=asked.voice,
                language=asked.language,
                hears=asked.hears,
                speaks=not asked.text,
            )
        )
        with keys.opened() if keys else nullcontext():
            if keys:
                say(keys.hint)
                turns = talk.by_keys(keys.keys(), MicrophoneSound(asked.microphone))
            else:
                turns = talk.by_files(sounds)
            await talk.run(until=asyncio.create_task(turns))


def _player(asked: Asked) -> Player:
    """Raises InvalidInput, Unavailable."""
    from kikitori.cli.listen.sounds import import_microphone_library
    from kikitori.cli.talk.playing import ClockPlayer, DevicePlayer, FilePlayer

    if asked.output is not None:
        return FilePlayer(asked.output.expanduser())
    if asked.text or asked.inputs:
        return ClockPlayer()
    return DevicePlayer(import_microphone_library())


class Lines:
    """What both say, a line each; a reply grows while it comes."""

    def __init__(self, out: TextIO, complain: Callable[[str], None] = lambda text: say(text, color="yellow")) -> None:
        self._out, self._complain = out, complain
        self._open = ""

    def show(self, outcome: Shown | Replied | Problem) -> None:
        from kikitori.cli.listen.screen import printable
        from kikitori.cli.talk.dialogue import Problem, Replied

        if isinstance(outcome, Problem):
            self._close()
            self._complain(printable(outcome.message))
        elif isinstance(outcome, Replied):
            self._close()
            if outcome.problem:
                self._complain(printable(outcome.problem))
        else:
            self._say(outcome.who.value, printable(outcome.text), ends=outcome.ends)

    def _say(self, who: str, text: str, *, ends: bool) -> None:
        if text:
            if self._open != who:
                self._close()
                self._out.write(f"{who}: ")
                self._open = who
            self._out.write(text)
        if ends:
            self._close()
        self._out.flush()

    def _close(self) -> None:
        if self._open:
            self._out.write("\n")
            self._out.flush()
        self._open = ""
