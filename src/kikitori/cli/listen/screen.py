"""Where captions appear: a terminal with the text that may still change in grey, or plain lines in a pipe."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from kikitori.cli.exits import say
from kikitori.cli.listen.captions import Caption, Said, Shown, Told
from kikitori.cli.outputs import utf8

if TYPE_CHECKING:
    from rich.console import Console

MOST_SHOWN = 2_000
"""Characters of an interim text; of a longer one the end."""


class Screen(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, caption: Caption) -> None: ...


def open_screen(*, quiet: bool) -> Screen:
    utf8(sys.stdout)
    return Terminal(quiet=quiet) if sys.stdout.isatty() else Pipe(sys.stdout, quiet=quiet)


class Pipe(AbstractContextManager["Pipe"]):
    """Finals, a line each; everything else on stderr."""

    def __init__(self, out: TextIO, *, quiet: bool) -> None:
        self._out, self._quiet = out, quiet

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, caption: Caption) -> None:
        if isinstance(caption, Said):
            print(printable(caption.text), file=self._out, flush=True)
        elif isinstance(caption, Told) and (caption.problem or not self._quiet):
            say(printable(caption.message), color="yellow" if caption.problem else None)


class Terminal(AbstractContextManager["Terminal"]):
    """Finals scroll away, the text of the open utterance stands below them in grey."""

    def __init__(self, *, quiet: bool, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live
        from rich.text import Text

        self._text, self._quiet = Text, quiet
        self._console = console or RichConsole(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="visible")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw("", "")
        self._live.stop()

    def show(self, caption: Caption) -> None:
        if isinstance(caption, Shown):
            self._draw(caption.stable, caption.text.removeprefix(caption.stable))
        elif isinstance(caption, Said):
            self._draw("", "")
            self._console.print(self._text(printable(caption.text)))
        elif caption.problem or not self._quiet:
            self._console.print(self._text(printable(caption.message), style="yellow" if caption.problem else "dim"))

    def _draw(self, stable: str, tail: str) -> None:
        text = self._text(printable(stable), style="dim")
        text.append(printable(tail), style="bright_black italic")
        self._live.update(text[-MOST_SHOWN:], refresh=True)


def printable(text: str) -> str:
    """Nothing in ``text`` moves the cursor or changes colours."""
    return "".join(character if character.isprintable() else " " for character in text)
