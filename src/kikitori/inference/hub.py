"""Downloads from a model hub that speaks the Hugging Face API: bounded, resumable, verified.

A download goes to a folder beside the models and is moved into place when every file is there with
its right size and checksum, so that a broken one never looks like a model. What has arrived is kept
and continued by the next attempt.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from kikitori.errors import Forbidden, InvalidInput, KikitoriError, ModelNotFound, Unavailable
from kikitori.inference.model_files import CONFIG, WEIGHTS

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "https://huggingface.co"
NEEDED_FILES = (CONFIG, "preprocessor_config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt", WEIGHTS)
"""Of a CTranslate2 Whisper model; the weights last, and of the vocabularies what is there."""
READ_TIMEOUT_SECONDS = 30.0
ANSWER_SECONDS = 10.0
"""After the connection: how long the hub may take to list a model's files."""
FAILURES_IN_A_ROW = 3
"""Attempts that bring no new byte before a download is given up."""
PAUSE_SECONDS = 1.0

T = TypeVar("T")
OnProgress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes there will be; may raise to stop the download."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file of a hub model; ``sha256`` is known for large ones."""

    name: str
    size_bytes: int
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model at one revision."""

    id: str
    revision: str
    files: tuple[HubFile, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class Hub:
    """A client of one hub. Blocking; close it (``with``) when the download is over."""

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        connect_timeout: float = 5.0,
    ) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
        self._answer_timeout = connect_timeout + ANSWER_SECONDS
        token = os.environ.get("HF_TOKEN")
        # httpx leaves the token out when a redirect leads to another host, as those to the file servers do.
        self._client = httpx.Client(
            timeout=httpx.Timeout(READ_TIMEOUT_SECONDS, connect=connect_timeout),
            headers={"user-agent": "kikitori"} | ({"authorization": f"Bearer {token}"} if token else {}),
            follow_redirects=True,
        )

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def describe(self, model: str) -> HubModel:
        """The files that a Whisper model needs. Raises ModelNotFound, Forbidden, InvalidInput, Unavailable."""
        url = f"{self.endpoint}/api/models/{quote(model)}/revision/main"
        with self._clear_errors(model):
            # Looking up a host's address has no time limit of its own, so the whole call gets one.
            response = _within(self._answer_timeout, lambda: self._client.get(url, params={"blobs": "true"}))
            response.raise_for_status()
            return _read_description(model, response)

    def download(self, model: HubModel, folder: Path, on_progress: OnProgress) -> None:
        """Bring every file of ``model`` into ``folder``, going on from what is there."""
        _check_space(model, folder)
        done = 0

        def report(here: int) -> None:
            on_progress(done + here, model.size_bytes)

        for file in model.files:
            self._fetch(model, file, folder / file.name, report)
            done += file.size_bytes

    def _fetch(self, model: HubModel, file: HubFile, target: Path, on_progress: Callable[[int], None]) -> None:
        if target.exists():  # verified when it got its name
            on_progress(file.size_bytes)
            return
        part = target.with_name(target.name + ".part")
        failures = 0
        if _size(part) > file.size_bytes:
            part.unlink()
        while not part.exists() or _size(part) < file.size_bytes:
            before = _size(part)
            try:
                self._append(model, file, part, on_progress)
            except (httpx.TransportError, _CutShort) as exc:
                failures = 1 if _size(part) > before else failures + 1
                if failures == FAILURES_IN_A_ROW:
                    raise Unavailable(
                        f"The download of {model.id} broke off: {exc or type(exc).__name__}.",
                        remedy=f"Run `kikitori models pull {model.id}` again: what has arrived is kept.",
                    ) from exc
                logger.info("A download broke off and goes on.", extra={"action": "pull_resumed", "file": file.name})
                time.sleep(PAUSE_SECONDS)
        if not _is_whole(part, file):
            part.unlink()
            raise Unavailable(f"{file.name} of {model.id} arrived damaged.", remedy="Pull it again.")
        part.replace(target)

    def _append(self, model: HubModel, file: HubFile, part: Path, on_progress: Callable[[int], None]) -> None:
        """Read on from the end of ``part`` to the end of the file, or to where the connection breaks."""
        url = f"{self.endpoint}/{quote(model.id)}/resolve/{model.revision}/{quote(file.name)}"
        here = _size(part)
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={here}-"} if here else {})
        with (
            self._clear_errors(model.id, but=httpx.TransportError),
            self._client.stream("GET", url, headers=headers) as response,
        ):
            if response.is_server_error:
                raise _CutShort(f"the hub answers {response.status_code}")
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                here = 0
            with part.open("ab" if here else "wb") as output:
                for block in response.iter_raw():
                    output.write(block)
                    here += len(block)
                    on_progress(min(here, file.size_bytes))
        if here != file.size_bytes:
            if here > file.size_bytes:
                part.unlink()  # another file than was promised: from the beginning
            raise _CutShort(f"{here} of {file.size_bytes} bytes of {file.name} came")

    @contextmanager
    def _clear_errors(self, model: str, but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        try:
            yield
        except but:
            raise
        except httpx.HTTPStatusError as exc:
            raise self._refusal(model, exc.response.status_code) from exc
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
            raise Unavailable(
                f"The model hub {self.endpoint} cannot be reached ({exc or type(exc).__name__}).",
                remedy="Check the network, or copy a model folder here and name it with --model FOLDER.",
            ) from exc

    def _refusal(self, model: str, status: int) -> KikitoriError:
        if status in (httpx.codes.NOT_FOUND, httpx.codes.UNAUTHORIZED):
            return ModelNotFound(model, remedy=f"Is it at {self.endpoint}/{model}? A private one needs HF_TOKEN.")
        if status == httpx.codes.FORBIDDEN:
            return Forbidden(
                f"The hub does not give out {model}.",
                remedy=f"Accept its terms at {self.endpoint}/{model} and set HF_TOKEN.",
                param="model",
            )
        return Unavailable(f"The model hub {self.endpoint} answers {status}.", remedy="Try again later.")


class _CutShort(Exception):
    """An attempt ended before the file did, for a reason that may pass."""


def _read_description(model: str, response: httpx.Response) -> HubModel:
    try:
        body = response.json()
        siblings = {item["rfilename"]: item for item in body["siblings"]}
        files = tuple(_read_file(siblings[name]) for name in NEEDED_FILES if name in siblings)
        revision = str(body["sha"])
    except (json.JSONDecodeError, KeyError, TypeError) as exc:
        raise Unavailable("The model hub's answer is not understood.", remedy="Is HF_ENDPOINT a model hub?") from exc
    if not revision.isalnum():
        raise Unavailable("The model hub's answer is not understood.", remedy="Is HF_ENDPOINT a model hub?")
    if not {CONFIG, WEIGHTS} <= {file.name for file in files}:
        raise InvalidInput(
            f"{model} is not a CTranslate2 model: it has no model.bin.",
            remedy="Name one that was converted, such as Systran/faster-whisper-small.",
            param="model",
        )
    return HubModel(id=model, revision=revision, files=files)


def _read_file(item: Any) -> HubFile:
    large = item.get("lfs") or {}
    return HubFile(
        name=item["rfilename"], size_bytes=int(large.get("size", item["size"])), sha256=large.get("sha256", "")
    )


def _check_space(model: HubModel, folder: Path) -> None:
    missing = model.size_bytes - sum(_size(path) for path in folder.iterdir())
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise Unavailable(
            f"{model.id} needs {missing / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB free.",
            remedy="Make room, or choose a smaller model.",
        )


def _is_whole(part: Path, file: HubFile) -> bool:
    if not file.sha256:
        return part.stat().st_size == file.size_bytes
    with part.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Run ``call`` in a thread that is left behind when it takes too long. Raises TimeoutError."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as exc:  # belongs to who waits, and is raised there
            errors.append(exc)

    thread = threading.Thread(target=run, name="kikitori-hub", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer in {seconds:.0f} s")
    return results[0]
