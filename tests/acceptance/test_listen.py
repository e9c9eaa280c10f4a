"""``kikitori listen`` against a real server, over a line that breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.conftest import Sample
from tests.servers import Server, running_server

from kikitori.cli.listen.captions import Caption, Said, Told
from kikitori.cli.listen.remote import RemoteSource
from kikitori.cli.listen.sounds import FileSound
from kikitori.errors import ModelNotFound

SPEED = 8.0
BYTES_BETWEEN_BREAKS = 320_000
"""10 s of sound."""
SLACK_SECONDS = 0.1


@pytest.fixture(scope="module")
def server(mini_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("listen") / "data", model=str(mini_model)) as server:
        yield server


@asynccontextmanager
async def breaking_line(url: str) -> AsyncIterator[str]:
    """A proxy that cuts each connection without a word after so many bytes of the client."""
    port = int(url.rsplit(":", 1)[1])

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: float = float("inf")) -> None:
        passed = 0
        while passed < most and (data := await reader.read(4_096)):
            writer.write(data)
            await writer.drain()
            passed += len(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(relay(reader, inner_writer, BYTES_BETWEEN_BREAKS)),
            asyncio.create_task(relay(inner_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, inner_writer):
            end.transport.abort()

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with proxy:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        proxy.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await proxy.wait_closed()


async def listen(url: str, path: Path) -> list[Caption]:
    source = RemoteSource(url, "", {"lang": "en"}, first_wait=0.05)
    return [caption async for caption in source.captions(FileSound(path, speed=SPEED))]


async def test_a_line_that_breaks_again_and_again_loses_and_doubles_no_word(
    server: Server, samples: Mapping[str, Sample]
) -> None:
    sample = samples["en_multi_40s"]
    whole = [caption for caption in await listen(server.url, sample.path) if isinstance(caption, Said)]
    async with breaking_line(server.url) as url:
        captions = await listen(url, sample.path)
    broken = [caption for caption in captions if isinstance(caption, Said)]
    breaks = [caption for caption in captions if isinstance(caption, Told) and caption.problem]
    assert len(breaks) >= 3, "the line has to break for this test"
    starts = [said.start for said in broken]
    assert starts == sorted(set(starts)), "nothing twice"
    assert sum(_is_in(whole, said) for said in broken) >= len(broken) - 1
    assert sum(_is_in(broken, said) for said in whole) >= len(whole) - 1
    assert abs(broken[-1].end - whole[-1].end) < SLACK_SECONDS


def _is_in(others: list[Said], said: Said) -> bool:
    """At the same place: were a sample lost or doubled on the way, all that follows would be elsewhere."""
    return any(abs(each.start - said.start) + abs(each.end - said.end) < SLACK_SECONDS for each in others)


async def test_a_model_that_is_not_there_is_told(server: Server, samples: Mapping[str, Sample]) -> None:
    source = RemoteSource(server.url, "", {"model": "nobody-has-this"})
    with pytest.raises(ModelNotFound, match="nobody-has-this"):
        await anext(source.captions(FileSound(samples["en_01"].path)))
