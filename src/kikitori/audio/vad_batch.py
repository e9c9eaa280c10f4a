"""Speech probabilities of many live sessions, from one model in memory.

A call of Silero v6 hears one session: the first dimension of its input is the time within a session, and its state has
room for one (``h`` and ``c`` are fixed at 1 x 1 x 128). So sessions cannot share a call, and ``VadBatch`` makes one for
each that has a whole frame. Measured on one core of a server: 0.11 ms for a frame alone, 0.16 ms for two at once,
0.27 ms for four, 0.90 ms for sixteen. Five hundred sessions that are heard frame by frame therefore
take 1.6 cores, and one core when eight frames (0.26 s) of each are gathered. Sharing calls would save little: the time
goes into arithmetic.

Digital silence takes as long as sound. Its probability is small and all but constant, yet the state keeps drifting
for minutes, so frames that were passed over would change what is heard after them.
"""

from __future__ import annotations

from collections.abc import Sequence

from kikitori.audio.vad import Probabilities, VadStream
from kikitori.types import Audio


class VadState:
    """What the model remembers of one session, and samples that are no whole frame yet. 1.5 kB or so."""

    __slots__ = ("_stream",)

    def __init__(self) -> None:
        self._stream: VadStream | None = None

    def _push(self, audio: Audio) -> Probabilities:
        if self._stream is None:
            self._stream = VadStream()
        return self._stream.push(audio)

    def _forget(self) -> None:
        self._stream = None


class VadBatch:
    """The model for all sessions. Blocking. Threads may run it at once, each with sessions of its own.

    Raises Unavailable when the model is missing. It is loaded here, so that no session waits for it.
    """

    def __init__(self) -> None:
        VadStream()

    def run(self, work: Sequence[tuple[VadState, Audio]]) -> list[Probabilities]:
        """For each session the probabilities of the frames that its audio completes; none is an empty array.

        They are those of ``VadStream``, whatever else is in the call. A session may be there more than once.
        """
        return [state._push(audio) for state, audio in work]

    def reset(self, state: VadState) -> None:
        """Make ``state`` that of a new session."""
        state._forget()
