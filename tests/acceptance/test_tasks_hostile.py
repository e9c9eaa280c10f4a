"""Links and files that mean no good, or are just wrong: the task fails and says why, and the server goes on."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.recordings import flac_bomb, silence
from tests.servers import Server
from tests.task_api import TaskApi, task_api
from tests.unit.media.conftest import Answer, Site, body, endless, redirect, running, status

from kikitori.testing import until

if TYPE_CHECKING:
    from tests.conftest import Sample

Samples = Mapping[str, "Sample"]
MB = 1024**2


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(Site()) as made:
        yield made


@pytest.fixture
async def tasks(task_server: Server) -> AsyncIterator[TaskApi]:
    async with task_api(task_server.url) as api:
        yield api
        assert not temporary(task_server), "nothing stays on the disk"


def temporary(server: Server) -> list[Path]:
    return [path for name in ("fetch-*", "site-*", "media-*") for path in server.data_dir.rglob(name)]


def announcing(length: int) -> Answer:
    """So many bytes, of which few come."""
    return body(b"RIFF" + bytes(1_000), content_length=str(length))


PAGE = b"<!doctype html><html><head><title>Notes</title></head><body><p>Only words.</body></html>"
LINKS: dict[str, tuple[Answer, str, str]] = {
    "a link that never ends": (endless(pause=0.1), "link_failed", "longer than 15 s"),
    "more than there may be": (endless(), "too_large", "larger than 24 MB"),
    "100 GB": (announcing(100 * 1024**3), "too_large", "larger than 24 MB"),
    "the metadata of a cloud": (redirect("http://169.254.169.254/latest/meta-data/"), "forbidden_address", "169.254"),
    "another loopback address": (redirect("http://127.0.0.2:1/"), "forbidden_address", "127.0.0.2"),
    "loopback of IPv6": (redirect("http://[::1]:1/"), "forbidden_address", "::1"),
    "an address in disguise": (redirect("http://[::ffff:169.254.169.254]/"), "forbidden_address", "private"),
    "a file of the server": (redirect("file:///etc/passwd"), "invalid_value", "not a link"),
    "round and round": (redirect("/talk"), "link_failed", "redirects more than 5 times"),
    "nothing": (status(404), "link_failed", "it is not there"),
    "a page without a recording": (body(PAGE, "text/html"), "link_failed", "no recording"),
    "a picture": (body(b"\x89PNG\r\n" + bytes(2_000), "image/png"), "invalid_value", "image/png"),
    "a letter": (body(b"Dear diary, " * 100, "audio/mpeg"), "invalid_value", "not audio or video"),
}


@pytest.mark.parametrize("name", LINKS)
async def test_a_link_fails_with_its_reason(tasks: TaskApi, site: Site, name: str) -> None:
    site.pages["/talk"], code, reason = LINKS[name]
    error = await tasks.failure(await tasks.make(url=site.url("/talk")))
    assert (error["code"], reason in error["message"]) == (code, True), error
    assert error["remedy"]


INSIDE = ("127.0.0.1:1", "localhost", "LOCALHOST.:80", "169.254.169.254", "10.0.0.1", "0x7f.1", "[::1]", "2130706433")


async def test_links_into_the_house_are_refused_without_permission(server: Server) -> None:
    """This server has no KIKITORI_ALLOWED_ADDRESSES."""
    async with task_api(server.url) as tasks:
        before = (await tasks.list())["total"]
        for host in INSIDE:
            answer = await tasks.post(url=f"http://{host}/talk.mp3")
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"]) == (400, "forbidden_address", "url"), host
            assert "KIKITORI_ALLOWED_ADDRESSES" in error["message"]
        assert (await tasks.list())["total"] == before


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "a letter": lambda path: path.write_bytes(b"Dear diary, today I spoke to nobody. " * 40),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 100),
    "a head alone": lambda path: path.write_bytes(silence(path, 1).read_bytes()[:44]),
}


@pytest.mark.parametrize("name", BAD_FILES)
async def test_a_file_that_is_no_recording_says_so(tasks: TaskApi, tmp_path: Path, name: str) -> None:
    path = tmp_path / "talk.wav"
    BAD_FILES[name](path)
    answer = await tasks.post(path)
    if answer.status_code == 201:
        error = await tasks.failure(answer.json()["id"])
        assert error["code"] == "invalid_value"
        assert error["remedy"]
    else:
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")


async def test_a_small_file_that_decodes_to_days_is_given_up(tasks: TaskApi, tmp_path: Path) -> None:
    bomb = flac_bomb(tmp_path / "talk.flac", days=3)
    assert bomb.stat().st_size < MB / 2
    error = await tasks.failure(await tasks.make(bomb))
    assert (error["code"], "longer than 1800 seconds" in error["message"]) == ("too_large", True)
    assert error["remedy"] == "Send it in parts."


async def test_a_disk_that_fills_while_fetching_is_waited_for(
    tasks: TaskApi, task_server: Server, site: Site, tmp_path: Path
) -> None:
    content = silence(tmp_path / "quiet.wav", 600).read_bytes()
    site.pages["/quiet.wav"] = body(content)
    with full_disk(task_server, len(content) // 2):
        task = await tasks.make(url=site.url("/quiet.wav"))
        await until(lambda: waits(task_server, task))
        assert (await tasks.show(task))["status"] == "fetching"
        refused = await tasks.post(tmp_path / "quiet.wav")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_space")
    assert await tasks.text(task) == ""
    assert (await tasks.show(task))["attempts"] == 1


def waits(server: Server, task: str) -> bool:
    """The server has said that ``task`` waits for something to get better."""
    return any("task waits" in line and task in line for line in server.log.read_text().splitlines())


@contextmanager
def full_disk(server: Server, size_bytes: int) -> Iterator[None]:
    """No file of the server may grow over ``size_bytes``."""
    pid, limit = server.process.pid, resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


async def test_links_that_bring_nothing_keep_nobody_from_decoding(tasks: TaskApi, site: Site, samples: Samples) -> None:
    site.pages["/talk"] = endless(pause=0.1)
    stuck = [await tasks.make(url=site.url("/talk"), priority="high") for _ in range(4)]
    heard = await tasks.make(samples["en_01"].path, priority="low")
    assert await tasks.text(heard) == samples["en_01"].text
    begun = (await tasks.show(heard))["started_at"]
    for id in stuck:
        asked = await tasks.client.post(f"/api/tasks/{id}/cancel")
        ended = await tasks.ended(id)
        # On a busy machine the time of the first ones may be up by now.
        assert (asked.status_code, ended["status"]) in ((200, "cancelled"), (409, "failed"))
        assert begun < ended["finished_at"], "it did not wait for them"
