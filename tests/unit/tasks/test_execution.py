import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.tasks.workshop import TEXTS, Workshop, at_point, open_workshop, script

from kikitori.errors import Busy, InvalidMedia, LinkFailed, NoSpace, StoreFailed, Unavailable
from kikitori.media.sites import Entry, Playlist
from kikitori.store.task_queries import TaskQuery
from kikitori.store.task_records import TaskRecord, TaskStatus
from kikitori.tasks import execution, writing
from kikitori.tasks.execution import Execution
from kikitori.testing import FakeTranscriber, Hold
from kikitori.types import Priority, Task

WHOLE = "".join(TEXTS)


@pytest.fixture(autouse=True)
def write_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_EVERY_SECONDS", 0.0)


async def run(shop: Workshop, task: TaskRecord) -> TaskRecord:
    claimed = await shop.claim()
    assert claimed.id == task.id
    await Execution(shop.workplace(), claimed).run()
    return await shop.store.get(task.id, None)


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that waits in the middle of decoding."""

    shop: Workshop
    task: TaskRecord
    attempt: Execution
    running: asyncio.Task[None]
    hold: Hold

    async def go_on(self) -> TaskRecord:
        """The task as it is in the end."""
        self.hold.release.set()
        await self.running
        return await self.shop.store.get(self.task.id, None)


@asynccontextmanager
async def held_after(steps: int, folder: Path, **fields: Any) -> AsyncIterator[Held]:
    """An attempt at an upload with ``fields``, as far as the first ``steps`` of the script."""
    hold, whole = Hold(), script()
    async with open_workshop(folder, *whole[:steps], hold, *whole[steps:]) as shop:
        task = await shop.upload(**fields)
        attempt = Execution(shop.workplace(), await shop.claim())
        running = asyncio.create_task(attempt.run())
        await hold.reached.wait()
        yield Held(shop, task, attempt, running, hold)


async def test_a_recording_becomes_text(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await run(shop, await shop.upload(options={"beam_size": 3}, task_type=Task.TRANSLATE))
        assert (task.status, task.language, task.model, task.progress) == (TaskStatus.SUCCEEDED, "en", "fake", 100.0)
        assert await shop.text(task) == WHOLE
        (call,) = shop.transcriber.calls
        assert (call.options.beam_size, call.options.task, call.priority) == (3, Task.TRANSLATE, Priority.NORMAL)
        assert call.content == b"sound"
        assert shop.ended == ["end"]


async def test_a_link_is_fetched_into_the_store_first(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        task = await run(shop, await shop.link())
        assert (task.status, task.file_name, task.details["title"]) == (TaskStatus.SUCCEEDED, "talk.mp3", "A talk")
        assert task.media_key is not None
        assert not [path for path in shop.media.temporary.glob("*") if path.is_file()]


async def test_a_link_that_fails_fails_its_task_with_the_reason(tmp_path: Path) -> None:
    async with open_workshop(tmp_path) as shop:
        link = await shop.link()
        shop.fetcher.finds["https://example.org/talk.mp3"] = LinkFailed("It answers 404.", remedy="Look again.")
        task = await run(shop, link)
        assert task.status is TaskStatus.FAILED
        assert task.error is not None
        assert (task.error.code, task.error.message, task.error.remedy) == (
            LinkFailed.code, "It answers 404.", "Look again.",
        )  # fmt: skip


async def test_a_playlist_becomes_tasks_of_their_own(tmp_path: Path) -> None:
    entries = (Entry(url="https://example.org/1", title="One"), Entry(url="https://example.org/2", title="Two"))
    async with open_workshop(tmp_path) as shop:
        link = await shop.link(tags=("a",), options={"beam_size": 2})
        shop.fetcher.finds["https://example.org/talk.mp3"] = Playlist(details={"title": "All"}, entries=entries)
        parent = await run(shop, link)
        assert (parent.status, parent.details["title"]) == (TaskStatus.SUCCEEDED, "All")
        children = [await shop.store.get(id, None) for id in parent.details["tasks"]]
        assert [(child.url, child.parent, child.tags, child.options) for child in children] == [
            (entry.url, parent.id, ("a",), {"beam_size": 2}) for entry in entries
        ]
        assert {child.status for child in children} == {TaskStatus.QUEUED}


@pytest.mark.parametrize(
    ("failure", "code"),
    [(InvalidMedia("Not media."), "invalid_value"), (ZeroDivisionError(), "internal_error")],
)
async def test_what_goes_wrong_is_said_and_what_was_heard_is_kept(
    tmp_path: Path, failure: Exception, code: str
) -> None:
    async with open_workshop(tmp_path, *script()[:4], failure) as shop:
        task = await run(shop, await shop.upload())
        assert task.status is TaskStatus.FAILED
        assert task.error is not None
        assert task.error.code == code
        assert await shop.text(task) == TEXTS[0]


async def test_cancelling_keeps_what_was_heard(tmp_path: Path) -> None:
    async with held_after(6, tmp_path) as held:
        held.attempt.cancel()
        await held.running
        assert (await held.shop.store.get(held.task.id, None)).status is TaskStatus.CANCELLED
        assert await held.shop.text(held.task) == TEXTS[0] + TEXTS[1]
        assert held.shop.transcriber.calls[0].closed.is_set()


async def test_a_wish_to_cancel_in_the_database_is_seen_at_the_next_write(tmp_path: Path) -> None:
    async with held_after(4, tmp_path) as held:
        await held.shop.store.request_cancel(held.task.id, None)
        assert (await held.go_on()).status is TaskStatus.CANCELLED
        assert await held.shop.text(held.task) == TEXTS[0] + TEXTS[1]


async def test_a_stopped_node_gives_the_task_back_and_the_next_goes_on(tmp_path: Path) -> None:
    async with held_after(6, tmp_path) as held:
        shop, task = held.shop, held.task
        held.running.cancel()
        await asyncio.gather(held.running, return_exceptions=True)
        waiting = await shop.store.get(task.id, None)
        assert (waiting.status, waiting.attempts, waiting.node) == (TaskStatus.QUEUED, 0, None)
        shop.transcriber = FakeTranscriber(at_point(2))
        assert (await run(shop, task)).status is TaskStatus.SUCCEEDED
        resume = shop.transcriber.calls[0].resume
        assert resume is not None
        assert (resume.seconds, resume.segments, resume.language) == (2.0, 2, "en")
        assert await shop.text(task) == WHOLE


async def test_a_task_is_running_as_soon_as_decoding_begins(tmp_path: Path) -> None:
    async with held_after(1, tmp_path, model="small") as held:
        found = await held.shop.store.get(held.task.id, None)
        assert (found.status, found.model, found.asked_model, found.duration) == (
            TaskStatus.RUNNING, "fake", "small", 3.0,
        )  # fmt: skip
        assert (found.language, found.seconds_done) == ("", 0.0)
        found = await held.go_on()
        assert (found.status, found.language, found.language_probability) == (TaskStatus.SUCCEEDED, "en", 0.9)


async def test_what_came_at_once_is_stored_soon_and_not_with_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of a batch end together, and then it is quiet for as long as the next batch takes."""
    monkeypatch.setattr(writing, "WRITE_EVERY_SECONDS", 0.05)
    async with held_after(8, tmp_path) as held:
        await held.shop.until(held.task, lambda found: found.seconds_done == 3.0)
        assert await held.shop.text(held.task) == WHOLE
        assert (await held.go_on()).status is TaskStatus.SUCCEEDED


async def test_a_task_goes_on_with_the_model_it_began_with_and_is_retried_with_the_one_asked_for(
    tmp_path: Path,
) -> None:
    async with open_workshop(tmp_path, *script()[:4], InvalidMedia("Not media.")) as shop:
        task = await shop.upload(model="small")
        claimed = await shop.claim()
        await Execution(shop.workplace(), claimed).run()
        assert (await shop.store.get(task.id, None)).model == "fake"
        await shop.store.retry(task.id, None)
        hold = Hold()
        shop.transcriber = FakeTranscriber([*script()[:4], hold])
        again = Execution(shop.workplace(), await shop.claim())
        running = asyncio.create_task(again.run())
        await hold.reached.wait()
        again.give_back()
        await running
        asked = [call.model for call in shop.transcriber.calls]
        shop.transcriber = FakeTranscriber(at_point(1))
        await Execution(shop.workplace(), await shop.claim()).run()
        assert [*asked, *(call.model for call in shop.transcriber.calls)] == ["small", "fake"]
        assert (await shop.store.get(task.id, None)).status is TaskStatus.SUCCEEDED


async def test_the_checkpoint_says_which_attempt_got_so_far(tmp_path: Path) -> None:
    hold = Hold()
    async with open_workshop(tmp_path, *script()[:4], hold) as shop:
        task = await shop.upload()
        for transcriber, attempt, began in (
            (shop.transcriber, 1, 0.0),
            (FakeTranscriber([*script()[:4], hold]), 1, 1.0),  # it gets no further
            (FakeTranscriber([*at_point(1)[:4], hold]), 3, 1.0),
        ):
            hold.reached.clear()
            shop.transcriber = transcriber
            running = asyncio.create_task(Execution(shop.workplace(), await shop.claim()).run())
            await hold.reached.wait()
            checkpoint = (await shop.store.get(task.id, None)).checkpoint
            assert checkpoint is not None
            assert (checkpoint.attempt, checkpoint.from_seconds) == (attempt, began)
            await shop.store.recover(["node_1"], max_attempts=5)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("trouble", [NoSpace("The disk is full."), StoreFailed("S3 is away.", what="media store")])
async def test_a_full_disk_and_a_store_that_is_away_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Unavailable
) -> None:
    monkeypatch.setattr(execution, "OUTAGE_PAUSES", (0.0, 0.0))
    async with open_workshop(tmp_path) as shop:
        for name in ("save", "local"):
            work, failures = getattr(shop.media, name), [trouble] * 2

            def failing(*arguments, work=work, failures=failures, **options):  # type: ignore[no-untyped-def]
                if failures:
                    raise failures.pop()
                return work(*arguments, **options)

            monkeypatch.setattr(shop.media, name, failing)
        shop.fetcher.fails = [trouble] * 2
        task = await run(shop, await shop.link())
        assert task.status is TaskStatus.SUCCEEDED
        assert await shop.text(task) == WHOLE


async def test_an_outage_that_does_not_end_fails_the_task_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "OUTAGE_PAUSES", (0.0, 0.0))
    async with open_workshop(tmp_path) as shop:
        shop.fetcher.fails = [NoSpace("The disk is full.")] * 4
        task = await run(shop, await shop.link())
        assert len(shop.fetcher.fails) == 1
        assert task.error is not None
        assert (task.status, task.error.code) == (TaskStatus.FAILED, "no_space")


async def test_a_playlist_that_the_queue_has_no_room_for_makes_no_tasks(tmp_path: Path) -> None:
    entries = tuple(Entry(url=f"https://example.org/{number}") for number in range(3))
    async with open_workshop(tmp_path) as shop:
        link = await shop.link()
        shop.fetcher.finds["https://example.org/talk.mp3"] = Playlist(details={"title": "All"}, entries=entries)
        await Execution(shop.workplace(max_queued=2), await shop.claim()).run()
        task = await shop.store.get(link.id, None)
        assert task.error is not None
        assert (task.status, task.error.code) == (TaskStatus.FAILED, "rate_limit_exceeded")
        assert "3 more" in task.error.message
        assert (await shop.store.list(TaskQuery())).total == 1


async def test_a_task_that_another_node_took_is_left_alone(tmp_path: Path) -> None:
    async with held_after(4, tmp_path) as held:
        await held.shop.store.recover(["node_1"], max_attempts=5)
        (other,) = await held.shop.store.claim("node_2", 1)
        found = await held.go_on()
        assert (found.status, found.node, found.attempts) == (TaskStatus.FETCHING, "node_2", 2)
        assert found.checkpoint == other.checkpoint


async def test_a_crowded_model_is_waited_for(tmp_path: Path) -> None:
    class Crowded(FakeTranscriber):
        async def stream(self, *arguments, **options):  # type: ignore[no-untyped-def]
            if not self.calls:
                self.calls.append(None)  # type: ignore[arg-type]
                raise Busy("200 requests wait.", retry_after=0.01)
            async for event in super().stream(*arguments, **options):
                yield event

    async with open_workshop(tmp_path) as shop:
        shop.transcriber = Crowded(script())
        task = await run(shop, await shop.upload())
        assert task.status is TaskStatus.SUCCEEDED
        assert await shop.text(task) == WHOLE


async def test_what_another_node_has_begun_while_a_model_was_crowded_is_left_to_it(tmp_path: Path) -> None:
    class Crowded(FakeTranscriber):
        async def stream(self, *arguments, **options):  # type: ignore[no-untyped-def]
            self.calls.append(None)  # type: ignore[arg-type]
            await shop.store.recover([task.node or ""], max_attempts=5)
            assert await shop.store.claim("node_2", 1)
            raise Busy("200 requests wait.", retry_after=0.01)
            yield  # which makes it a generator

    async with open_workshop(tmp_path) as shop:
        shop.transcriber = Crowded(script())
        await shop.upload()
        task = await shop.claim()
        await Execution(shop.workplace(), task).run()
        found = await shop.store.get(task.id, None)
        assert (found.status, found.node, found.attempts) == (TaskStatus.FETCHING, "node_2", 2)
        assert len(shop.transcriber.calls) == 1, "it is not decoded twice"


async def test_a_database_that_is_away_for_a_moment_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RETRY_SECONDS", (0.01, 0.01))
    async with open_workshop(tmp_path) as shop:
        task, outages = await shop.upload(), [2] * 20
        claimed = await shop.claim()
        for name in ("started", "advance", "finish"):
            work = getattr(shop.store, name)

            async def flaky(*arguments, work=work, **options):  # type: ignore[no-untyped-def]
                if outages and (outages.pop() or True) and len(outages) % 2:
                    raise Unavailable("The database is away.")
                done = await work(*arguments, **options)
                if outages and len(outages) % 3 == 0 and work.__name__ == "advance":
                    raise Unavailable("The answer to the commit was lost.")
                return done

            monkeypatch.setattr(shop.store, name, flaky)
        await Execution(shop.workplace(), claimed).run()
        monkeypatch.undo()
        assert (await shop.store.get(task.id, None)).status is TaskStatus.SUCCEEDED
        assert await shop.text(task) == WHOLE


async def test_a_database_that_stays_away_fails_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "RETRY_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(writing, "OUTAGE_SECONDS", 0.05)
    async with open_workshop(tmp_path) as shop:
        task, claimed = await shop.upload(), await shop.claim()

        async def away(*arguments: object, **options: object) -> None:
            raise Unavailable("The database is away.")

        monkeypatch.setattr(shop.store, "started", away)
        await Execution(shop.workplace(), claimed).run()
        found = await shop.store.get(task.id, None)
        assert (found.status, found.error) == (TaskStatus.FETCHING, None)
        assert await shop.store.recover(["node_1"], max_attempts=5) == [task.id]


async def test_the_error_of_a_task_does_not_say_where_the_server_keeps_things(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = StoreFailed("The media store s3://inside/bucket cannot be used.", what="media store")
    async with open_workshop(tmp_path, trouble) as shop:
        task = await run(shop, await shop.upload())
        assert task.error is not None
        assert (task.error.code, "inside" in task.error.message) == ("unavailable", False)
    assert any("s3://inside" in str(record.__dict__.get("reason")) for record in caplog.records)
