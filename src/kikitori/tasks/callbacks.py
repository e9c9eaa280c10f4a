"""Sends the callbacks that wait in the outbox: claim → send → record.

The outbox is the only memory: an attempt that nobody recorded, because its node died or the database was away, is made
again once its lease has run out, under the same webhook id. So a callback arrives at least once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

import httpx

from kikitori.errors import NotFound, Unavailable
from kikitori.logs import log_ids
from kikitori.store.keys import utc_now
from kikitori.store.task_records import Callback, CallbackAttempt, CallbackStatus, TaskRecord, TaskStatus, new_id
from kikitori.store.task_rows import host_of
from kikitori.tasks.backoff import DELAYS, Reply, after
from kikitori.tasks.delivery import deliver
from kikitori.tasks.payload import body_of_test, size_of, task_body
from kikitori.tasks.signing import Signer
from kikitori.types import Segment

logger = logging.getLogger(__name__)

ATTEMPTS = len(DELAYS) + 1
MAX_BYTES = 256 * 1024
TIMEOUT_SECONDS = 15.0
AT_ONCE = 100
AT_ONCE_PER_HOST = 10
"""A receiver that is slow keeps this many deliveries waiting, and no more.

All receivers of one owner together keep no more than half of what the others leave: there is always room for one more.
"""
POLL_SECONDS = 5.0
"""Callbacks of other nodes, and of nodes that died, are found within this time."""
LEAST_WAIT_SECONDS = 0.5
"""Where something is due and cannot be had: another node has it, or its receiver is busy."""
LEASE_MARGIN_SECONDS = 5.0
STOP_SECONDS = 5.0
PAGE = 500


class Outbox(Protocol):
    """Callbacks to send; ``store.callbacks.CallbackStore``."""

    async def due(
        self,
        node_id: str,
        now: datetime,
        limit: int,
        lease_seconds: float,
        *,
        skip_hosts: Collection[str] = (),
        skip_owners: Collection[str] = (),
    ) -> Sequence[Callback]:
        """The longest due ones, which from now on nobody else gets for ``lease_seconds``."""
        ...

    async def record(
        self,
        callback: Callback,
        attempt: CallbackAttempt,
        *,
        status: CallbackStatus,
        next_attempt_at: datetime | None,
    ) -> object: ...

    async def next_due(self) -> datetime | None: ...


class FinishedTasks(Protocol):
    """What callbacks tell about; ``store.tasks.TaskStore``."""

    async def get(self, id: str, owner: str | None) -> TaskRecord: ...

    async def segments(self, id: str, *, after: int = 0, limit: int = 1000) -> Sequence[Segment]: ...


class CallbackListener(Protocol):
    """Counts attempts; ``metrics.Metrics``."""

    def callback_tried(self, outcome: str) -> None: ...


class CallbackSender:
    """Used as ``async with``, which sends beside everything else until it is left."""

    def __init__(
        self,
        outbox: Outbox,
        tasks: FinishedTasks,
        signer: Signer,
        *,
        node_id: str,
        open_client: Callable[[], httpx.AsyncClient],
        attempts: int = ATTEMPTS,
        max_bytes: int = MAX_BYTES,
        timeout: float = TIMEOUT_SECONDS,
        at_once: int = AT_ONCE,
        at_once_per_host: int = AT_ONCE_PER_HOST,
        poll_seconds: float = POLL_SECONDS,
        now: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random.random,
        listener: CallbackListener | None = None,
    ) -> None:
        """``open_client`` gives a client that refuses private addresses: ``media.guard.guarded_client``."""
        self._outbox, self._tasks, self._signer = outbox, tasks, signer
        self._node_id, self._open_client = node_id, open_client
        self._attempts, self._max_bytes, self._timeout = attempts, max_bytes, timeout
        self._lease = timedelta(seconds=2 * timeout + LEASE_MARGIN_SECONDS)
        self._poll_seconds, self._now, self._chance = poll_seconds, now, chance
        self._listener = listener
        self._places = Places(at_once, at_once_per_host)
        self._held: deque[tuple[Callback, datetime]] = deque()
        """Claimed, but its host or its owner has no place yet; worth something until the time beside it."""
        self._woken = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self.run(), name="kikitori-callbacks")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        self.stop()
        # What is under way may end; what does not is sent again when its lease has run out.
        await asyncio.wait([self._loop], timeout=STOP_SECONDS)
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)

    def wake(self) -> None:
        """Something may be due. From the event loop only."""
        self._woken.set()

    def stop(self) -> None:
        """Begin nothing new; ``run`` ends when what is under way has ended."""
        self._stopping = True
        self._held.clear()
        self.wake()

    async def run(self) -> None:
        async with self._open_client() as client, asyncio.TaskGroup() as group:
            while not self._stopping:
                self._woken.clear()
                await self._wait(await self._send_due(group, client))

    async def test(self, url: str, owner: str) -> Reply:
        """A signed test event, sent at once and only once."""
        now = self._now()
        body = body_of_test(now)
        headers = self._signer.headers(owner, id=new_id("whk"), at=now, body=body)
        async with self._open_client() as client:
            return await deliver(client, url, body, headers, timeout=self._timeout)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _send_due(self, group: asyncio.TaskGroup, client: httpx.AsyncClient) -> float:
        """Begin all that is due and has a place; the seconds until it is worth looking again."""
        try:
            while self._places.free and not self._stopping:
                # Whoever begins by then is done before the lease runs out.
                until = self._now() + timedelta(seconds=self._timeout)
                claimed = await self._outbox.due(
                    self._node_id,
                    self._now(),
                    self._places.free,
                    self._lease.total_seconds(),
                    skip_hosts=self._places.full_hosts(),
                    skip_owners=self._places.full_owners(),
                )
                if not claimed:
                    break
                self._begin(claimed, until, group, client)
            return self._seconds_until(await self._outbox.next_due())
        except Unavailable as exc:
            logger.warning("callbacks wait", extra={"action": "callbacks_wait", "reason": str(exc)})
            return self._poll_seconds
        except Exception:  # what is broken now may be right again soon, and the loop must be there then
            logger.exception("callbacks wait", extra={"action": "callbacks_broken"})
            return self._poll_seconds

    def _begin(
        self, claimed: Sequence[Callback], until: datetime, group: asyncio.TaskGroup, client: httpx.AsyncClient
    ) -> None:
        self._held += [(callback, until) for callback in claimed]
        self._begin_held(group, client)

    def _begin_held(self, group: asyncio.TaskGroup, client: httpx.AsyncClient) -> None:
        """Send what has a place now; what nobody could send in time is due again by itself."""
        now = self._now()
        for _ in range(len(self._held)):
            callback, until = self._held.popleft()
            if now >= until:
                continue
            if self._places.take(host_of(callback.url), callback.owner):
                group.create_task(self._serve(callback, group, client))
            else:
                self._held.append((callback, until))

    def _seconds_until(self, next_due: datetime | None) -> float:
        if next_due is None:
            return self._poll_seconds
        seconds = (next_due - self._now()).total_seconds()
        return min(self._poll_seconds, seconds if seconds > 0 else LEAST_WAIT_SECONDS)

    async def _serve(self, callback: Callback, group: asyncio.TaskGroup, client: httpx.AsyncClient) -> None:
        try:
            with log_ids(task=callback.task_id):
                await self._deliver(callback, client)
        finally:
            self._places.leave(host_of(callback.url), callback.owner)
            self.wake()
        self._begin_held(group, client)

    async def _deliver(self, callback: Callback, client: httpx.AsyncClient) -> None:
        at = self._now()
        try:
            reply = await self._sent(callback, at, client)
            await self._record(callback, at, reply)
        except Unavailable as exc:
            # Its lease runs out, and then it is sent again.
            facts = {"action": "callback_not_recorded", "callback": callback.id, "reason": str(exc)}
            logger.warning("callback not recorded", extra=facts)
        except Exception:  # a mistake of ours: its lease runs out, and the others are sent meanwhile
            facts = {"action": "callback_not_recorded", "callback": callback.id, "reason": "see the trace"}
            logger.exception("callback not recorded", extra=facts)

    async def _sent(self, callback: Callback, at: datetime, client: httpx.AsyncClient) -> Reply:
        try:
            task = await self._tasks.get(callback.task_id, None)
            if not task.status.is_final:
                return Reply(error="The task was started again; its end has a callback of its own.", hopeless=True)
            body = task_body(task, await self._text(task))
            headers = self._signer.headers(task.owner, id=callback.id, at=at, body=body)
            return await deliver(client, callback.url, body, headers, timeout=self._timeout)
        except NotFound:
            return Reply(error="The task was deleted.", hopeless=True)
        except Unavailable:
            raise
        except Exception:  # one that cannot be sent must not hold up the others, and is not tried in a circle
            logger.exception("callback failed", extra={"action": "callback_broken", "callback": callback.id})
            return Reply(error="The server could not send it; its log says why.")

    async def _text(self, task: TaskRecord) -> list[Segment] | None:
        """The segments of ``task``; None when they are too much for a callback, or there are none to tell of."""
        if task.status is not TaskStatus.SUCCEEDED:
            return None
        found: list[Segment] = []
        size = 0
        while True:
            page = await self._tasks.segments(task.id, after=found[-1].id + 1 if found else 0, limit=PAGE)
            found += page
            size += sum(map(size_of, page))
            if size > self._max_bytes:
                return None
            if len(page) < PAGE:
                return found

    async def _record(self, callback: Callback, at: datetime, reply: Reply) -> None:
        number = callback.attempts + 1
        status, next_attempt_at = after(
            reply, attempt=number, most=self._attempts, now=self._now(), chance=self._chance()
        )
        attempt = CallbackAttempt(
            number=number,
            at=at,
            status_code=reply.status_code,
            error=reply.error,
            response=reply.response,
            seconds=reply.seconds,
        )
        await self._outbox.record(callback, attempt, status=status, next_attempt_at=next_attempt_at)
        if self._listener:
            self._listener.callback_tried(status.value)
        _log(callback, attempt, status)


class Places:
    """How many deliveries run: in all, to each host, and of each owner."""

    def __init__(self, most: int, most_per_host: int) -> None:
        self._most, self._most_per_host = most, most_per_host
        self._hosts: Counter[str] = Counter()
        self._owners: Counter[str] = Counter()

    @property
    def free(self) -> int:
        return self._most - self._hosts.total()

    def take(self, host: str, owner: str) -> bool:
        if self.free <= 0 or self._hosts[host] >= self._most_per_host or self._is_full(owner):
            return False
        self._hosts[host] += 1
        self._owners[owner] += 1
        return True

    def leave(self, host: str, owner: str) -> None:
        for taken, name in ((self._hosts, host), (self._owners, owner)):
            taken[name] -= 1
            if not taken[name]:
                del taken[name]

    def full_hosts(self) -> list[str]:
        return [host for host, taken in self._hosts.items() if taken >= self._most_per_host]

    def full_owners(self) -> list[str]:
        return [owner for owner in self._owners if self._is_full(owner)]

    def _is_full(self, owner: str) -> bool:
        """It has half of what the others leave, or more."""
        left = self.free + self._owners[owner]
        return self._owners[owner] >= (left + 1) // 2


def _log(callback: Callback, attempt: CallbackAttempt, status: CallbackStatus) -> None:
    """Only the host of the address: the rest of it may be as good as a password."""
    host = host_of(callback.url)
    if status is CallbackStatus.DELIVERED:
        logger.info(
            "callback delivered",
            extra={
                "action": "callback_delivered",
                "callback": callback.id,
                "host": host,
                "attempt": attempt.number,
                "status": attempt.status_code,
                "seconds": attempt.seconds,
            },
        )
        return
    logger.warning(
        "callback given up" if status is CallbackStatus.FAILED else "callback failed",
        extra={
            "action": "callback_failed",
            "callback": callback.id,
            "host": host,
            "attempt": attempt.number,
            "reason": attempt.error,
            "last": status is CallbackStatus.FAILED,
        },
    )
