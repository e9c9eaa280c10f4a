"""Places for files that are heard at once, and the room where others wait; callers take turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kikitori.errors import Busy

RETRY_AFTER_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class _Ticket:
    caller: str
    number: int
    """In the order of arrival."""
    told: Callable[[int], None]
    admitted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    position: int = 0


class WaitingRoom:
    """One caller has half of the places at most, so that others find one soon, and who had the last turn waits longest.

    One event loop only.
    """

    def __init__(self, places: int, *, most_waiting: int) -> None:
        """Raises Busy from ``place`` when ``most_waiting`` wait already."""
        self._places, self._most_waiting = places, most_waiting
        self.per_caller = max(1, places // 2)
        self._running: Counter[str] = Counter()
        self._waiting: list[_Ticket] = []
        self._served: dict[str, int] = {}
        """When a caller had its last turn; of callers who are here."""
        self._tickets = self._turns = 0

    @property
    def running(self) -> int:
        return self._running.total()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def check(self) -> None:
        """Raise Busy when nobody more may wait."""
        if len(self._waiting) >= self._most_waiting:
            raise Busy(f"{len(self._waiting)} files are waiting.", retry_after=RETRY_AFTER_SECONDS)

    @asynccontextmanager
    async def place(self, caller: str, told: Callable[[int], None]) -> AsyncGenerator[None, None]:
        """A place for one file of ``caller``. Raises Busy.

        While it waits, ``told`` gets its position whenever that changes; 1 is next.
        """
        ticket = self._join(caller, told)
        try:
            await ticket.admitted
        except asyncio.CancelledError:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._move_up(caller)
            else:  # the place came together with the cancelling
                self._release(caller)
            raise
        try:
            yield
        finally:
            self._release(caller)

    def _join(self, caller: str, told: Callable[[int], None]) -> _Ticket:
        self.check()
        self._tickets += 1
        ticket = _Ticket(caller, self._tickets, told)
        self._waiting.append(ticket)
        self._move_up(caller)
        return ticket

    def _release(self, caller: str) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        self._move_up(caller)

    def _move_up(self, caller: str) -> None:
        """Give the free places out, and tell the others where they stand; something of ``caller`` has changed."""
        while self.running < self._places and (ticket := self._next()):
            self._waiting.remove(ticket)
            self._running[ticket.caller] += 1
            self._turns += 1
            self._served[ticket.caller] = self._turns
            ticket.admitted.set_result(None)
        if not self._running[caller] and all(ticket.caller != caller for ticket in self._waiting):
            self._served.pop(caller, None)
        for position, ticket in enumerate(self._in_order(), start=1):
            if ticket.position != position:
                ticket.position = position
                ticket.told(position)

    def _next(self) -> _Ticket | None:
        """Who is next and may come in; whoever has just been cancelled is still in the room, and about to leave it."""
        here = (ticket for ticket in self._in_order() if not ticket.admitted.done())
        return next((ticket for ticket in here if self._running[ticket.caller] < self.per_caller), None)

    def _in_order(self) -> list[_Ticket]:
        """Who has fewest files running, or before it in the line, comes first; then who had no turn for longest."""
        ahead = Counter(self._running)
        ranks: dict[_Ticket, tuple[int, int, int]] = {}
        for ticket in self._waiting:
            ranks[ticket] = (ahead[ticket.caller], self._served.get(ticket.caller, 0), ticket.number)
            ahead[ticket.caller] += 1
        return sorted(self._waiting, key=ranks.__getitem__)
