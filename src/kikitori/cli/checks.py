"""What ``kikitori doctor`` looks at. Each check gives one line or more, and never raises for what it looks for."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kikitori.errors import KikitoriError

if TYPE_CHECKING:
    from kikitori.settings import Settings

GIB = 1024**3
LITTLE_SPACE_BYTES = 2 * GIB
NO_SPACE_BYTES = 100 * 1024**2
PACKAGES = (
    "ctranslate2",
    "faster-whisper",
    "pocketsphinx",
    "onnxruntime",
    "av",
    "numpy",
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "pydantic",
)


class State(StrEnum):
    OK = "ok"
    OFF = "off"  # not there, and not needed
    WARN = "warn"  # works, but not as it could
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one check found; ``remedy`` says what to do about it."""

    name: str
    state: State
    detail: str
    remedy: str = ""


Check = Callable[["Settings"], Iterator[Line]]


def all_lines(settings: Settings) -> Iterator[Line]:
    """Every check in turn. A check that breaks is a failed line, so that the others are still seen."""
    for check in CHECKS:
        try:
            yield from check(settings)
        except KikitoriError as exc:
            yield Line(name=_name(check), state=State.FAIL, detail=exc.message, remedy=exc.remedy)
        except Exception as exc:  # a broken installation breaks anywhere, and saying where is what this is for
            yield Line(
                name=_name(check),
                state=State.FAIL,
                detail=f"{type(exc).__name__}: {exc}",
                remedy="Reinstall Kikitori in a new environment; report this if it stays.",
            )


def _name(check: Check) -> str:
    return str(getattr(check, "__name__", "check")).removeprefix("check_").replace("_", " ")


def check_python(settings: Settings) -> Iterator[Line]:
    detail = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    remedy = "Use Python 3.11 or later." if old else ""
    yield Line(name="python", state=State.FAIL if old else State.OK, detail=detail, remedy=remedy)


def check_packages(settings: Settings) -> Iterator[Line]:
    found, missing = [], []
    for name in ("kikitori", *PACKAGES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Line(name="packages", state=State.OK, detail=", ".join(found))
    if missing:
        remedy = "Reinstall Kikitori: pip install --force-reinstall kikitori."
        yield Line(name="packages", state=State.FAIL, detail=f"Missing: {', '.join(missing)}.", remedy=remedy)


def check_engines(settings: Settings) -> Iterator[Line]:
    """Imports each engine's library; the embedded engine transcribes the bundled sample."""
    from importlib import import_module

    from kikitori.engines.registry import ENGINES, available

    for name, entry in ENGINES.items():
        title = f"engine {name}"
        if not available(name):
            bring = f"pip install 'kikitori[{entry.extra}]' brings it." if entry.extra else "Reinstall Kikitori."
            state = State.OFF if entry.extra else State.FAIL
            yield Line(name=title, state=state, detail="Not installed.", remedy=bring)
            continue
        try:
            import_module(entry.module)
            import_module(entry.library)
        except (ImportError, OSError) as exc:
            remedy = f"Reinstall it: pip install --force-reinstall {entry.library.replace('_', '-')}."
            yield Line(name=title, state=State.FAIL, detail=f"Cannot be loaded: {exc}", remedy=remedy)
            continue
        yield _heard_sample(title) if name == "pocketsphinx" else Line(name=title, state=State.OK, detail="Loads.")


def _heard_sample(title: str) -> Line:
    """A real transcription: decoder, resampler, engine."""
    import numpy as np

    from kikitori.audio.decode import decode
    from kikitori.data import sample_path, sample_text
    from kikitori.engines.base import EngineConfig
    from kikitori.engines.registry import load_engine
    from kikitori.options import DecodeOptions

    began = time.monotonic()
    audio = np.concatenate(list(decode(sample_path())), axis=1)[0]
    with closing(load_engine("pocketsphinx", EngineConfig())) as engine:
        heard = "".join(segment.text for segment in engine.transcribe(audio, DecodeOptions(), _Direct()).segments)
    seconds = time.monotonic() - began
    right = set(sample_text().split()) & set(heard.lower().split())
    if len(right) < len(set(sample_text().split())) / 2:
        return Line(
            name=title, state=State.FAIL, detail=f"Misheard the bundled sample: {heard!r}", remedy="Reinstall Kikitori."
        )
    return Line(name=title, state=State.OK, detail=f"Heard the bundled sample in {seconds:.1f} s.")


class _Direct:
    """Calls of one decoding, without a pool: an engine that does not merge calls makes none."""

    def submit(self, key: object, payload: object) -> Any:
        raise NotImplementedError("this engine works alone")

    def check(self) -> None:
        return None


def check_devices(settings: Settings) -> Iterator[Line]:
    from kikitori.engines.devices import device_report

    for found in device_report(settings.device, settings.device_index, settings.compute_type):
        state = State.OK if found.ok else State.FAIL
        if found.ok and found.remedy:
            state = State.WARN
        yield Line(name=found.name, state=state, detail=found.detail, remedy=found.remedy)


def check_data_folder(settings: Settings) -> Iterator[Line]:
    folder = settings.data_dir
    there = next(path for path in (folder, *folder.parents) if path.exists())
    problem = _write_problem(folder) if there == folder else "" if _may_make(there) else f"{there} is not yours"
    if problem:
        remedy = "Choose another with --data-dir or KIKITORI_DATA_DIR."
        detail = f"{folder} cannot be written: {problem}."
        yield Line(name="data folder", state=State.FAIL, detail=detail, remedy=remedy)
        return
    free = shutil.disk_usage(there).free
    state = State.FAIL if free < NO_SPACE_BYTES else State.WARN if free < LITTLE_SPACE_BYTES else State.OK
    remedy = "" if state is State.OK else "Free some space: a large model takes 3 GiB."
    note = "" if there == folder else " will be made,"
    yield Line(name="data folder", state=state, detail=f"{folder}{note} {free / GIB:.1f} GiB free", remedy=remedy)


def _write_problem(folder: Path) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def _may_make(parent: Path) -> bool:
    return parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)


def check_database(settings: Settings) -> Iterator[Line]:
    import asyncio

    from kikitori.store.database import Database, head_revision

    database = Database(settings.database)
    if not _database_is_there(settings):
        yield Line(name="database", state=State.OK, detail=f"{database.shown} will be made on the first start")
        return

    async def current() -> str | None:
        async with database:
            return await database.revision()

    revision, head = asyncio.run(current()), head_revision()
    if revision is not None and revision > head:
        remedy = "Update Kikitori, or use another database."
        detail = f"{database.shown} was made by a newer Kikitori."
        yield Line(name="database", state=State.FAIL, detail=detail, remedy=remedy)
        return
    note = "" if revision == head else "; it will be upgraded on the next start"
    yield Line(name="database", state=State.OK, detail=f"{database.shown} answers{note}")


def check_keys(settings: Settings) -> Iterator[Line]:
    """The rule that keeps a server private."""
    import asyncio

    from kikitori.errors import InvalidInput, Unavailable
    from kikitori.store.database import Database
    from kikitori.store.keys import KeyStore
    from kikitori.web.binding import require_private

    async def count() -> int:
        async with Database(settings.database) as database:
            if await database.revision() is None:
                return 0
            return sum(key.revoked_at is None for key in await KeyStore(database).list())

    try:
        live = asyncio.run(count()) if _database_is_there(settings) else 0
        require_private(settings.host, has_keys=live > 0, insecure=settings.insecure)
    except Unavailable:
        return  # the check of the database says so
    except InvalidInput as exc:
        yield Line(name="keys", state=State.FAIL, detail=exc.message, remedy=exc.remedy)
        return
    detail = f"{live} in use" if live else f"None: everybody who reaches {settings.host} may use the server"
    open_to_all = settings.insecure and not live
    remedy = "`kikitori keys create` makes one." if open_to_all else ""
    yield Line(name="keys", state=State.WARN if open_to_all else State.OK, detail=detail, remedy=remedy)


def _database_is_there(settings: Settings) -> bool:
    """A file of SQLite that is not there yet must not be made by looking."""
    from kikitori.store.urls import SQLITE, parse_url

    url, backend = parse_url(settings.database)
    return backend is not SQLITE or Path(str(url.database)).exists()


def check_address(settings: Settings) -> Iterator[Line]:
    """Whether a server could listen; a Kikitori that already does is fine."""
    import httpx

    from kikitori.errors import Unavailable
    from kikitori.web.binding import open_sockets, shown_url

    scheme = "https" if settings.tls_cert else "http"
    try:
        sockets = open_sockets(settings.host, settings.port)
    except Unavailable as exc:
        address = f"{scheme}://{'127.0.0.1' if settings.host in ('', '0.0.0.0') else settings.host}:{settings.port}"
        try:
            answer = httpx.get(f"{address}/health/live", timeout=5, verify=False, trust_env=False)
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.is_success:
            yield Line(name="address", state=State.OK, detail=f"A server answers at {address} already.")
        else:
            yield Line(name="address", state=State.FAIL, detail=exc.message, remedy=exc.remedy)
        return
    url = shown_url(sockets, tls=settings.tls_cert is not None)
    for each in sockets:
        each.close()
    yield Line(name="address", state=State.OK, detail=f"{url} is free")


def check_tls(settings: Settings) -> Iterator[Line]:
    if not settings.tls_cert and not settings.tls_key:
        return
    try:
        if not (settings.tls_cert and settings.tls_key):
            raise ValueError("one of the two is missing")
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        remedy = "--tls-cert and --tls-key name a certificate chain and its private key, both PEM."
        yield Line(name="tls", state=State.FAIL, detail=f"{exc}", remedy=remedy)
        return
    yield Line(name="tls", state=State.OK, detail=f"{settings.tls_cert}")


def check_model_hub(settings: Settings) -> Iterator[Line]:
    import httpx

    if settings.offline:
        yield Line(name="model hub", state=State.OFF, detail="Never asked, because `offline` is set.")
        return
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        httpx.head(hub, timeout=settings.hub_connect_timeout_seconds)
    except httpx.HTTPError as exc:
        remedy = "Models on this machine work without it. KIKITORI_OFFLINE=true stops asking it."
        detail = f"{hub} cannot be reached ({str(exc) or type(exc).__name__})."
        yield Line(name="model hub", state=State.WARN, detail=detail, remedy=remedy)
        return
    yield Line(name="model hub", state=State.OK, detail=f"{hub} answers")


CHECKS: tuple[Check, ...] = (
    check_python,
    check_packages,
    check_engines,
    check_devices,
    check_data_folder,
    check_database,
    check_keys,
    check_address,
    check_tls,
    check_model_hub,
)
