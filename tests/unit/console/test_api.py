"""The public API, as the console calls it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme
from tests.unit.console.fake_server import FakeServer, refused

from kikitori.console.api import Api, ApiError, Download, ServerEvent, open_client


def api(server: FakeServer, key: str = "") -> Api:
    client = httpx.Client(base_url="http://kikitori.test", transport=httpx.MockTransport(server))
    return Api(client, key)


def test_the_key_is_in_a_header_and_in_no_text() -> None:
    server = FakeServer(key="kk_1")
    called = api(server, "kk_1")
    assert called.get("/v1/models")["object"] == "list"
    request = server.asked[-1]
    assert request.headers["authorization"] == "Bearer kk_1"
    assert "kk_1" not in str(request.url) + repr(called)


def test_errors_are_the_servers_own_words() -> None:
    server = FakeServer({"POST /api/tasks": refused(400, "url leads to no media. Check the link.", param="url")})
    with pytest.raises(ApiError, match=r"^url leads to no media\. Check the link\.$") as caught:
        api(server).post("/api/tasks", {"url": "x"})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_value", "url")


def test_a_server_that_is_away_is_an_error_of_its_own() -> None:
    with pytest.raises(ApiError) as caught:
        api(FakeServer(away=True)).get("/v1/models")
    assert caught.value.unreachable and not caught.value.wants_key


def test_an_answer_of_something_else_is_no_mystery() -> None:
    server = FakeServer({"GET /api/tasks": httpx.Response(502, text="<html>Bad gateway</html>")})
    with pytest.raises(ApiError, match="The server answered 502"):
        api(server).get("/api/tasks")


def test_empty_parameters_are_left_out() -> None:
    server = FakeServer({"GET /api/tasks": {"tasks": []}})
    api(server).get("/api/tasks", {"status": "", "limit": 20, "tag": None})
    assert str(server.asked[-1].url) == "http://kikitori.test/api/tasks?limit=20"


def test_an_answer_without_a_body_is_none() -> None:
    assert api(FakeServer({"DELETE /api/tasks/1": httpx.Response(204)})).delete("/api/tasks/1") is None


def test_a_file_has_its_name() -> None:
    headers = {"content-disposition": "attachment; filename*=UTF-8''%E4%BC%9A%E8%AD%B0.srt", "content-type": "text/srt"}
    server = FakeServer({"GET /file": httpx.Response(200, content=b"1", headers=headers)})
    assert api(server).content("/file") == Download(content=b"1", name="会議.srt", media_type="text/srt")


def test_events_come_with_their_names() -> None:
    named, typed = 'event: segment\ndata: {"id": 0}', 'data: {"type": "answer.delta", "delta": "a"}'
    text = "\n\n".join([named, ": still here", typed, "data: [DONE]", ""])
    server = FakeServer({"GET /events": httpx.Response(200, text=text)})
    assert list(api(server).events("GET", "/events")) == [
        ServerEvent(name="segment", data={"id": 0}),
        ServerEvent(name="answer.delta", data={"type": "answer.delta", "delta": "a"}),
        ServerEvent(name="", data="[DONE]"),
    ]


def test_an_error_in_a_stream_is_raised() -> None:
    server = FakeServer({"GET /events": httpx.Response(200, text='data: {"error": {"message": "No model."}}\n\n')})
    with pytest.raises(ApiError, match="No model"):
        list(api(server).events("GET", "/events"))


def test_a_refused_stream_is_raised() -> None:
    server = FakeServer({"GET /events": refused(409, "Not yet.", code="conflict")})
    with pytest.raises(ApiError, match="Not yet"):
        list(api(server).events("GET", "/events"))


def test_a_named_certificate_is_trusted_and_no_other(tmp_path: Path) -> None:
    """Under any name, although nobody vouches for it."""
    authority = trustme.CA()
    mine, other = authority.issue_cert("speech.example"), authority.issue_cert("speech.example")
    for number, certificate in enumerate((mine, other)):
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{number}.pem")
    with https_server(mine) as url:
        with open_client(url, str(tmp_path / "0.pem")) as client:
            assert client.get("/").text == "hello"
        with open_client(url, str(tmp_path / "1.pem")) as client, pytest.raises(ApiError, match="does not answer"):
            Api(client).get("/")


@contextmanager
def https_server(certificate: trustme.LeafCert) -> Iterator[str]:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_health_says_why_not() -> None:
    busy = httpx.Response(503, json={"status": "not ready", "reason": "The model is downloaded."})
    assert api(FakeServer()).health() == (True, "")
    assert api(FakeServer({"GET /health/ready": busy})).health() == (False, "The model is downloaded.")
