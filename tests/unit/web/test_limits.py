import pytest

from kikitori.errors import Busy
from kikitori.web.limits import CallLimit


@pytest.mark.parametrize(
    ("limit", "said"),
    [(1, "1 request of yours is running already."), (2, "2 requests of yours are running already.")],
)
def test_a_caller_with_too_many_requests_is_told_how_many(limit: int, said: str) -> None:
    calls = CallLimit(limit)
    places = [calls.place("me") for _ in range(limit)]
    for place in places:
        place.__enter__()
    with pytest.raises(Busy) as refused, calls.place("me"):
        raise AssertionError("let in")
    assert refused.value.message == said
    with calls.place("somebody else"):
        places[0].__exit__(None, None, None)
    with calls.place("me"):
        pass


def test_no_limit() -> None:
    calls = CallLimit(0)
    with calls.place("me"), calls.place("me"), calls.place("me"):
        pass
