import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kikitori.errors import DecodingCancelled
from kikitori.inference.replica import Call, Replica, ReplicaCalls
from kikitori.testing import FakeEngine
from kikitori.types import Priority


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def replica(engine: FakeEngine) -> Iterator[Replica]:
    replica = Replica(engine)
    yield replica
    engine.gate.set()
    replica.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as threads:
        yield threads


def wait_until_waiting(replica: Replica, count: int) -> None:
    """Until ``count`` calls are in the queue; bounded by the test's own time limit."""
    ticks = threading.Event()
    while replica.status().waiting < count:
        ticks.wait(0.001)


def hold(engine: FakeEngine, replica: Replica, threads: ThreadPoolExecutor) -> None:
    """Occupy the replica with a batch of one that ends when the gate opens."""
    engine.gate.clear()
    threads.submit(replica.calls(Priority.NORMAL).submit, "hold", "hold")
    engine.started.wait()


def test_a_lone_call_leaves_at_once(replica: Replica, engine: FakeEngine) -> None:
    assert replica.calls(Priority.NORMAL).submit("say", "hello") == "hello"
    assert engine.batches == [("say", ["hello"])]


def test_calls_gather_while_a_batch_runs(replica: Replica, engine: FakeEngine, threads: ThreadPoolExecutor) -> None:
    hold(engine, replica, threads)
    waiting = [threads.submit(replica.calls(Priority.NORMAL).submit, "say", number) for number in range(5)]
    wait_until_waiting(replica, 5)
    engine.gate.set()
    assert [call.result() for call in waiting] == list(range(5))
    assert [len(payloads) for _, payloads in engine.batches] == [1, 5]


def test_workers_run_batches_side_by_side(engine: FakeEngine, threads: ThreadPoolExecutor) -> None:
    replica = Replica(engine, workers=2)
    engine.gate.clear()
    waiting = [threads.submit(replica.calls(Priority.NORMAL).submit, key, key) for key in ("a", "b", "c")]
    ticks = threading.Event()
    while (replica.status().running, replica.status().waiting) != (2, 1):
        ticks.wait(0.001)
    engine.gate.set()
    assert [call.result() for call in waiting] == ["a", "b", "c"]
    replica.close()
    assert replica.status().running == 0


def test_a_raising_call_fails_alone(replica: Replica, engine: FakeEngine, threads: ThreadPoolExecutor) -> None:
    engine.fails = lambda payload: ValueError("bad") if payload == 3 else None
    hold(engine, replica, threads)
    waiting = [threads.submit(replica.calls(Priority.NORMAL).submit, "say", number) for number in range(7)]
    wait_until_waiting(replica, 7)
    engine.gate.set()
    assert [number if call.exception() is None else "failed" for number, call in enumerate(waiting)] == [
        0, 1, 2, "failed", 4, 5, 6,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="bad"):
        waiting[3].result()
    assert replica.calls(Priority.NORMAL).submit("say", "next") == "next"


def test_a_wrong_number_of_results_is_an_error(replica: Replica, engine: FakeEngine) -> None:
    engine.run = lambda key, payloads: []  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="0 results for 1 calls"):
        replica.calls(Priority.NORMAL).submit("say", "hello")


def test_running_out_of_memory_makes_batches_smaller(
    replica: Replica, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    run = engine.run

    def small_memory(key: object, payloads: list[object]) -> object:
        if len(payloads) > 2:
            raise RuntimeError("CUDA failed with error out of memory")
        return run(key, payloads)

    engine.run = small_memory  # type: ignore[method-assign, assignment]
    hold(engine, replica, threads)
    waiting = [threads.submit(replica.calls(Priority.NORMAL).submit, "say", number) for number in range(8)]
    wait_until_waiting(replica, 8)
    engine.gate.set()
    assert sorted(call.result() for call in waiting) == list(range(8))
    hold_again = [threads.submit(replica.calls(Priority.NORMAL).submit, "say", number) for number in range(8)]
    assert all(call.exception() is None for call in hold_again)
    assert max(len(payloads) for _, payloads in engine.batches) == 2


def test_a_cancelled_waiting_call_frees_its_caller_and_is_never_run(
    replica: Replica, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    hold(engine, replica, threads)
    gone, stays = replica.calls(Priority.NORMAL), replica.calls(Priority.NORMAL)
    left = threads.submit(gone.submit, "say", "gone")
    kept = threads.submit(stays.submit, "say", "stays")
    wait_until_waiting(replica, 2)
    gone.cancel()
    assert isinstance(left.exception(), DecodingCancelled)  # while the batch before still runs
    engine.gate.set()
    assert kept.result() == "stays"
    assert ("say", ["stays"]) in engine.batches


def test_a_cancelled_running_call_frees_its_caller_at_once(
    replica: Replica, engine: FakeEngine, threads: ThreadPoolExecutor
) -> None:
    engine.gate.clear()
    calls = replica.calls(Priority.NORMAL)
    left = threads.submit(calls.submit, "say", "gone")
    engine.started.wait()
    calls.cancel()
    assert isinstance(left.exception(), DecodingCancelled)
    with pytest.raises(DecodingCancelled):
        calls.submit("say", "again")


def test_closing_frees_every_caller_and_the_engine(engine: FakeEngine, threads: ThreadPoolExecutor) -> None:
    replica = Replica(engine)
    hold(engine, replica, threads)
    waiting = threads.submit(replica.calls(Priority.NORMAL).submit, "say", "late")
    wait_until_waiting(replica, 1)
    closing = threads.submit(replica.close)
    assert isinstance(waiting.exception(), DecodingCancelled)
    engine.gate.set()
    closing.result()
    assert engine.closed
    with pytest.raises(DecodingCancelled):
        ReplicaCalls(replica, Priority.NORMAL).submit("say", "after")


def test_batches_are_reported(engine: FakeEngine) -> None:
    seen: list[tuple[object, int]] = []
    replica = Replica(engine, on_batch=lambda key, waits, seconds: seen.append((key, len(waits))))
    replica.calls(Priority.HIGH).submit("say", "hello")
    replica.close()
    assert seen == [("say", 1)]


def test_a_call_cancelled_on_its_way_is_never_run(replica: Replica, engine: FakeEngine) -> None:
    call = Call("key", "payload", Priority.NORMAL, replica.now())
    replica.abandon(call)
    replica.enqueue(call)
    assert not replica.waiting()[Priority.NORMAL]
    assert engine.batches == []
