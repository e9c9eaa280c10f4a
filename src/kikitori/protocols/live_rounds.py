"""All rounds of one plain WebSocket: which runs, which is ending, and who speaks first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kikitori.errors import Busy
from kikitori.live.options import LiveOptions
from kikitori.protocols.actions import Action, End, Open
from kikitori.protocols.live_frames import AudioId, frame
from kikitori.protocols.live_round import Round
from kikitori.protocols.live_start import Start, read_start

MOST_ROUNDS = 16
"""Rounds and streams of one socket that are not over yet."""


@dataclass(slots=True)
class Group:
    """What one ``start`` began: its own round, and the streams of JSON frames that came under it."""

    start: Start
    main: Round | None = None
    members: dict[str, Round] = field(default_factory=dict)
    """Those that are not over."""
    named: bool = False
    """One stream with a ``start`` of its own: its end is not the end of the round."""
    closed: bool = False


class Rounds:
    """The state of one connection. What it returns is to be done in this order."""

    def __init__(self, defaults: LiveOptions) -> None:
        self._defaults = defaults
        self._all: dict[str, Round] = {}
        """Those that are not over, or wait to say so."""
        self._groups: dict[str, Group] = {}
        """By the stream of each member."""
        self._group: Group | None = None
        self._streams: dict[AudioId, Round] = {}
        """Those that take JSON frames."""
        self._count = 0

    # Who is there

    def __len__(self) -> int:
        return len(self._all)

    def find(self, stream: str) -> Round | None:
        return self._all.get(stream)

    def named(self, audio_id: AudioId) -> Round | None:
        """The stream that takes JSON frames of this name."""
        return self._streams.get(audio_id)

    @property
    def main(self) -> Round | None:
        """The round that ``start`` began, while it runs."""
        main = self._group.main if self._group else None
        return None if main is None or main.ending or main.over else main

    @property
    def begun(self) -> bool:
        """There is something that ``end`` would end."""
        return self._group is not None

    # Beginning

    def check_room(self) -> None:
        """Raises Busy."""
        if len(self._all) >= MOST_ROUNDS:
            raise Busy(f"There are {MOST_ROUNDS} rounds or streams on this socket that are not over.")

    def start(self, start: Start) -> list[Action]:
        """A new round; the one that runs ends first."""
        before = self.end()
        return [*before, self._open(Group(start=start), None)]

    def start_stream(self, start: Start, audio_id: AudioId) -> list[Action]:
        """A stream with a ``start`` of its own; one of the same name ends first."""
        running = self._streams.get(audio_id)
        before = self.end_round(running) if running else []
        return [*before, self._open(Group(start=start, named=True), audio_id)]

    def join(self, audio_id: AudioId) -> list[Action]:
        """A stream of JSON frames: the round that waits for its audio, or one beside it. Raises Busy."""
        main = self.main
        if main is not None and main.audio_id is None and not main.fed:
            main.audio_id = audio_id
            self._streams[audio_id] = main
            return []
        self.check_room()
        if self._group is None:
            self._group = Group(start=read_start({}, self._defaults))
        return [self._open(self._group, audio_id)]

    def take_up(self, audio_id: AudioId | None) -> Round:
        """A round for a session that is already there."""
        return self._add(Group(start=read_start({}, self._defaults), named=audio_id is not None), audio_id)

    def _open(self, group: Group, audio_id: AudioId | None) -> Action:
        start, begun = group.start, self._add(group, audio_id)
        return Open(
            options=start.options,
            format=start.format,
            stream=begun.stream,
            record=start.record,
            resumable=start.resumable,
        )

    def _add(self, group: Group, audio_id: AudioId | None) -> Round:
        self._count += 1
        start = group.start
        begun = Round(
            stream=f"round-{self._count}",
            lang=start.lang,
            audio_id=audio_id,
            interim=start.options.interim,
            resumable=start.resumable,
            ignored=start.ignored,
            after=self._before(group, audio_id),
        )
        self._all[begun.stream] = begun
        self._groups[begun.stream] = group
        group.members[begun.stream] = begun
        if audio_id is None:
            group.main, self._group = begun, group
        else:
            self._streams[audio_id] = begun
        return begun

    def _before(self, group: Group, audio_id: AudioId | None) -> set[str]:
        """What must be over before a new round of ``group`` may speak; all of it is ending."""
        if audio_id is None:
            return {stream for stream, other in self._groups.items() if not other.named}
        namesakes = {other.stream for other in self._all.values() if other.audio_id == audio_id}
        return namesakes | (group.main.after if group.main else set())

    # Ending

    def end(self) -> list[Action]:
        """End the round that runs and the streams under it; the next frames need a new ``start``."""
        group, self._group = self._group, None
        if group is None:
            return []
        group.closed = True
        ending = [action for member in list(group.members.values()) for action in self.end_round(member)]
        return ending or ([] if group.members else [frame("ended")])

    def end_round(self, ending: Round) -> list[Action]:
        if ending.audio_id is not None and self._streams.get(ending.audio_id) is ending:
            del self._streams[ending.audio_id]
        if ending.ending or ending.over:
            return []
        ending.ending = True
        return [End(stream=ending.stream)]

    def finish(self, finished: Round) -> list[Action]:
        """A session is over: say so when its turn comes, and let those speak that waited for it."""
        finished.over = True
        if finished.audio_id is not None and self._streams.get(finished.audio_id) is finished:
            del self._streams[finished.audio_id]
        said: list[Action] = []
        while done := next((each for each in self._all.values() if each.over and not each.after), None):
            del self._all[done.stream]
            said += self._farewell(done)
            for waiting in self._all.values():
                said += waiting.release(done.stream)
        return said

    def _farewell(self, done: Round) -> Sequence[Action]:
        """``ended`` of a stream with its name; without one when all of what a ``start`` began is over."""
        group = self._groups.pop(done.stream)
        del group.members[done.stream]
        said = [*done.ended()] if done.audio_id is not None else []
        nothing_more = group.closed or (group.main is done and done.audio_id is None)
        if group.named or group.members or not nothing_more:
            return said
        if group is self._group:
            self._group = None
        return [*said, frame("ended")]
