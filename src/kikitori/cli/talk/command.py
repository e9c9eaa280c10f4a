"""``kikitori talk``: speak with a server, and hear its replies."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kikitori.cli.apps import App
from kikitori.cli.exits import ExitCode, guarded, say
from kikitori.cli.flags import with_fields, with_language_code
from kikitori.cli.shared_flags import DEFAULT_URL, ApiKey, Microphone

if TYPE_CHECKING:
    from kikitori.cli.talk.playing import Player

app = App()

EPILOG = (
    "Exit codes: 0 all fine; 1 a reply to a recording failed; 2 a flag or argument is wrong; 3 no server, microphone "
    "or loudspeaker, or the connection was lost; 130 Ctrl-C."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What was typed."""

    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="KIKITORI_URL",
            help="The server; https://api.openai.com works, too.",
            rich_help_panel="Server",
        ),
    ] = DEFAULT_URL
    api_key: ApiKey = ""
    model: Annotated[str, typer.Option(metavar="NAME", help="Who answers, for servers that have several.")] = (
        "gpt-realtime"
    )
    hears: Annotated[str, typer.Option(metavar="NAME", help="The model that writes down what you say.")] = "whisper-1"
    language: Annotated[
        str, typer.Option("--language", "-l", metavar="CODE", help="Of what you say; default: detected.")
    ] = ""
    instructions: Annotated[str | None, typer.Option(metavar="TEXT", help="How to answer.", show_default=False)] = None
    voice: Annotated[str, typer.Option(metavar="NAME", help="Of the replies. Default: the server's.")] = ""
    text: Annotated[bool, typer.Option("--text", help="Replies are only written.")] = False
    inputs: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", "-i", metavar="FILE", help="Say this recording instead; each one is a turn.", show_default=False
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.wav",
            help="Write the replies here instead of playing them.",
            show_default=False,
        ),
    ] = None
    microphone: Microphone = ""


@app.command(epilog=EPILOG)
@guarded
@with_fields("line")
def talk(*, line: CommandLine) -> None:
    """Talk with a server: hold space, speak, let go, and hear the reply.

    Speak, and a reply stops. In terminals that do not say when a key is let go, space begins and ends what you say.
    """
    raise typer.Exit(run(line))


def run(line: CommandLine) -> ExitCode:
    """Talk until the user or the files end it. Raises KikitoriError, KeyboardInterrupt."""
    from kikitori.cli.interrupts import run_interruptibly

    player = _player(line)
    try:
        failed = run_interruptibly(_talk(line, player))
    finally:
        player.close()
    return ExitCode.FAILED if failed and line.inputs else ExitCode.OK


async def _talk(line: CommandLine, player: Player) -> bool:
    """Whether a reply failed."""
    from kikitori.cli.listen.sounds import MicrophoneSound, file_sound, import_microphone_library
    from kikitori.cli.talk.conversing import Talk, connected
    from kikitori.cli.talk.keys import TerminalKeys
    from kikitori.cli.talk.showing import open_display

    sounds = [file_sound(str(path)) for path in line.inputs or ()]
    keys = None
    if not sounds:
        keys = TerminalKeys(sys.stdin, sys.stdout)
        import_microphone_library()
    async with connected(line.url, line.api_key, line.model) as socket:
        with ExitStack() as terminal:
            if keys:
                terminal.enter_context(keys.opened())
                say(keys.hint)
            display = open_display(sys.stdout)
            terminal.enter_context(display)
            talk = Talk(socket, player, display)
            talk.send(
                talk.dialogue.session(
                    instructions=line.instructions,
                    voice=line.voice,
                    language=with_language_code({"language": line.language})["language"],
                    hears=line.hears,
                    speaks=not line.text,
                )
            )
            turns = talk.by_keys(keys.keys(), MicrophoneSound(line.microphone)) if keys else talk.by_files(sounds)
            await talk.run(until=asyncio.create_task(turns))
            return talk.failed


def _player(line: CommandLine) -> Player:
    """Raises InvalidInput, Unavailable."""
    from kikitori.cli.listen.sounds import import_microphone_library
    from kikitori.cli.talk.playing import ClockPlayer, DevicePlayer, FilePlayer

    if line.output is not None:
        return FilePlayer(line.output.expanduser())
    if line.text or line.inputs:
        return ClockPlayer()
    return DevicePlayer(import_microphone_library())
