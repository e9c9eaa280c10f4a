"""Where both are read: lines in a pipe; in a terminal two texts that grow side by side, below what was said."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from kikitori.cli.exits import say
from kikitori.cli.listen.screen import MOST_SHOWN, printable
from kikitori.cli.talk.dialogue import Problem, Replied, Shown, Who

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


def open_display(out: TextIO) -> Lines | SideBySide:
    return SideBySide() if out.isatty() else Lines(out)


class Lines(AbstractContextManager["Lines"]):
    """A line for what each says. A reply grows while it comes; words of the user may be taken back, so they are waited
    for."""

    def __init__(self, out: TextIO, complain: Callable[[str], None] = lambda text: say(text, color="yellow")) -> None:
        self._out, self._complain = out, complain
        self._open = ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def show(self, outcome: Shown | Replied | Problem) -> None:
        if isinstance(outcome, Shown):
            if outcome.who is Who.AGENT or outcome.ends:
                self._say(outcome.who.value, printable(outcome.text), ends=outcome.ends)
        else:
            self._close()
            if problem := _problem(outcome):
                self._complain(problem)

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


class SideBySide(AbstractContextManager["SideBySide"]):
    """Open texts stand below what was said, the user's first; one that is complete scrolls away."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole
        from rich.live import Live
        from rich.text import Text as RichText

        self._text = RichText
        self._console = console or RichConsole(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="visible")
        self._open: dict[Who, str] = {}
        self._complete: set[Who] = set()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._complete = {*self._open}
        self._scroll()
        self._draw()
        self._live.stop()

    def show(self, outcome: Shown | Replied | Problem) -> None:
        if isinstance(outcome, Shown):
            self._grow(outcome)
        elif problem := _problem(outcome):
            self._console.print(self._text(problem, style="yellow"))
        self._draw()

    def _grow(self, shown: Shown) -> None:
        if shown.who in self._complete:  # it waits for the other one, and something new begins
            self._print(shown.who)
        text = shown.text if shown.whole else self._open.get(shown.who, "") + shown.text
        if text:
            self._open[shown.who] = text
        else:
            self._open.pop(shown.who, None)
        if shown.ends and shown.who in self._open:
            self._complete.add(shown.who)
        self._scroll()

    def _scroll(self) -> None:
        """What is complete, in order: a reply never stands above what it answers."""
        for who in Who:
            if who in self._complete:
                self._print(who)
            elif who in self._open:
                return

    def _print(self, who: Who) -> None:
        self._console.print(self._line(who, self._open.pop(who)))
        self._complete.discard(who)

    def _draw(self) -> None:
        lines = [self._line(who, self._open[who][-MOST_SHOWN:]) for who in Who if who in self._open]
        self._live.update(self._text("\n").join(lines), refresh=True)

    def _line(self, who: Who, text: str) -> Text:
        return self._text.assemble((f"{who.value}: ", "bold"), printable(text))


def _problem(outcome: Replied | Problem) -> str:
    return printable(outcome.message if isinstance(outcome, Problem) else outcome.problem)
