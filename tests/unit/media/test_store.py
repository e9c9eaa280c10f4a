from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import pytest
from fsspec.registry import _registry

from kikitori.errors import NoSpace, NotFound, Unavailable
from kikitori.media import disk
from kikitori.media.store import MediaStore

BUCKET = "recordings"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3, with a bucket."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        """One ``Server`` header is enough: moto sends its own."""

        def version_string(self) -> str:
            return ""

        def send_header(self, keyword: str, value: str) -> None:
            if value or keyword != "Server":
                super().send_header(keyword, value)

        def log_request(self, *facts: object) -> None:
            pass

    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=Handler
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    client.create_bucket(Bucket=BUCKET)
    client.close()
    yield endpoint
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MediaStore:
    if request.param == "s3":
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        return MediaStore(f"s3://{BUCKET}/{tmp_path.name}", tmp_path)
    return MediaStore(f"memory://{tmp_path.name}" if request.param == "memory" else "", tmp_path)


def recording(folder: Path, content: bytes = b"sound") -> Path:
    path = folder / "upload.wav"
    path.write_bytes(content)
    return path


async def read(store: MediaStore, key: str) -> bytes:
    async with store.local(key) as path:
        return path.read_bytes()


async def test_a_store_gives_back_what_it_took(store: MediaStore, tmp_path: Path) -> None:
    key = await store.save(recording(tmp_path), task_id="task_0abc", suffix=".wav")
    assert glob(f"{tmp_path}/*.wav") == []
    assert await read(store, key) == b"sound"
    async with store.local(key) as found:
        assert found.suffix == ".wav"
    assert list((tmp_path / "tmp").glob("*")) == []
    await store.delete(key)
    with pytest.raises(NotFound):
        await read(store, key)
    await store.delete(key)


async def test_keys_are_unlike_and_harmless(store: MediaStore, tmp_path: Path) -> None:
    keys = {
        await store.save(recording(tmp_path), task_id="task_0abc", suffix=suffix)
        for suffix in (".wav", ".wav", "", ".../../x", ".WAV", ".a b")
    }
    assert len(keys) == 6
    assert all("..." not in key and key.startswith("bc/task_0abc-") for key in keys)
    assert await store.keys() == sorted(keys)
    assert await store.keys(older_than_seconds=3_600) == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "ab/../../x-0123456789abcdef", "store-id", ""])
async def test_only_keys_of_ours_are_read(store: MediaStore, key: str) -> None:
    with pytest.raises(NotFound):
        await read(store, key)
    with pytest.raises(NotFound):
        await store.delete(key)


async def test_a_store_that_works_passes_its_check_and_stays_empty(store: MediaStore) -> None:
    await store.check()
    assert await store.keys() == []


async def test_all_who_see_a_store_see_one_identity(store: MediaStore, tmp_path: Path) -> None:
    other = MediaStore(store.url, tmp_path)
    first, second = await asyncio.gather(store.identity(), other.identity())
    assert first == second == await MediaStore(store.url, tmp_path).identity()
    assert len(first) == 32


# The folder ------------------------------------------------------------------------------------------------------


async def test_other_folders_have_other_identities(tmp_path: Path) -> None:
    one, two = (MediaStore(f"file://{tmp_path}/{name}", tmp_path) for name in ("one", "t%20wo"))
    assert await one.identity() != await two.identity()
    assert (tmp_path / "t wo").is_dir()
    assert one.is_folder and not MediaStore("s3://a/b", tmp_path).is_folder


async def test_a_file_from_another_disk_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path("/dev/shm") / f"kikitori-{os.getpid()}"
    elsewhere.mkdir()
    try:
        store = MediaStore("", tmp_path)
        key = await store.save(recording(elsewhere), task_id="task_1")
        assert await read(store, key) == b"sound"

        def full(source: Path, target: Path) -> None:
            Path(target).write_bytes(b"so")
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(shutil, "copyfile", full)
        with pytest.raises(NoSpace):
            await store.save(recording(elsewhere), task_id="task_2")
        assert await store.keys() == [key]
        assert list((tmp_path / "media" / "arriving").iterdir()) == []
    finally:
        shutil.rmtree(elsewhere)


async def test_leftovers_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    store = MediaStore("", tmp_path)
    await store.check()
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    store.temporary.mkdir()
    left = store.temporary / f"fetch-{gone.pid}-{'0' * 32}.wav"
    folder = store.temporary / f"site-{gone.pid}-{'0' * 32}"
    folder.mkdir()
    (folder / "media.mp4").touch()
    other = store.temporary / f"media-{os.getppid()}-{'0' * 32}"
    unknown = store.temporary / "notes.txt"
    arriving = tmp_path / "media" / "arriving"
    old, new = arriving / "old", arriving / "new"
    for path in (left, other, unknown, old, new):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    await store.sweep()
    assert [path.exists() for path in (left, folder, other, unknown, old, new)] == [
        False,
        False,
        True,
        True,
        False,
        True,
    ]


# Stores that do not work -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://bucket/folder", "no known kind"),
        ("file:///proc/nowhere/media", "cannot be used"),
        ("s3://user:secret@bucket/folder", "s3://bucket/folder cannot be used"),
    ],
)
async def test_a_store_that_does_not_work_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(Unavailable, match=message) as caught:
        await MediaStore(url, tmp_path).check()
    assert "secret" not in str(caught.value)


async def test_a_bucket_that_does_not_exist_is_told(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(Unavailable, match="s3://nowhere/media cannot be used"):
        await MediaStore("s3://nowhere/media", tmp_path).check()


async def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(Unavailable, match=r"kikitori\[s3\]"):
        await MediaStore("s3://bucket/folder", tmp_path).check()


def test_a_suffix_is_kept_when_it_is_harmless() -> None:
    assert [disk.plain_suffix(each) for each in (".wav", ".MP3", "", ".a/b", "wav", ".toolongsuffix")] == [
        ".wav",
        ".mp3",
        "",
        "",
        "",
        "",
    ]
