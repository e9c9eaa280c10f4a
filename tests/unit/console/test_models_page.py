"""The page *Models and keys*, with a server of ours."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from streamlit.testing.v1 import AppTest
from tests.unit.console.fake_server import FakeServer, install, refused

from kikitori.console import here

WAIT = 60
MODEL = {
    "id": "mini", "engine": "whisper", "hub_id": None, "size_bytes": 8_000_000, "english_only": False,
    "installed": True, "loaded": True, "removable": False,
}  # fmt: skip
REPLICA = {"device": "cpu", "device_index": 0, "mean_batch_size": 2.5}
LOADED = {"model": "mini", "state": "ready", "replicas": [REPLICA]}
ON_DISK = {**MODEL, "id": "our/own", "loaded": False, "removable": True}
SMALL = {**MODEL, "id": "small", "installed": False, "loaded": False, "size_bytes": 486_000_000}
FORBIDDEN = refused(403, "This key lacks the scope.", code="forbidden")
KEY = {
    "id": 1, "name": "phone", "owner": "ann", "scopes": ["transcribe"], "prefix": "kk_abcdefgh",
    "created_at": "2026-03-01T12:00:00Z", "last_used_at": None, "revoked_at": None,
}  # fmt: skip


def page() -> None:
    from kikitori.console.frame import show

    show("models")


def download(**more: Any) -> dict[str, Any]:
    return {
        "model": "small", "state": "running", "bytes_done": 0, "bytes_total": 0, "bytes_per_second": 0.0, "error": "",
        **more,
    }  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    server = FakeServer(
        {
            "GET /api/models/known": {"models": [MODEL, ON_DISK, SMALL]},
            "GET /api/models/loaded": {"models": [LOADED]},
            "GET /api/models/downloads": {"downloads": []},
            "GET /api/keys": {"keys": [KEY]},
        }
    )
    install(server, monkeypatch)
    return server


def opened() -> AppTest:
    app = AppTest.from_function(page, default_timeout=WAIT).run()
    assert not app.exception
    return app


def all_text(app: AppTest) -> str:
    shown = (app.markdown, app.caption, app.info, app.success, app.error, app.warning)
    return "\n".join(str(each.value) for kind in shown for each in kind).replace("\\", "")


def buttons(app: AppTest, of: str) -> list[str]:
    """What can be done with a model."""
    keys = [str(button.key or "") for button in app.button]
    return [key.split(".", 2)[1] for key in keys if key.startswith("models.") and key.endswith(f".{of}")]


def test_replicas_without_batches_are_counted(server: FakeServer) -> None:
    idle = {**REPLICA, "mean_batch_size": 0.0}
    server.answers["GET /api/models/loaded"] = {"models": [{**LOADED, "replicas": [idle, idle]}]}
    assert "whisper · 8 MB · 2 × CPU" in all_text(opened()).splitlines()


def test_models_are_listed_with_what_can_be_done(server: FakeServer) -> None:
    app = opened()
    assert "whisper · 8 MB · CPU · 2.5 windows a batch" in all_text(app)
    assert (buttons(app, "mini"), buttons(app, "our/own")) == (["unload"], ["load", "remove"])
    assert buttons(app, "small") == ["download"]


def test_loading_and_unloading(server: FakeServer) -> None:
    server.answers |= {
        "POST /api/models/load": LOADED,
        "DELETE /api/models/loaded/mini": httpx.Response(204),
    }
    app = opened()
    app.button(key="models.load.our/own").click().run()
    assert server.calls("POST", "/api/models/load") == [{"model": "our/own", "pin": True}]
    app.button(key="models.unload.mini").click().run()
    assert server.calls("DELETE", "/api/models/loaded/mini") == [None]


def test_removing_takes_two_touches(server: FakeServer) -> None:
    app = opened()
    app.button(key="models.remove.our/own").click().run()
    assert [each.method for each in server.asked if each.method == "DELETE"] == []
    app.button(key="models.remove_now.our/own").click().run()
    [asked] = [each for each in server.asked if each.method == "DELETE"]
    assert asked.url.raw_path == b"/api/models/installed/our%2Fown"
    assert "There is no /api/models/installed" in all_text(app), "what the server said is told"


def test_a_download_is_begun_watched_and_stopped(server: FakeServer) -> None:
    server.answers |= {
        "POST /api/models/downloads": download(),
        "DELETE /api/models/downloads/small": download(state="cancelled"),
    }
    app = opened()
    app.button(key="models.download.small").click().run()
    assert server.calls("POST", "/api/models/downloads") == [{"model": "small"}]
    moving = download(bytes_done=243_000_000, bytes_total=486_000_000, bytes_per_second=9_000_000.0)
    server.answers["GET /api/models/downloads"] = {"downloads": [moving]}
    app.run()
    [bar] = app.get("progress")
    assert bar.proto.value == 50
    assert bar.proto.text.replace("\\", "") == "**small** · 243 MB / 486 MB · 9 MB/s"
    assert buttons(app, "small") == ["stop"]
    app.button(key="models.stop.small").click().run()
    assert server.calls("DELETE", "/api/models/downloads/small") == [None]


def test_why_a_download_failed_is_told_and_it_can_go_on(server: FakeServer) -> None:
    failed = download(state="failed", error="The model hub cannot be reached.")
    server.answers["GET /api/models/downloads"] = {"downloads": [failed]}
    app = opened()
    assert "The model hub cannot be reached." in all_text(app)
    assert "again" in buttons(app, "small")


def test_any_model_of_the_hub_can_be_named(server: FakeServer) -> None:
    server.answers["POST /api/models/downloads"] = download(model="our/new")
    app = opened()
    app.text_input(key="models.name").set_value(" our/new ")
    next(
        button for button in app.button if button.label == "Download" and not str(button.key).endswith("small")
    ).click()
    app.run()
    assert not app.exception
    assert server.calls("POST", "/api/models/downloads") == [{"model": "our/new"}]


def test_whoever_may_not_manage_models_may_look(server: FakeServer) -> None:
    server.answers |= {"GET /api/models/downloads": FORBIDDEN, "GET /api/keys": FORBIDDEN}
    app = opened()
    assert (buttons(app, "mini"), buttons(app, "small")) == ([], [])
    assert "sign in with a key that may manage models" in all_text(app)
    assert "Sign in with an administrator's key" in all_text(app)


# Keys


def make(app: AppTest, owner: str) -> AppTest:
    app.text_input(key="models.key_name").set_value("tablet")
    app.text_input(key="models.key_owner").set_value(owner)
    next(button for button in app.button if button.label == "Make key").click()
    return app.run()


def test_a_new_key_is_shown_once(server: FakeServer) -> None:
    server.answers["POST /api/keys"] = {**KEY, "id": 2, "secret": "kk_secret"}
    app = make(opened(), "bob")
    assert server.calls("POST", "/api/keys") == [{"name": "tablet", "owner": "bob", "scopes": ["transcribe"]}]
    assert [code.value for code in app.code] == ["kk_secret"]
    assert here.KEY not in app.session_state, "who makes a key for somebody else stays who they are"
    app.button(key="models.key_kept").click().run()
    assert len(app.code) == 0


def test_with_the_first_key_its_maker_is_signed_in(server: FakeServer) -> None:
    server.answers |= {"GET /api/keys": {"keys": []}, "POST /api/keys": {**KEY, "secret": "kk_first"}}
    app = make(opened(), "ann")
    assert server.calls("POST", "/api/keys")[0]["scopes"] == ["admin"]
    assert app.session_state[here.KEY] == "kk_first"
    assert server.asked[-1].headers["authorization"] == "Bearer kk_first"


def test_what_is_wrong_with_a_key_is_told(server: FakeServer) -> None:
    server.answers["POST /api/keys"] = refused(400, "owner is ''.", param="owner")
    assert "owner is ''." in all_text(make(opened(), ""))


def test_revoking_takes_two_touches(server: FakeServer) -> None:
    server.answers["DELETE /api/keys/1"] = KEY
    app = opened()
    app.button(key="models.revoke.1").click().run()
    assert server.calls("DELETE", "/api/keys/1") == []
    app.button(key="models.revoke_now.1").click().run()
    assert server.calls("DELETE", "/api/keys/1") == [None]


def test_keys_that_were_revoked_stand_apart(server: FakeServer) -> None:
    server.answers["GET /api/keys"] = {"keys": [KEY, {**KEY, "id": 2, "revoked_at": "2026-03-02T12:00:00Z"}]}
    app = opened()
    assert [expander.label for expander in app.expander if "revoked" in expander.label] == ["1 revoked keys"]
    assert "models.revoke.2" not in [button.key for button in app.button]
