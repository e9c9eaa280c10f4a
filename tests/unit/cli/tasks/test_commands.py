"""The commands, on a server that says what the test wants."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import cast

import pytest
from tests.unit.cli.tasks.conftest import ID, Answer, FakeApi, Run, error, events, succeeded, task_json

from kikitori.cli.interrupts import StoppableInput
from kikitori.cli.tasks.client import TaskClient
from kikitori.cli.tasks.submit import Link, Sender
from kikitori.errors import Unavailable

OTHER = "task_01kb9q3m5e8d7x2v4n6r0t1y3x"
CREATE = "POST /api/tasks"
SHOW = f"GET /api/tasks/{ID}"
FILE = f"GET /api/tasks/{ID}/subtitles"
EVENTS = f"GET /api/tasks/{ID}/events"
RUNNING = task_json(status="running", duration=60.0, seconds_done=30.0, progress=50.0, speed=12.0, eta_seconds=2.5)
FAILED = task_json(
    status="failed", error={"code": "link_failed", "message": "The page is gone.", "remedy": "Check the link."}
)
NOT_FOUND = error(404, "not_found", "There is no task.")


# submit ----------------------------------------------------------------------------------------------------------


def test_files_and_links_become_tasks_in_their_order(api: FakeApi, tasks: Run, tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "a.mp3").write_text("sound")
    api.on(CREATE, Answer(201, task_json()))
    done = tasks("submit", str(tmp_path / "talks"), "https://example.org/x", "see https://v.douyin.com/abc here")
    assert (done.exit_code, done.stdout) == (0, f"{ID}\n{ID}\n{ID}\n")
    assert "a.mp3: queued, number 1" in done.stderr
    sent = sorted((request.fields.get("url") or request.fields["file"])[0] for request in api.requests)
    assert sent == ["a.mp3: sound", "https://example.org/x", "see https://v.douyin.com/abc here"]


def test_options_travel_as_fields(api: FakeApi, tasks: Run) -> None:
    api.on(CREATE, Answer(201, task_json()))
    done = tasks(
        "submit", "https://example.org/x", "--language", "Korean", "--beam-size", "3", "--word-timestamps",
        "--task", "translate", "--model", "small", "--priority", "high", "--tag", "a", "--tag", "b", "-f", "srt,vtt",
        "--callback-url", "https://example.org/hook", "--idempotency-key", "k1", "--expires-in", "2h",
        "--platform", "radio", "--temperature", "0", "--json", "-q",
    )  # fmt: skip
    assert (done.exit_code, json.loads(done.stdout)["id"], done.stderr) == (0, ID, "")
    (request,) = api.requests
    assert request.fields == {
        "language": ["ko"], "beam_size": ["3"], "word_timestamps": ["true"], "task": ["translate"], "model": ["small"],
        "priority": ["high"], "tags": ["a", "b"], "formats": ["srt", "vtt"], "url": ["https://example.org/x"],
        "callback_url": ["https://example.org/hook"], "idempotency_key": ["k1"], "expires_in": ["7200"],
        "platform": ["radio"], "temperature": ["[0]"],
    }  # fmt: skip


def test_several_sources_have_keys_of_their_own(api: FakeApi, tasks: Run) -> None:
    api.on(CREATE, Answer(201, task_json()))
    assert tasks("submit", "http://x/1", "http://x/2", "--idempotency-key", "k").exit_code == 0
    assert sorted(request.fields["idempotency_key"][0] for request in api.requests) == ["k#1", "k#2"]


def test_a_source_that_is_refused_keeps_no_other_back(api: FakeApi, tasks: Run, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_text("sound")
    api.on(CREATE, error(400, "forbidden_address", "url leads to a private address."), Answer(201, task_json()))
    done = tasks("submit", "http://10.0.0.1/", str(tmp_path / "none.mp3"), "http://x/", "--tag", "x")
    assert (done.exit_code, done.stdout) == (1, f"{ID}\n")
    assert "none.mp3: There is no such file." in done.stderr
    assert "url leads to a private address" in done.stderr


def test_a_wrong_key_ends_all(api: FakeApi, tasks: Run) -> None:
    api.on(CREATE, error(401, "invalid_api_key", "No."))
    done = tasks("submit", "http://x/", "http://y/")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("API key") == 1


async def test_what_was_made_is_told_when_all_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """The first source waits for its answer while the second has its own, and the third finds the server gone."""
    second_made = asyncio.Event()

    class Client:
        async def create(self, fields: dict[str, str]) -> dict[str, object]:
            if fields["url"] == "http://x/1":
                await asyncio.Event().wait()
            if fields["url"] == "http://x/2":
                second_made.set()
                return task_json()
            await second_made.wait()
            raise Unavailable("The server does not answer.")

    links = [Link(name=f"http://x/{number}") for number in (1, 2, 3)]
    with StoppableInput(sys.stdin) as stdin:
        sender = Sender({}, "", stdin)
        with pytest.raises(Unavailable):
            await sender.send_all(cast(TaskClient, Client()), links)
    assert capsys.readouterr().out == f"{ID}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--beam-size", "x"], "--beam-size is 'x'"),
        (["--expires-in", "soon"], "--expires-in is 'soon'"),
        (["-f", "doc"], "--format is 'doc'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    api: FakeApi, tasks: Run, arguments: list[str], words: str
) -> None:
    done = tasks("submit", "http://x/", *arguments)
    assert (done.exit_code, api.requests) == (2, [])
    assert words in done.stderr


def test_submit_can_wait_for_the_end(api: FakeApi, tasks: Run) -> None:
    api.on(CREATE, Answer(201, task_json()))
    api.on(EVENTS, events(("status", "1-0-0", RUNNING), ("status", "2-0-0", succeeded())))
    done = tasks("submit", "http://x/", "--wait")
    assert (done.exit_code, done.stdout) == (0, f"{ID}\n")
    assert "talk.mp3: done, 1:00 of audio in 0:05 (12.0× real time), small, en" in done.stderr


# watch -----------------------------------------------------------------------------------------------------------


def test_watch_tells_how_it_goes_and_how_it_ends(api: FakeApi, tasks: Run) -> None:
    api.on(SHOW, task_json())
    api.on(EVENTS, events(("status", "1-0-0", task_json(queue_position=3))), events(("status", "2-0-0", succeeded())))
    done = tasks("watch", ID)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "talk.mp3: queued, number 3",
        "talk.mp3: done, 1:00 of audio in 0:05 (12.0× real time), small, en",
    ]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (FAILED, "talk.mp3: The page is gone. Check the link."),
        (task_json(status="cancelled"), f"The task was cancelled. `kikitori tasks retry {ID}`"),
        (task_json(status="expired"), "The task has expired."),
    ],
)
def test_a_task_that_does_not_succeed_fails_the_watch(
    api: FakeApi, tasks: Run, task: dict[str, object], words: str
) -> None:
    api.on(SHOW, task_json())
    api.on(EVENTS, events(("status", "2-0-0", task)))
    done = tasks("watch", ID, "-q")
    assert (done.exit_code, words in done.stderr) == (1, True)


def test_a_task_that_is_deleted_meanwhile_keeps_no_other_back(api: FakeApi, tasks: Run) -> None:
    api.on(SHOW, task_json())
    api.on(EVENTS, events(("status", "1-0-0", RUNNING)), NOT_FOUND)
    api.on(f"GET /api/tasks/{OTHER}", succeeded(id=OTHER, file_name="b.mp3"))
    api.on(f"GET /api/tasks/{OTHER}/events", events(("status", "1-0-0", succeeded(id=OTHER))))
    done = tasks("watch", ID, OTHER, "task_none")
    assert done.exit_code == 1
    assert "There is no task 'task_none' here." in done.stderr
    assert f"There is no task {ID!r} here." in done.stderr
    assert "b.mp3: done" in done.stderr


# list and show ---------------------------------------------------------------------------------------------------


def test_a_list_is_lines_of_cells_in_a_pipe(api: FakeApi, tasks: Run) -> None:
    odd = succeeded(id=OTHER, file_name="", details={"title": "a\ttitle\x1b[31m\nin lines"}, progress=100.0)
    api.on("GET /api/tasks", {"tasks": [task_json(), odd], "total": 2, "has_more": False, "next": None})
    done = tasks("list")
    assert done.stdout.splitlines() == [
        f"{ID}\tqueued\t0\tnormal\t2026-03-01T12:30:00.000Z\t\t\ttalk.mp3",
        f"{OTHER}\tsucceeded\t100\tnormal\t2026-03-01T12:30:00.000Z\t60\ten\ta title [31m in lines",
    ]


def test_filters_are_the_querys(api: FakeApi, tasks: Run) -> None:
    api.on("GET /api/tasks", {"tasks": [], "total": 0, "has_more": False, "next": None})
    done = tasks(
        "list", "--status", "failed,expired", "--tag", "x", "--no-has-error", "--created-after",
        "2026-03-01T00:00:00+00:00", "--finished-before", "2h", "--sort", "duration", "--text", "tea", "-n", "7",
    )  # fmt: skip
    query = dict(api.requests[0].query)
    assert done.exit_code == 0
    assert query.pop("finished_before").endswith("+00:00")
    assert query == {
        "status": "failed,expired", "tag": "x", "has_error": "false", "created_after": "2026-03-01T00:00:00+00:00",
        "sort": "duration", "text": "tea", "limit": "7",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--created-after", "yesterday"], "--created-after is 'yesterday'"),
        (["--status", "failed,done"], "--status is 'done'. Allowed: queued, "),
        (["--priority", "urgent"], "--priority is 'urgent'. Allowed: high, normal, low."),
        (["--sort", "-colour"], "--sort is 'colour'. Allowed: created_at, "),
    ],
)
def test_a_wrong_filter_is_named_before_the_server_is_asked(
    api: FakeApi, tasks: Run, arguments: list[str], words: str
) -> None:
    done = tasks("list", *arguments)
    assert (done.exit_code, api.requests) == (2, [])
    assert words in done.stderr


def test_long_lists_are_read_page_by_page(api: FakeApi, tasks: Run) -> None:
    page = {"tasks": [task_json()] * 200, "total": 500, "has_more": True, "next": "c1"}
    last = {"tasks": [task_json()] * 3, "total": 500, "has_more": False, "next": None}
    api.on("GET /api/tasks", page, last)
    done = tasks("list", "--all", "--json")
    found = json.loads(done.stdout)
    assert (len(found["tasks"]), found["total"], found["has_more"]) == (203, 500, False)
    assert [dict(request.query).get("cursor") for request in api.requests] == [None, "c1"]
    api.on("GET /api/tasks", page, {**page, "tasks": [task_json()] * 50})
    assert len(tasks("list", "-n", "250").stdout.splitlines()) == 250
    assert dict(api.requests[-1].query)["limit"] == "50"


def test_show_is_a_sheet_of_facts(api: FakeApi, tasks: Run) -> None:
    api.on(SHOW, {**FAILED, "tags": ["a", "b"], "options": {"beam_size": 3}})
    done = tasks("show", ID)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert lines[:2] == [f"id {ID}", "what talk.mp3"]
    assert {"error The page is gone. Check the link.", "tags a, b", "options beam_size=3"} <= {*lines}
    assert json.loads(tasks("show", ID, "--json").stdout)["id"] == ID
    assert tasks("show", "task_none").exit_code == 1


# result ----------------------------------------------------------------------------------------------------------


def test_a_text_goes_to_stdout(api: FakeApi, tasks: Run) -> None:
    api.on(SHOW, succeeded())
    api.on(FILE, Answer(200, "1\n00:00:00,000 --> 00:00:01,000\nHello.\n"))
    done = tasks("result", ID, "-f", "srt", "--max-line-width", "20", "--partial")
    assert (done.exit_code, done.stdout.splitlines()[-1], done.stderr) == (0, "Hello.", "")
    assert dict(api.requests[-1].query) == {"format": "srt", "max_line_width": "20", "partial": "true"}


def test_texts_go_into_a_folder(api: FakeApi, tasks: Run, tmp_path: Path) -> None:
    api.on(SHOW, succeeded())
    api.on(FILE, Answer(200, "Hello.\n"))
    api.on(f"GET /api/tasks/{OTHER}", task_json(id=OTHER, file_name="../../.talk.mp3", status="running"))
    api.on(f"GET /api/tasks/{OTHER}/subtitles", Answer(200, "Hel\n"))
    done = tasks("result", ID, OTHER, "-f", "txt,srt", "-o", str(tmp_path / "out"), "--partial")
    assert (done.exit_code, done.stdout) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "talk.mp3-2.partial.srt", "talk.mp3-2.partial.txt", "talk.mp3.srt", "talk.mp3.txt",
    ]  # fmt: skip
    assert (tmp_path / "out" / "talk.mp3.txt").read_text() == "Hello.\n"


def test_a_result_can_be_waited_for(api: FakeApi, tasks: Run) -> None:
    api.on(SHOW, RUNNING, succeeded())
    api.on(EVENTS, events(("status", "2-0-0", succeeded())))
    api.on(FILE, Answer(200, "Hello.\n"))
    done = tasks("result", ID, "--wait")
    assert (done.exit_code, done.stdout) == (0, "Hello.\n")
    assert "talk.mp3: done" in done.stderr


def test_one_text_that_is_not_there_keeps_no_other_back(api: FakeApi, tasks: Run) -> None:
    api.on(SHOW, RUNNING)
    api.on(FILE, Answer(202, RUNNING))
    api.on(f"GET /api/tasks/{OTHER}", succeeded(id=OTHER, file_name="b.mp3"))
    api.on(f"GET /api/tasks/{OTHER}/subtitles", Answer(200, "Hello."))
    done = tasks("result", ID, OTHER)
    assert (done.exit_code, done.stdout) == (1, "==> b.mp3 <==\nHello.\n")
    assert "talk.mp3: The task is running (50 %)" in done.stderr


# cancel, retry, delete -------------------------------------------------------------------------------------------


def test_tasks_are_cancelled_retried_and_deleted(api: FakeApi, tasks: Run) -> None:
    api.on(f"POST /api/tasks/{ID}/cancel", {**RUNNING, "cancel_requested": True}, task_json(status="cancelled"))
    api.on(f"POST /api/tasks/{ID}/retry", task_json())
    api.on(f"DELETE /api/tasks/{ID}", Answer(204))
    said = [tasks(verb, ID) for verb in ("cancel", "cancel", "retry", "delete")]
    assert [done.exit_code for done in said] == [0, 0, 0, 0]
    assert [done.stderr.strip() for done in said] == [
        f"{ID} (talk.mp3) is being cancelled.",
        f"{ID} (talk.mp3) is cancelled.",
        f"{ID} (talk.mp3) is queued again.",
        f"{ID} is removed.",
    ]


def test_the_priority_of_a_task_is_changed(api: FakeApi, tasks: Run) -> None:
    route = f"POST /api/tasks/{ID}/priority"
    api.on(route, {**task_json(), "priority": "high", "queue_position": 2}, error(409, "conflict", "It is running."))
    done = tasks("priority", ID, "high")
    assert (done.exit_code, done.stderr.strip()) == (0, f"{ID} (talk.mp3) is high, number 2.")
    assert api.asked(route)[0].fields == {"priority": ["high"]}
    done = tasks("priority", ID, "low")
    assert (done.exit_code, "It is running." in done.stderr) == (1, True)
    assert tasks("priority", ID, "urgent").exit_code == 2


def test_one_task_that_cannot_be_cancelled_keeps_no_other_back(api: FakeApi, tasks: Run) -> None:
    api.on(f"POST /api/tasks/{ID}/cancel", error(409, "conflict", "The task has succeeded already."))
    api.on(f"POST /api/tasks/{OTHER}/cancel", task_json(id=OTHER, status="cancelled"))
    done = tasks("cancel", ID, OTHER)
    assert done.exit_code == 1
    assert f"kikitori: {ID}: The task has succeeded already." in done.stderr
    assert f"{OTHER} (talk.mp3) is cancelled." in done.stderr


def test_no_server_is_said_with_its_own_exit_code(tasks: Run) -> None:
    for arguments in (["list"], ["show", ID], ["cancel", ID], ["result", ID], ["watch", ID], ["submit", "http://x"]):
        done = tasks(*arguments, "--url", "127.0.0.1:9")
        assert (done.exit_code, "does not answer" in done.stderr) == (3, True)
