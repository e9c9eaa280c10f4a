"""Pictures of waves that were drawn before: reading an hour of sound again takes seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from kikitori.audio.peaks import Peaks

MOST = 200


class PeakMemory:
    """The last ones asked for. What a key stands for never changes."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[Hashable, Peaks] = OrderedDict()

    def get(self, key: Hashable) -> Peaks | None:
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def put(self, key: Hashable, peaks: Peaks) -> None:
        self._known[key] = peaks
        while len(self._known) > self._most:
            self._known.popitem(last=False)
