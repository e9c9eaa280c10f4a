"""The page *Tasks*, with a server of ours."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from streamlit.testing.v1 import AppTest
from tests.unit.console.fake_server import FakeServer, install, refused

from kikitori.console import figures, task_view
from kikitori.console.shown import without_images
from kikitori.console.transcript_view import Edited

WAIT = 60
ID = "task_01kb9q3m5e8d7x2v4n6r0t1y3w"
PATH = f"/api/tasks/{ID}"
STEP = {"at": "2026-03-01T12:00:00Z", "succeeded": 0, "failed": 0, "cancelled": 0, "audio_seconds": 0.0}
COUNTS = {"queued": 2, "fetching": 0, "running": 1, "succeeded": 7, "failed": 0, "cancelled": 0, "expired": 0}
STATS = {
    "tasks": COUNTS,
    "tasks_are_exact": True,
    "last_hour": [{**STEP, "succeeded": 3, "audio_seconds": 90.0}],
    "last_day": [{**STEP, "succeeded": 4, "audio_seconds": 5400.0}, STEP],
    "nodes": [],
}  # fmt: skip


def page() -> None:
    from kikitori.console.frame import show

    show("tasks")


def task(status: str = "succeeded", **more: Any) -> dict[str, Any]:
    return {
        "id": ID, "status": status, "progress": 0.0, "priority": "normal", "url": None, "file_name": "talk.wav",
        "tags": [], "details": {}, "created_at": "2026-03-01T12:00:00Z", "duration": 61.0, "speed": None,
        "eta_seconds": None, "language": "en", "model": "mini", "queue_position": None, "cancel_requested": False,
        "error": None, "owner": "ann", **more,
    }  # fmt: skip


def listed(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "tasks": list(tasks), "total": len(tasks), "total_is_exact": True, "has_more": False, "next": None, **more,
    }  # fmt: skip


def segment(id: int, text: str) -> dict[str, Any]:
    return {"id": id, "start": float(id), "end": id + 1.0, "text": text}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer({"GET /api/stats": STATS, "GET /api/tasks": listed(task())})
    install(server, monkeypatch)
    return server


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What comes back from the lines that were drawn, in order; nothing when it is empty."""
    answers: list[Any] = []
    monkeypatch.setattr(
        task_view, "transcript_view", lambda lines, **how: answers.pop(0) if answers and how.get("editable") else None
    )
    return answers


def opened(task_id: str = "") -> AppTest:
    app = AppTest.from_function(page, default_timeout=WAIT)
    if task_id:
        app.query_params["task"] = task_id
    app.run()
    assert not app.exception
    return app


def ended(server: FakeServer, *, text: tuple[str, ...] = (" One.", " Two."), **more: Any) -> None:
    """A task that has ended, its text, and no recording."""
    server.answers |= {
        f"GET {PATH}": task(**more),
        f"GET {PATH}/result": {"segments": [segment(at, each) for at, each in enumerate(text)]},
        f"GET {PATH}/answers": {"answers": [], "has_more": False},
    }


def last_query(server: FakeServer) -> httpx.QueryParams:
    return [each for each in server.asked if each.url.path == "/api/tasks" and each.method == "GET"][-1].url.params


def all_text(app: AppTest) -> str:
    shown = (app.markdown, app.caption, app.info, app.error, app.warning)
    return "\n".join(str(each.value) for kind in shown for each in kind)


# The list


def test_what_there_is_is_listed_with_its_facts(server: FakeServer) -> None:
    server.answers["GET /api/tasks"] = listed(
        task("running", progress=40.0, speed=2.5, eta_seconds=65.0, file_name="a_b*.wav"),
        task("queued", id="task_2", queue_position=4, priority="high", tags=["customer"]),
        task("failed", id="task_3", error={"code": "x", "message": "No [sound].", "remedy": ""}),
    )
    app = opened()
    assert app.button(key=f"tasks.open.{ID}").label == "a\\_b\\*\\.wav"
    text = all_text(app)
    assert "In line: 4" in text.replace("\\", "") and "High" in text and "customer" in text
    assert "No \\[sound\\]\\." in text, "what others wrote is no Markdown"
    assert [metric.value for metric in app.metric] == ["2", "1", "4", "1.5 h"]


def test_the_queue_and_what_is_done_are_drawn(server: FakeServer) -> None:
    app = opened()
    assert len(app.get("vega_lite_chart")) == 2
    server.answers["GET /api/stats"] = {**STATS, "tasks": {**COUNTS, "queued": 5}}
    app.run()
    seen = app.session_state[figures.QUEUE]
    assert [(moment.waiting, moment.working) for moment in seen] == [(2, 1), (5, 1)]
    [rows] = figures.areas(seen).to_dict()["datasets"].values()
    assert [(row["state"], row["count"]) for row in rows] == [
        ("Working", 1),
        ("Waiting", 2),
        ("Working", 1),
        ("Waiting", 5),
    ]


def test_nothing_there_says_what_to_do(server: FakeServer) -> None:
    server.answers["GET /api/tasks"] = listed()
    assert "Nothing here yet." in all_text(opened())


def test_filters_are_asked_of_the_server(server: FakeServer) -> None:
    app = opened()
    assert dict(last_query(server)) == {"limit": "20", "sort": "-created_at"}
    app.text_input(key="tasks.search").set_value(" bank ")
    app.button_group(key="tasks.groups").set_value(["active", "failed"])
    app.button_group(key="tasks.priorities").set_value(["high"])
    app.selectbox(key="tasks.sort").set_value("-duration")
    app.run()
    query = last_query(server)
    assert (query["text"], query["sort"]) == ("bank", "-duration")
    assert query.get_list("status") == ["fetching", "running", "failed", "expired"]
    assert query.get_list("priority") == ["high"]
    server.answers["GET /api/tasks"] = listed()
    assert "No task is like this." in all_text(app.run())


def test_pages_are_turned_and_a_filter_begins_at_the_first(server: FakeServer) -> None:
    server.answers["GET /api/tasks"] = listed(task(), total=57, has_more=True)
    app = opened()
    assert app.button(key="tasks.previous").disabled
    app.button(key="tasks.next").click().run()
    assert last_query(server)["offset"] == "20"
    assert "21–21 of 57" in all_text(app)
    app.text_input(key="tasks.search").set_value("x").run()
    assert "offset" not in last_query(server)


@pytest.mark.parametrize(
    ("status", "buttons"),
    [
        ("queued", ["cancel", "delete"]),
        ("running", ["cancel", "delete"]),
        ("succeeded", ["delete"]),
        ("failed", ["retry", "delete"]),
        ("expired", ["retry", "delete"]),
    ],
)
def test_each_state_has_its_buttons(server: FakeServer, status: str, buttons: list[str]) -> None:
    server.answers["GET /api/tasks"] = listed(task(status))
    app = opened()
    keys = [str(button.key).split(".") for button in app.button]
    assert [key[1] for key in keys if key[0] == "tasks" and key[-1] == ID and key[1] != "open"] == buttons


def test_a_task_is_cancelled_and_moved_in_the_queue(server: FakeServer) -> None:
    server.answers |= {
        "GET /api/tasks": listed(task("queued", queue_position=1)),
        f"POST {PATH}/cancel": task("cancelled"),
        f"POST {PATH}/priority": task("queued"),
    }
    app = opened()
    app.button(key=f"tasks.cancel.{ID}").click().run()
    assert server.calls("POST", f"{PATH}/cancel") == [{}]
    app.button_group(key=f"tasks.priority.{ID}").set_value("high").run()
    assert server.calls("POST", f"{PATH}/priority") == [{"priority": "high"}]


def test_deleting_takes_two_touches(server: FakeServer) -> None:
    server.answers[f"DELETE {PATH}"] = httpx.Response(204)
    app = opened()
    app.button(key=f"tasks.delete.{ID}").click().run()
    assert server.calls("DELETE", PATH) == []
    app.button(key=f"tasks.delete_now.{ID}").click().run()
    assert server.calls("DELETE", PATH) == [None]
    assert not app.exception


def test_what_the_server_refuses_is_told_in_its_words(server: FakeServer) -> None:
    server.answers |= {
        "GET /api/tasks": listed(task("failed")),
        f"POST {PATH}/retry": refused(409, "The recording of this task was removed.", code="conflict"),
    }
    app = opened()
    app.button(key=f"tasks.retry.{ID}").click().run()
    assert [toast.value for toast in app.toast] == ["The recording of this task was removed."]


# Making tasks


def test_links_become_tasks(server: FakeServer) -> None:
    server.answers["POST /api/tasks/batch"] = {"tasks": []}
    app = opened()
    assert app.button(key="tasks.make").disabled
    app.text_area(key="tasks.links.0").set_value("https://a.example/1\n https://b.example/2 ")
    app.selectbox(key="tasks.model").set_value("mini")
    app.selectbox(key="tasks.new_priority").set_value("high")
    app.run()
    app.button(key="tasks.make").click().run()
    assert server.calls("POST", "/api/tasks/batch") == [
        {
            "urls": ["https://a.example/1", "https://b.example/2"],
            "model": "mini",
            "task_type": "transcribe",
            "priority": "high",
        }
    ]
    assert app.text_area(key="tasks.links.1").value == "", "the fields begin anew"


def test_files_become_tasks_one_by_one(server: FakeServer) -> None:
    server.answers["POST /api/tasks"] = task("queued")
    app = opened()
    app.file_uploader[0].set_value([("会議.wav", b"one", "audio/wav"), ("b.mp3", b"two", "audio/mpeg")]).run()
    app.button(key="tasks.make").click().run()
    bodies = [each.content for each in server.asked if each.method == "POST"]
    assert len(bodies) == 2
    assert b"one" in bodies[0] and b'name="priority"' in bodies[0] and b"two" in bodies[1]
    assert not app.exception


def test_a_wrong_link_is_told_and_what_was_written_stays(server: FakeServer) -> None:
    server.answers |= {
        "POST /api/tasks/batch": refused(400, "url leads to a private address (a).", param="url"),
        "POST /api/tasks": refused(413, "The file is too large."),
    }
    app = opened()
    app.text_area(key="tasks.links.0").set_value("http://a")
    app.file_uploader[0].set_value([("big.wav", b"one", "audio/wav")]).run()
    app.button(key="tasks.make").click().run()
    assert not app.exception
    assert [error.value.replace("\\", "") for error in app.error] == [
        "url leads to a private address (a).",
        "big.wav: The file is too large.",
    ]
    assert app.text_area(key="tasks.links.1").value == "http://a"


def test_a_page_whose_tasks_were_deleted_gives_way_to_the_first(server: FakeServer) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        first = request.url.params.get("offset", "0")
        return httpx.Response(200, json=listed(task(), has_more=True) if first == "0" else listed())

    server.answers["GET /api/tasks"] = answer
    app = opened()
    app.button(key="tasks.next").click().run()
    assert not app.exception
    assert app.button(key=f"tasks.open.{ID}").label == "talk\\.wav"
    assert app.button(key="tasks.previous").disabled


# One task


def test_a_name_opens_its_task_and_the_way_leads_back(server: FakeServer) -> None:
    ended(server)
    app = opened()
    app.button(key=f"tasks.open.{ID}").click().run()
    assert app.query_params["task"] == ID
    assert [each.value for each in app.subheader] == ["talk\\.wav"]
    assert "1\\:01" in all_text(app)
    app.button(key="tasks.back").click().run()
    assert app.title[0].value == "Tasks"


def test_a_link_is_called_what_it_leads_to(server: FakeServer) -> None:
    ended(server, file_name=None, url="https://a.example/talk.mp3")
    app = opened(ID)
    assert [each.value for each in app.subheader] == ["a\\.example/talk\\.mp3"], "no link of its own"
    assert "https\\://a\\.example/talk\\.mp3" in all_text(app)


def test_a_task_that_is_gone_says_so(server: FakeServer) -> None:
    assert "not there any more" in all_text(opened("task_gone"))


def test_a_running_task_shows_how_far_it_is(server: FakeServer) -> None:
    ended(server, status="running", progress=40.0, speed=2.5, eta_seconds=65.0, text=(" One.",))
    app = opened(ID)
    assert not [button for button in app.get("download_button")]
    server.answers[f"GET {PATH}"] = task()
    app.run()
    assert len(app.get("download_button")) == 5


def test_a_failure_is_told_with_its_remedy_and_what_was_heard_stays(server: FakeServer) -> None:
    ended(server, status="failed", error={"code": "x", "message": "It broke off.", "remedy": "Try again."})
    app = opened(ID)
    assert "It broke off\\. Try again\\." in all_text(app)
    assert len(app.get("download_button")) == 5


def test_an_edited_line_is_kept_unless_somebody_was_faster(server: FakeServer, views: list[Any]) -> None:
    ended(server)
    server.answers[f"PATCH {PATH}/segments/1"] = segment(1, " Too.")
    views.append(Edited(id=1, text="Too."))
    app = opened(ID)
    assert server.calls("PATCH", f"{PATH}/segments/1") == [{"text": "Too.", "expected": " Two."}]
    server.answers[f"PATCH {PATH}/segments/0"] = refused(
        409, "Somebody else has changed this segment.", code="conflict"
    )
    views.append(Edited(id=0, text="Won."))
    app.run()
    assert [toast.value for toast in app.toast] == ["Somebody else has changed this segment."]


def test_the_recording_is_fetched_once_and_one_that_was_removed_is_told(server: FakeServer) -> None:
    ended(server)
    assert "no recording to hear" in all_text(opened(ID))
    server.answers |= {
        f"GET {PATH}/recording": httpx.Response(200, content=b"sound", headers={"content-type": "audio/wav"}),
        f"GET {PATH}/peaks": {"duration": 2.0, "peaks": [0.1, 0.5]},
    }
    app = opened(ID)
    app.run()
    assert len(app.get("audio")) == 1
    assert len(server.calls("GET", f"{PATH}/recording")) == 2, "the first time it was not there"


def test_a_very_large_recording_is_not_taken_into_memory(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(server)
    server.answers[f"GET {PATH}/recording"] = httpx.Response(200, content=b"sound")
    monkeypatch.setattr(task_view, "MOST_BYTES", 4)
    assert "cannot be heard here" in all_text(opened(ID))


# Language models


def stream(*events: dict[str, Any]) -> httpx.Response:
    lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return httpx.Response(200, text=f"{lines}data: [DONE]\n\n", headers={"content-type": "text/event-stream"})


def test_a_question_is_answered_while_it_is_written_and_kept(server: FakeServer) -> None:
    ended(server)
    server.answers[f"POST {PATH}/chat"] = stream(
        {"type": "answer.progress", "done": 1, "total": 2},
        {"type": "answer.delta", "delta": "On "},
        {"type": "answer.delta", "delta": "Friday."},
    )
    app = opened(ID)
    app.chat_input[0].set_value("When?").run()
    assert server.calls("POST", f"{PATH}/chat") == [{"question": "When?", "history": [], "stream": True}]
    answer = {"kind": "chat", "question": "When *exactly*?", "text": "On Friday. ![x](http://evil/?q)"}
    server.answers[f"GET {PATH}/answers"] = {"answers": [answer], "has_more": False}
    text = all_text(app.run())
    assert "When \\*exactly\\*?" in text
    assert "!\\[x](http" in text, "no picture is loaded from elsewhere"
    app.chat_input[0].set_value("And then?").run()
    history = server.calls("POST", f"{PATH}/chat")[-1]["history"]
    assert [turn["role"] for turn in history] == ["user", "assistant"]


def test_a_summary_is_in_the_language_of_the_reader(server: FakeServer) -> None:
    ended(server)
    server.answers[f"POST {PATH}/summary"] = stream({"type": "answer.delta", "delta": "Short."})
    app = opened(ID)
    app.button(key="tasks.summary").click().run()
    assert server.calls("POST", f"{PATH}/summary") == [{"output_language": "English", "stream": True}]


def test_without_a_language_model_the_server_says_what_to_do(server: FakeServer) -> None:
    ended(server)
    server.answers[f"POST {PATH}/summary"] = refused(503, "No language model is set up.", code="llm_unavailable")
    app = opened(ID)
    app.button(key="tasks.summary").click().run()
    assert "No language model is set up\\." in all_text(app)


def test_pictures_of_models_are_shown_as_text() -> None:
    assert without_images("a ![b](c) d! [e](f)") == "a !\\[b](c) d! [e](f)"
