"""The runs of this tab of a browser."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from kikitori.console import acting, here, tabs
from kikitori.console.api import Api, ApiError
from kikitori.console.running import Recording, Run
from kikitori.console.tabs import Desk
from kikitori.console.wire import SocketWire, Wire

logger = logging.getLogger(__name__)


def all_runs() -> list[Run]:
    """Newest last."""
    return _desk().runs


def begin(*recordings: Recording) -> None:
    """Start a run for each, and show the first."""
    tab = tabs.current()
    retry = partial(_retry, here.api())
    started = [Run(recording, wires(), is_open=tab.is_open, go_on_as_task=retry) for recording in recordings]
    for run in started:
        run.start()
    all_runs().extend(started)
    choose(started[0])


def chosen() -> Run | None:
    """The run that is looked at."""
    desk = _desk()
    return desk.chosen if desk.chosen in desk.runs else (desk.runs[-1] if desk.runs else None)


def choose(run: Run) -> None:
    _desk().chosen = run


def forget(run: Run) -> None:
    run.stop()
    if run in all_runs():  # not removed in a second window of this tab
        all_runs().remove(run)


def forget_all() -> None:
    """Whoever is here leaves: what runs ends, unless it shall go on."""
    for run in all_runs():
        if not run.recording.go_on:
            run.stop()
    tabs.current().clear(here.holder())


def wires() -> Callable[[], Wire]:
    """Opens sockets to the server of this session, with its key."""
    return partial(SocketWire, here.target(), here.key())


def _desk() -> Desk:
    return tabs.current().desk(here.holder())


def _retry(api: Api, task_id: str) -> bool:
    """The recording of a run that was stopped goes on as a task; False: it stays stopped, and can be retried there."""
    try:
        api.post(f"{acting.path_of(task_id)}/retry")
    except ApiError as exc:
        logger.warning("run did not go on", extra={"action": "console_run_not_moved", "code": exc.code})
        return False
    return True
