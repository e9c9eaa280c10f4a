import itertools
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message

from kikitori.errors import InvalidMedia, KikitoriError, TooLarge
from kikitori.web.disconnect import ClientGone
from kikitori.web.multipart import MAX_FIELD_BYTES
from kikitori.web.uploads import FORM_SLACK_BYTES, WRITE_BYTES, Uploads

from .forms import CONTENT_TYPE, field, file, form

PIECE = 1_000


class Body:
    """A request whose body comes in pieces; counts what was taken of it."""

    def __init__(self, pieces: Iterable[bytes], **headers: str) -> None:
        self.taken = 0
        self._pieces = iter(pieces)
        named = {"content-type": CONTENT_TYPE, **{name.replace("_", "-"): value for name, value in headers.items()}}
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        self.request = Request({"type": "http", "method": "POST", "headers": raw}, self._receive)

    async def _receive(self) -> Message:
        piece = next(self._pieces, None)
        if piece is None:
            return {"type": "http.disconnect"}
        self.taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": not piece.endswith(b"--\r\n")}


def cut(body: bytes) -> Iterator[bytes]:
    yield from (body[at : at + PIECE] for at in range(0, len(body), PIECE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tmp"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def is_private(path: Path) -> bool:
    return path.stat().st_mode & 0o077 == 0


async def test_the_file_is_there_as_long_as_it_is_needed(folder: Path) -> None:
    content = os.urandom(3 * WRITE_BYTES + 17)
    body = Body(cut(form(field("model", "a"), file(content))))
    async with Uploads(folder, max_bytes=len(content)).receive(body.request) as upload:
        assert names(folder) == {upload.path.name}
        assert is_private(upload.path)
        assert upload.path.read_bytes() == content
        assert upload.size_bytes == len(content)
        assert upload.fields.items == (("model", "a"),)
    assert names(folder) == set()
    assert is_private(folder)


@pytest.mark.parametrize("announced", ["", "5", "many"])
async def test_too_much_is_noticed_at_once_whatever_was_announced(folder: Path, announced: str) -> None:
    body = Body(cut(form(file(b"x" * 200_000))), **({"content_length": announced} if announced else {}))
    with pytest.raises(TooLarge):
        async with Uploads(folder, max_bytes=10_000).receive(body.request):
            raise AssertionError("received")
    assert body.taken <= 10_000 + 2 * PIECE
    assert names(folder) == set()


async def test_what_announces_too_much_is_not_read(folder: Path) -> None:
    body = Body([b"x"], content_length=str(10_000 + FORM_SLACK_BYTES + 1))
    with pytest.raises(TooLarge) as caught:
        async with Uploads(folder, max_bytes=10_000).receive(body.request):
            raise AssertionError("received")
    assert caught.value.param == "file"
    assert body.taken == 0
    assert names(folder) == set()


@pytest.mark.parametrize(
    "endless",
    [[form(file()).removesuffix(b"\r\n")], [b"--"], [form(field("prompt", b""), file())[:-30]]],
    ids=["after the form", "before it", "in a field"],
)
async def test_nothing_comes_without_end(folder: Path, endless: list[bytes]) -> None:
    body = Body(itertools.chain(endless, itertools.repeat(b"\r\n" * 5_000)))
    with pytest.raises(KikitoriError) as caught:
        async with Uploads(folder, max_bytes=10_000).receive(body.request):
            raise AssertionError("received")
    assert caught.value.code in ("too_large", "invalid_value")
    assert body.taken <= 10_000 + FORM_SLACK_BYTES + MAX_FIELD_BYTES
    assert names(folder) == set()


async def test_a_connection_that_breaks_off(folder: Path) -> None:
    body = Body(list(cut(form(file(b"x" * 5_000))))[:3])
    with pytest.raises(ClientGone):
        async with Uploads(folder, max_bytes=10_000).receive(body.request):
            raise AssertionError("received")
    assert names(folder) == set()


async def test_an_error_while_the_file_is_used(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with Uploads(folder, max_bytes=10_000).receive(Body([form(file())]).request):
            raise ZeroDivisionError
    assert names(folder) == set()


def test_what_a_dead_process_left_is_removed(folder: Path) -> None:
    folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (folder / f"upload-{ended.pid}-{'a' * 32}").write_bytes(b"x")
    (folder / f"upload-{os.getpid()}-{'a' * 32}").write_bytes(b"from a process that had our number before")
    (folder / f"upload-{os.getppid()}-{'a' * 32}").write_bytes(b"of a process that lives")
    (folder / "something else").write_bytes(b"x")
    Uploads(folder, max_bytes=1).remove_leftovers()
    assert names(folder) == {f"upload-{os.getppid()}-{'a' * 32}", "something else"}


def test_nothing_to_remove(folder: Path) -> None:
    Uploads(folder, max_bytes=1).remove_leftovers()
    assert not folder.exists()


async def test_several_files_lie_apart_as_long_as_they_are_needed(folder: Path) -> None:
    first, second = os.urandom(2 * WRITE_BYTES + 5), os.urandom(WRITE_BYTES + 7)
    parts = [file(first, filename="a.wav"), field("model", "m"), file(b"tiny", filename="b"), file(second, filename="")]
    body = Body(cut(form(*parts)))
    async with Uploads(folder, max_bytes=10 * WRITE_BYTES).receive_many(body.request, max_files=3) as received:
        assert [(each.name, each.path.read_bytes()) for each in received.files] == [
            ("a.wav", first),
            ("b", b"tiny"),
            ("", second),
        ]
        assert [each.size_bytes for each in received.files] == [len(first), 4, len(second)]
        assert names(folder) == {each.path.name for each in received.files}
    assert names(folder) == set()


async def test_several_small_files_in_one_piece(folder: Path) -> None:
    body = Body([form(*[file(bytes([65 + at]) * 3, filename=f"{at}") for at in range(5)])])
    async with Uploads(folder, max_bytes=1_000).receive_many(body.request, max_files=5) as received:
        assert [each.path.read_bytes() for each in received.files] == [b"AAA", b"BBB", b"CCC", b"DDD", b"EEE"]


async def test_a_form_without_files(folder: Path) -> None:
    body = Body([form(field("url", "https://example.com"))])
    async with Uploads(folder, max_bytes=1_000).receive_many(body.request, max_files=5) as received:
        assert received.files == ()
        assert received.fields.one("url") == "https://example.com"
    assert names(folder) == set()


async def test_one_empty_file_of_several(folder: Path) -> None:
    body = Body([form(file(b"x", filename="a"), file(b"", filename="b"))])
    with pytest.raises(InvalidMedia):
        async with Uploads(folder, max_bytes=1_000).receive_many(body.request, max_files=5):
            raise AssertionError("received")
    assert names(folder) == set()


async def test_a_connection_that_breaks_off_between_files(folder: Path) -> None:
    body = Body([form(file(b"x", filename="a"), file(b"y" * 50, filename="b"))[:-60]])
    with pytest.raises(ClientGone):
        async with Uploads(folder, max_bytes=1_000).receive_many(body.request, max_files=5):
            raise AssertionError("received")
    assert names(folder) == set()
