"""Speech made slower or faster without another pitch, where an engine cannot do it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kikitori.tts.speaker import SAMPLE_BYTES, Sound

if TYPE_CHECKING:
    from av.filter import Graph

SLOWEST_STEP = 0.5
"""What the filter does in one go."""


class Tempo:
    """Sound of one text in, the same ``speed`` times as fast out. Speed 1 hands it on as it is."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._graph: Graph | None = None
        self._rate = 0

    def push(self, sound: Sound) -> Sound | None:
        """What is ready now, if anything."""
        if self._speed == 1.0:
            return sound
        from av.audio.frame import AudioFrame  # heavy: only where it is needed

        if self._graph is None:
            self._graph, self._rate = _graph(sound.rate, self._speed), sound.rate
        frame = AudioFrame(format="s16", layout="mono", samples=len(sound.pcm) // SAMPLE_BYTES)
        frame.planes[0].update(sound.pcm)
        frame.sample_rate = sound.rate
        return self._through(frame)

    def finish(self) -> Sound | None:
        """The rest."""
        return self._through(None) if self._graph is not None else None

    def _through(self, frame: object) -> Sound | None:
        assert self._graph is not None
        self._graph.push(frame)  # type: ignore[arg-type]
        parts: list[bytes] = []
        while True:
            try:
                ready = self._graph.pull()
            except (BlockingIOError, EOFError):  # it wants more; it is at its end
                pcm = b"".join(parts)
                return Sound(pcm=pcm, rate=self._rate) if pcm else None
            parts.append(ready.to_ndarray().tobytes())


def _graph(rate: int, speed: float) -> Graph:
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    last = graph.add("abuffer", sample_rate=str(rate), sample_fmt="s16", channel_layout="mono", time_base=f"1/{rate}")
    while speed != 1.0:
        step = max(SLOWEST_STEP, speed)
        stretch = graph.add("atempo", tempo=str(step))
        last.link_to(stretch)
        last, speed = stretch, speed / step
    shape = graph.add("aformat", sample_fmts="s16", channel_layouts="mono")
    last.link_to(shape)
    shape.link_to(graph.add("abuffersink"))
    graph.configure()
    return graph
