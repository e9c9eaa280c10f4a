import asyncio
import copy

import pytest
from starlette.types import Message, Receive, Scope, Send

from kikitori.web.lingering import LingeringClose

REFUSAL: list[Message] = [
    {"type": "http.response.start", "status": 401, "headers": []},
    {"type": "http.response.body", "body": b"no"},
]


class Exchange:
    """Runs ``app`` on a request whose body is ``pieces``; notes what was taken and sent."""

    def __init__(self, *pieces: bytes | None, headers: dict[str, str] | None = None) -> None:
        self.sent: list[Message] = []
        self.taken = 0
        self._pieces = [*pieces]
        self._headers = headers if headers is not None else {"content-length": "100"}

    async def run(self, reads: int, *, seconds: float = 60.0) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            for _ in range(reads):
                await receive()
            for message in copy.deepcopy(REFUSAL):
                await send(message)

        raw = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        await LingeringClose(app, seconds=seconds)({"type": "http", "headers": raw}, self._receive, self._send)

    async def _receive(self) -> Message:
        self.taken += 1
        if not self._pieces:
            await asyncio.Event().wait()
        piece = self._pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": piece != b"end"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def closes(self) -> bool:
        return (b"connection", b"close") in self.sent[0]["headers"]


async def test_what_still_comes_is_taken_before_the_end_is_said() -> None:
    exchange = Exchange(b"a", b"b", b"end")
    await exchange.run(reads=1)
    assert exchange.closes
    assert exchange.taken == 3
    assert [message.get("more_body", False) for message in exchange.sent[1:]] == [True, False]
    assert b"".join(message["body"] for message in exchange.sent[1:]) == b"no"


async def test_a_request_that_was_read_is_answered_as_it_is() -> None:
    exchange = Exchange(b"a", b"end")
    await exchange.run(reads=2)
    assert not exchange.closes
    assert exchange.sent == REFUSAL


async def test_a_request_without_a_body() -> None:
    for headers in ({}, {"content-length": "0"}):
        exchange = Exchange(headers=headers)
        await exchange.run(reads=0)
        assert exchange.sent == REFUSAL


async def test_a_client_that_waits_to_be_asked_is_not_asked() -> None:
    exchange = Exchange(b"a", headers={"content-length": "100", "expect": "100-continue"})
    await exchange.run(reads=0)
    assert exchange.taken == 0
    assert exchange.closes
    assert exchange.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize("pieces", [(b"a", None), (b"a",) * 5], ids=["leaves", "stalls"])
async def test_it_does_not_wait_for_ever(pieces: tuple[bytes | None, ...]) -> None:
    exchange = Exchange(*pieces, headers={"transfer-encoding": "chunked"})
    await exchange.run(reads=0, seconds=0.01)
    assert exchange.sent[-1]["more_body"] is False
