"""The sender on an outbox in memory, a clock that is moved by hand, and receivers that are functions."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from tests.clock import Clock
from tests.unit.tasks.memory import NOON, MemoryOutbox, MemoryTasks, finished_task

from kikitori.errors import ForbiddenAddress, Unavailable
from kikitori.store.task_records import CallbackStatus, TaskRecord, TaskStatus
from kikitori.tasks.backoff import DELAYS
from kikitori.tasks.callbacks import PAGE, CallbackSender, Places
from kikitori.tasks.signing import Signer, make_secret
from kikitori.testing import Hold, fake_segments, until
from kikitori.types import Segment

Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]


def answered(status: int = 200, *parts: bytes) -> httpx.Response:
    """An answer whose body has not come yet."""

    async def body() -> AsyncGenerator[bytes, None]:
        for part in parts:
            yield part

    return httpx.Response(status, content=body())


class World:
    """All that a sender needs; ``answer`` is what every receiver does."""

    def __init__(self) -> None:
        self.clock = Clock(NOON)
        self.outbox, self.tasks = MemoryOutbox(), MemoryTasks()
        self.signer = Signer(make_secret())
        self.answers: list[Answer | int] = []
        """One for each request, in turn; the last one stays."""
        self.requests: list[httpx.Request] = []

    def finish(
        self,
        id: str = "task_1",
        *,
        segments: tuple[Segment, ...] = (),
        url: str = "https://hooks.example.org/",
        owner: str = "ann",
    ) -> TaskRecord:
        task = self.tasks.add(finished_task(id, url=url, owner=owner), segments)
        self.outbox.add(task)
        return task

    def sender(self, **settings: Any) -> CallbackSender:
        return CallbackSender(
            self.outbox,
            self.tasks,
            self.signer,
            node_id="node_1",
            open_client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(self._handle)),
            poll_seconds=1_000.0,
            now=self.clock,
            chance=lambda: 0.0,
            **settings,
        )

    @asynccontextmanager
    async def sending(self, *answers: Answer | int, **settings: Any) -> AsyncGenerator[CallbackSender, None]:
        self.answers = list(answers)
        async with self.sender(**settings) as sender:
            yield sender

    async def until_tried(self, times: int, id: str = "task_1") -> None:
        await until(lambda: len(self.outbox.tried[f"whk_{id}"]) >= times)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answered(answer) if isinstance(answer, int) else await answer(request)


@pytest.fixture
def world() -> World:
    return World()


def held(hold: Hold, status: int = 200) -> Answer:
    async def answer(request: httpx.Request) -> httpx.Response:
        await hold.wait()
        return answered(status)

    return answer


async def test_a_finished_task_is_told_signed_and_whole(world: World) -> None:
    world.clock = Clock(datetime.now(UTC))
    world.finish(segments=fake_segments(" Hello", " there."))
    async with world.sending(204):
        await world.until_tried(1)
    [request] = world.requests
    told = Webhook(world.signer.secret("ann")).verify(request.content, dict(request.headers))
    assert (told["type"], told["data"]["result"]["text"]) == ("task.succeeded", "Hello there.")
    assert (request.headers["webhook-id"], request.headers["content-type"]) == ("whk_task_1", "application/json")
    assert world.outbox.status("task_1") is CallbackStatus.DELIVERED


async def test_a_failed_callback_comes_again_by_the_schedule_under_the_same_id(world: World) -> None:
    world.finish()
    async with world.sending(500) as sender:
        for number, delay in enumerate(DELAYS, start=1):
            await world.until_tried(number)
            world.clock.go(delay - 0.5)
            sender.wake()
            await asyncio.sleep(0.01)
            assert len(world.requests) == number, "sent too early"
            world.clock.go(0.5)
            sender.wake()
        await world.until_tried(10)
        world.clock.go(1e6)
        sender.wake()
        await asyncio.sleep(0.01)
    assert len(world.requests) == 10
    assert {request.headers["webhook-id"] for request in world.requests} == {"whk_task_1"}
    assert len({request.headers["webhook-timestamp"] for request in world.requests}) == 10
    assert world.outbox.status("task_1") is CallbackStatus.FAILED
    assert [attempt.number for attempt in world.outbox.tried["whk_task_1"]] == [*range(1, 11)]


async def test_the_loop_wakes_by_itself_when_the_next_one_is_due(world: World) -> None:
    task = world.finish()
    world.outbox.rows["whk_task_1"] = replace(
        world.outbox.rows["whk_task_1"], next_attempt_at=world.clock() + timedelta(seconds=0.05)
    )
    async with world.sending(204):
        await asyncio.sleep(0.01)
        assert world.requests == []
        world.clock.go(1)
        await world.until_tried(1)
    assert task.id == "task_1"


async def test_one_slow_receiver_delays_nobody(world: World) -> None:
    slow = Hold()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "slow.example.org":
            await slow.wait()
        return answered()

    for number in range(50):
        world.finish(f"slow_{number}", url="https://slow.example.org/")
    for number in range(50):
        world.finish(f"quick_{number}", url=f"https://quick{number % 5}.example.org/")
    async with world.sending(answer, at_once=20, at_once_per_host=3):
        await until(lambda: all(world.outbox.tried[f"whk_quick_{number}"] for number in range(50)))
        asked = Counter(request.url.host for request in world.requests)
        assert asked["slow.example.org"] == 3
        slow.release.set()
        await until(lambda: all(world.outbox.tried.values()))
    assert len(world.requests) == 100


async def test_never_more_at_once_than_allowed(world: World) -> None:
    running = most = 0
    full = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 7:
            full.set()
        await full.wait()
        await asyncio.sleep(0.001)
        running -= 1
        return answered()

    for number in range(100):
        url = f"https://host{number % 30}.example.org/"
        world.finish(f"task_{number}", url=url, owner=f"owner {number % 20}")
    async with world.sending(answer, at_once=7, at_once_per_host=2):
        await until(lambda: all(world.outbox.tried.values()))
    assert most == 7


async def test_what_waited_too_long_for_its_receiver_is_left_to_its_next_lease(world: World) -> None:
    hold = Hold()
    for number in range(2):
        world.finish(f"task_{number}")
    async with world.sending(held(hold), 200, at_once_per_host=1, timeout=15.0) as sender:
        await hold.reached.wait()
        world.clock.go(20)  # another node may have the second one soon
        hold.release.set()
        await world.until_tried(1, "task_0")
        await asyncio.sleep(0.01)
        assert len(world.requests) == 1
        world.clock.go(30)
        sender.wake()
        await world.until_tried(1, "task_1")


async def test_a_sender_that_dies_in_the_middle_leaves_its_work_to_the_next_one(world: World) -> None:
    hold = Hold()
    world.finish()
    world.answers = [held(hold)]
    dying = asyncio.create_task(world.sender().run())
    await hold.reached.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    async with world.sending(204) as sender:
        await asyncio.sleep(0.01)
        assert len(world.requests) == 1, "the lease of the dead one still counts"
        world.clock.go(60)
        sender.wake()
        await world.until_tried(1)
    assert [request.headers["webhook-id"] for request in world.requests] == ["whk_task_1"] * 2


async def test_leaving_lets_what_is_under_way_end(world: World) -> None:
    hold = Hold()
    world.finish()
    async with world.sending(held(hold)):
        await hold.reached.wait()
        asyncio.get_running_loop().call_later(0.02, hold.release.set)
    assert world.outbox.status("task_1") is CallbackStatus.DELIVERED


async def test_an_attempt_that_could_not_be_recorded_is_made_again(world: World) -> None:
    hold = Hold()
    world.finish()
    async with world.sending(held(hold), 204) as sender:
        await hold.reached.wait()
        world.outbox.fails = [Unavailable("The database is away.")]
        hold.release.set()
        await until(lambda: not world.outbox.fails)
        assert world.outbox.tried["whk_task_1"] == []
        world.clock.go(60)
        sender.wake()
        await world.until_tried(1)
    assert [request.headers["webhook-id"] for request in world.requests] == ["whk_task_1"] * 2


@pytest.mark.parametrize("error", [Unavailable("The database is away."), RuntimeError("a mistake of ours")])
async def test_a_broken_database_does_not_end_the_loop(world: World, error: Exception) -> None:
    world.outbox.fails = [error]
    async with world.sending(204) as sender:
        await until(lambda: not world.outbox.fails)
        world.finish()
        sender.wake()
        await world.until_tried(1)


async def test_a_callback_that_cannot_be_made_does_not_hold_up_others(world: World) -> None:
    world.finish("broken")
    world.tasks.texts.pop("broken")
    world.finish("good")
    async with world.sending(204):
        await world.until_tried(1, "broken")
        await world.until_tried(1, "good")
    assert world.outbox.status("good") is CallbackStatus.DELIVERED
    assert world.outbox.status("broken") is CallbackStatus.PENDING
    assert "KeyError" not in world.outbox.tried["whk_broken"][0].error


async def test_a_private_address_is_given_up_at_once(world: World) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        raise ForbiddenAddress("hooks.example.org", param="callback_url")

    world.finish()
    async with world.sending(answer):
        await world.until_tried(1)
    assert world.outbox.status("task_1") is CallbackStatus.FAILED
    assert "private address" in world.outbox.tried["whk_task_1"][0].error


async def test_a_task_that_was_deleted_is_told_to_nobody(world: World) -> None:
    world.finish()
    world.tasks.records.clear()
    async with world.sending(204):
        await world.until_tried(1)
    assert (world.requests, world.outbox.status("task_1")) == ([], CallbackStatus.FAILED)


async def test_a_task_that_was_started_again_is_told_when_it_ends(world: World) -> None:
    task = world.finish()
    world.tasks.records[task.id] = replace(task, status=TaskStatus.QUEUED, finished_at=None)
    async with world.sending(204):
        await world.until_tried(1)
    assert (world.requests, world.outbox.status("task_1")) == ([], CallbackStatus.FAILED)


async def test_a_long_text_is_left_out_and_never_read_whole(world: World) -> None:
    world.finish(segments=fake_segments(*[" a few words"] * (10 * PAGE)))
    async with world.sending(204, max_bytes=10_000):
        await world.until_tried(1)
    data = json.loads(world.requests[0].content)["data"]
    assert (data["result"], data["result_url"]) == (None, "/api/tasks/task_1/result")
    assert world.tasks.pages == 1


async def test_a_text_of_several_pages_is_told_in_order(world: World) -> None:
    count = 2 * PAGE
    world.finish(segments=fake_segments(*[f" {number}" for number in range(count)]))
    async with world.sending(204):
        await world.until_tried(1)
    segments = json.loads(world.requests[0].content)["data"]["result"]["segments"]
    assert [segment["id"] for segment in segments] == [*range(count)]


async def test_logs_name_the_host_and_nothing_else_of_an_address(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.finish(url="https://hooks.example.org/services/T0/B1?token=hunter2")
    with caplog.at_level(logging.DEBUG, logger="kikitori"):
        async with world.sending(500, 204) as sender:
            await world.until_tried(1)
            world.clock.go(60)
            sender.wake()
            await world.until_tried(2)
    actions = [vars(record)["action"] for record in caplog.records if record.name == "kikitori.tasks.callbacks"]
    assert actions == ["callback_failed", "callback_delivered"]
    logged = " ".join(str(vars(record)) for record in caplog.records)
    assert "hooks.example.org" in logged
    assert "hunter2" not in logged and "T0/B1" not in logged


class Listener:
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def callback_tried(self, outcome: str) -> None:
        self.outcomes.append(outcome)


async def test_every_attempt_is_counted_by_its_outcome(world: World) -> None:
    listener = Listener()
    world.finish()
    async with world.sending(500, 410, listener=listener) as sender:
        await world.until_tried(1)
        world.clock.go(60)
        sender.wake()
        await world.until_tried(2)
    assert listener.outcomes == ["pending", "failed"]


async def test_a_test_event_is_sent_once_and_its_answer_shown(world: World) -> None:
    world.answers = [418]
    reply = await world.sender().test("https://hooks.example.org/", "ann")
    assert (reply.status_code, reply.delivered, len(world.requests)) == (418, False, 1)
    assert json.loads(world.requests[0].content)["type"] == "callback.test"


async def test_receivers_of_one_owner_that_never_answer_leave_room_for_others(world: World) -> None:
    hold = Hold()
    for number in range(40):
        world.finish(f"task_{number}", url=f"https://dead{number}.example.org/")
    world.finish("task_bob", url="https://bob.example.org/", owner="bob")

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host != "bob.example.org":
            await hold.wait()
        return answered()

    async with world.sending(answer, at_once=8):
        await world.until_tried(1, "task_bob")
        assert len(world.requests) == 5, "half of the places, and bob's"
        hold.release.set()
        await until(lambda: all(world.outbox.tried.values()))


def test_places_are_counted_in_all_and_for_each_host() -> None:
    places = Places(3, 2)
    taken = [places.take(host, owner) for host, owner in (("a", "x"), ("a", "y"), ("a", "z"), ("b", "z"), ("c", "v"))]
    assert taken == [True, True, False, True, False]
    assert (places.free, places.full_hosts()) == (0, ["a"])
    places.leave("a", "x")
    assert (places.free, places.full_hosts(), places.take("c", "x")) == (1, [], True)


def test_an_owner_gets_half_of_what_the_others_leave() -> None:
    places = Places(8, 8)
    counts = {owner: sum(places.take("host", owner) for _ in range(10)) for owner in ("x", "y", "z")}
    assert counts == {"x": 4, "y": 2, "z": 1}
    assert (places.free, places.full_owners()) == (1, ["x", "y", "z"])
    for _ in range(2):
        places.leave("host", "x")
    assert "x" not in places.full_owners()
    assert Places(1, 1).take("host", "x")
