from hypothesis import given
from hypothesis import strategies as st

from kikitori.inference.scheduler import PATIENCE, Item, Scheduler
from kikitori.types import Priority


def item(key: str = "a", *, priority: Priority = Priority.NORMAL, arrived: float = 0.0, payload: object = None) -> Item:
    return Item(key, payload, priority, arrived)


def scheduler(limit: int = 8) -> Scheduler[Item]:
    return Scheduler(lambda key: limit)


def test_nothing_waits_at_first() -> None:
    assert scheduler().next_batch() == []


def test_calls_of_one_key_leave_together_in_order_of_arrival() -> None:
    queue, calls = scheduler(), [item(arrived=second) for second in range(3)]
    for call in reversed(calls):
        queue.add(call)
    assert queue.next_batch() == calls
    assert len(queue) == 0


def test_a_batch_is_never_larger_than_its_limit() -> None:
    queue = scheduler(limit=2)
    for _ in range(5):
        queue.add(item())
    assert [len(queue.next_batch()) for _ in range(4)] == [2, 2, 1, 0]


def test_each_of_several_takers_leaves_the_others_their_part() -> None:
    queue: Scheduler[Item] = Scheduler(lambda key: 8, takers=2)
    calls = [item() for _ in range(7)]
    for call in calls:
        queue.add(call)
    queue.abandon(calls[0])
    assert [len(queue.next_batch()) for _ in range(4)] == [3, 2, 1, 0]


def test_the_most_urgent_call_decides_the_key() -> None:
    queue, urgent = scheduler(), item("b", priority=Priority.HIGH, arrived=5.0)
    queue.add(item("a", arrived=0.0))
    queue.add(urgent)
    assert queue.next_batch() == [urgent]


def test_priorities_rank_as_documented() -> None:
    order = [
        Priority.LIVE_FINAL,
        Priority.LIVE_SPECULATIVE,
        Priority.HIGH,
        Priority.LIVE_INTERIM,
        Priority.NORMAL,
        Priority.LOW,
    ]
    queue = scheduler(limit=1)
    for priority in reversed(order):
        queue.add(item(priority=priority))
    assert [queue.next_batch()[0].priority for _ in order] == order


def test_live_calls_do_not_share_a_batch_with_files() -> None:
    queue = scheduler()
    queue.add(item(priority=Priority.LIVE_FINAL))
    queue.add(item(priority=Priority.NORMAL))
    assert [len(queue.next_batch()) for _ in range(2)] == [1, 1]


def test_low_priority_finishes_under_an_endless_stream_of_high_ones() -> None:
    queue, low = scheduler(limit=1), item("low", priority=Priority.LOW, arrived=0.0)
    queue.add(low)
    for second in range(1_000):
        queue.add(item("high", priority=Priority.HIGH, arrived=float(second)))
        if queue.next_batch() == [low]:
            break
    assert second <= PATIENCE[Priority.LOW]


def test_an_abandoned_call_is_in_no_batch() -> None:
    queue, gone, stays = scheduler(), item(), item()
    queue.add(gone)
    queue.add(stays)
    queue.abandon(gone)
    queue.abandon(gone)
    assert len(queue) == 1
    assert queue.next_batch() == [stays]


def test_abandoning_a_running_call_leaves_the_count_alone() -> None:
    queue, call = scheduler(), item()
    queue.add(call)
    queue.next_batch()
    queue.abandon(call)
    assert len(queue) == 0
    assert queue.waiting()[Priority.NORMAL] == 0


calls = st.builds(
    lambda key, priority, arrived: Item(key, None, priority, arrived),
    st.sampled_from("abc"),
    st.sampled_from(Priority),
    st.floats(0, 1_000),
)


@given(st.lists(calls, max_size=60), st.integers(1, 16), st.data())
def test_every_call_runs_exactly_once_unless_abandoned(added: list[Item], limit: int, data: st.DataObject) -> None:
    queue = scheduler(limit)
    for call in added:
        queue.add(call)
    gone = data.draw(st.sets(st.sampled_from(range(len(added))))) if added else set()
    for index in gone:
        queue.abandon(added[index])
    ran: list[Item] = []
    while batch := queue.next_batch():
        assert len(batch) <= limit
        assert len({(call.key, call.priority.is_live) for call in batch}) == 1
        ran += batch
    assert sorted(map(id, ran)) == sorted(id(call) for index, call in enumerate(added) if index not in gone)
