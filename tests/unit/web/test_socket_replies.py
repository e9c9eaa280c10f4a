"""Replies of one socket: they go on beside each other, and end with it."""

from __future__ import annotations

import asyncio

from kikitori.llm.talking import Said
from kikitori.protocols.actions import Reply
from kikitori.replies.desk import Tell
from kikitori.replies.events import ReplyEvent, ReplyRequest
from kikitori.testing import Hold, until
from kikitori.web.sockets.replying import Replying

REQUEST = ReplyRequest(messages=())


class Replier:
    """Says a word, and waits."""

    def __init__(self) -> None:
        self.hold = Hold()
        self.running = 0

    async def reply(self, request: ReplyRequest, tell: Tell) -> None:
        self.running += 1
        try:
            await tell(Said(text="one"))
            await self.hold.wait()
            await tell(Said(text="two"))
        finally:
            self.running -= 1

    def at_work(self, count: int) -> bool:
        return self.running == count


def listening() -> tuple[Replying, Replier, list[tuple[str, ReplyEvent]]]:
    told: list[tuple[str, ReplyEvent]] = []

    async def tell(id: str, event: ReplyEvent) -> None:
        told.append((id, event))

    replier = Replier()
    return Replying(replier, tell), replier, told


async def test_each_is_told_by_its_id() -> None:
    replying, replier, told = listening()
    replying.start(Reply(id="a", request=REQUEST))
    replying.start(Reply(id="b", request=REQUEST))
    await until(lambda: len(told) == 2)
    replier.hold.release.set()
    await until(lambda: len(told) == 4)
    assert sorted(id for id, _ in told) == ["a", "a", "b", "b"]
    await replying.close()


async def test_one_is_stopped_and_the_other_goes_on() -> None:
    replying, replier, told = listening()
    replying.start(Reply(id="a", request=REQUEST))
    replying.start(Reply(id="b", request=REQUEST))
    await until(lambda: replier.at_work(2))
    replying.stop("a")
    replying.stop("a")
    replying.stop("nobody")
    await until(lambda: replier.at_work(1))
    replier.hold.release.set()
    await until(lambda: ("b", Said(text="two")) in told)
    assert ("a", Said(text="two")) not in told
    await replying.close()


async def test_the_end_of_a_socket_is_the_end_of_its_replies() -> None:
    replying, replier, _ = listening()
    replying.start(Reply(id="a", request=REQUEST))
    replying.start(Reply(id="b", request=REQUEST))
    await until(lambda: replier.at_work(2))
    async with asyncio.timeout(60):
        await replying.close()
    assert replier.at_work(0)
