"""From what callers want to tasks in the queue: all of it, or nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

import anyio
import anyio.to_thread

from kikitori.errors import InvalidInput, InvalidOption
from kikitori.media import disk
from kikitori.media.links import link_in
from kikitori.options import DecodeOptions
from kikitori.store.task_records import NewTask, TaskRecord, new_id
from kikitori.tasks.callback_urls import check_callback_url
from kikitori.tasks.desk import TaskDesk
from kikitori.web.auth import Caller
from kikitori.web.state import WebState
from kikitori.web.task_forms import MAX_IDEMPOTENCY_KEY, Wanted, check_names, known_fields, read_wanted
from kikitori.web.uploads import UploadedFile

MAX_FILES = 100
"""In one form."""
MAX_BATCH = 1_000
CHECKED_AT_ONCE = 20
"""More links than this are looked at on a thread."""
BATCH_FIELDS = ("urls", "tasks")

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")


async def create_tasks(
    state: WebState, caller: Caller, wanted: Sequence[Wanted], files: Sequence[UploadedFile] = ()
) -> list[TaskRecord]:
    """One task for each of ``wanted``; ``files``, when there are some, are its recordings.

    Raises InvalidInput, ModelNotFound, Unsupported, Conflict, Busy, Unavailable; then nothing stays.
    """
    await _check(state, wanted)
    new = [_new_task(state, caller, each) for each in wanted]
    return await _submit(state.services.tasks, new, files)


def read_batch(values: Mapping[str, object]) -> list[Wanted]:
    """The tasks of a batch: ``urls`` with fields for all of them, or ``tasks`` with fields of their own.

    Pure, and slow for a thousand tasks: for a thread. Raises InvalidInput that names the task.
    """
    check_names(values, (*BATCH_FIELDS, *(name for name in known_fields() if name != "url")))
    common = {name: value for name, value in values.items() if name not in BATCH_FIELDS}
    name, items = _batch_items(values)
    found = [_batch_task(f"{name}[{at}]", item, common) for at, item in enumerate(items)]
    return with_keys_apart(found) if "idempotency_key" in common else _require_keys_apart(found)


def with_keys_apart(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Tasks that share an idempotency key each get one of their own, the same whenever they come again."""
    if len(wanted) == 1:
        return [*wanted]
    apart = []
    for number, each in enumerate(wanted, start=1):
        key = each.idempotency_key and f"{each.idempotency_key[: MAX_IDEMPOTENCY_KEY - 5]}#{number}"
        apart.append(replace(each, idempotency_key=key))
    return apart


def _batch_items(values: Mapping[str, object]) -> tuple[str, list[object]]:
    given = [name for name in BATCH_FIELDS if values.get(name) is not None]
    if len(given) != 1:
        raise InvalidInput(
            "A batch has `urls` or `tasks`.", remedy='Send {"urls": ["https://…"]} with other fields.', param="urls"
        )
    items = values[given[0]]
    if not isinstance(items, list) or not 0 < len(items) <= MAX_BATCH:
        count = f"{len(items):,} entries" if isinstance(items, list) else items
        raise InvalidOption(given[0], count, f"a list of 1 to {MAX_BATCH:,}")
    return given[0], items


def _batch_task(place: str, item: object, common: Mapping[str, object]) -> Wanted:
    own = {"url": item} if isinstance(item, str) else item
    if not isinstance(own, Mapping):
        raise InvalidOption(place, item, "a link, or an object with a url")
    try:
        wanted = read_wanted({**common, **own})
        if not wanted.url:
            raise InvalidOption("url", own.get("url"), "a link")
        return wanted
    except InvalidInput as exc:
        param = place if isinstance(item, str) else f"{place}.{exc.param}"
        raise InvalidInput(f"{place}: {exc.message}", remedy=exc.remedy, param=param) from exc


def _require_keys_apart(wanted: list[Wanted]) -> list[Wanted]:
    keys = [each.idempotency_key for each in wanted if each.idempotency_key]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidOption("idempotency_key", twice, "another one for each task")
    return wanted


async def _check(state: WebState, wanted: Sequence[Wanted]) -> None:
    """What can be known now is said now."""
    asked = dict.fromkeys((each.model, each.decode) for each in wanted)
    unsure = [pair for pair in asked if not state.supported.knows(pair)]
    if unsure or len(wanted) > CHECKED_AT_ONCE:
        await anyio.to_thread.run_sync(_look, state, unsure, wanted, limiter=state.render_threads)
        state.supported.note(unsure)
    else:
        _check_links(state, wanted)


def _look(state: WebState, unsure: Iterable[tuple[str, DecodeOptions]], wanted: Iterable[Wanted]) -> None:
    """Blocking: looks at the models on disk."""
    for model, decode in unsure:
        state.services.check_supported(model, decode)
    _check_links(state, wanted)


def _check_links(state: WebState, wanted: Iterable[Wanted]) -> None:
    for each in wanted:
        if each.url:
            state.guard.check_link(link_in(each.url))  # apps share text with a link inside


def _new_task(state: WebState, caller: Caller, wanted: Wanted) -> NewTask:
    callback_url = wanted.callback_url and check_callback_url(state.guard, wanted.callback_url)
    return NewTask(
        id=new_id("task"),
        owner=caller.owner,
        priority=wanted.priority,
        task_type=wanted.task_type,
        url=wanted.url,
        model=wanted.model,
        options=wanted.options,
        formats=wanted.formats,
        tags=wanted.tags,
        platform=wanted.platform,
        callback_url=callback_url,
        idempotency_key=wanted.idempotency_key,
        expires_at=datetime.now(UTC) + timedelta(seconds=wanted.expires_in) if wanted.expires_in else None,
    )


async def _submit(tasks: TaskDesk, new: Sequence[NewTask], files: Sequence[UploadedFile]) -> list[TaskRecord]:
    """The tasks, queued, with their uploads in the media store. What no task holds in the end is removed from there."""
    complete = [*new]
    records: list[TaskRecord] = []
    try:
        for at, (task, file) in enumerate(zip(new, files, strict=False)):
            # Read once more only where it may have been sent before.
            known_by = await anyio.to_thread.run_sync(_hash_of, file.path) if task.idempotency_key else None
            kept = await tasks.media.save(file.path, task_id=task.id, suffix=_suffix(file.name))
            complete[at] = replace(
                task, media_key=kept, media_bytes=file.size_bytes, media_hash=known_by, file_name=file.name
            )
        # Once begun it is carried out, whatever becomes of the request: a task must not lose its recording.
        with anyio.CancelScope(shield=True):
            records = await tasks.submit(complete)
        return records
    finally:
        held = {record.media_key for record in records}
        with anyio.CancelScope(shield=True):
            for key in (task.media_key for task in complete):
                if key is not None and key not in held:
                    await tasks.media.delete(key)


def _hash_of(path: Path) -> str:
    """SHA-256. Blocking."""
    with disk.disk_errors(), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _suffix(name: str) -> str:
    """What the name ends with, for programs that look at it."""
    suffix = PurePath(name).suffix
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else ""
