import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from kikitori.logs import configure_logging, current_ids, log_ids

logger = logging.getLogger("kikitori.somewhere")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_json_carries_facts_and_ids(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream=stream)
    with log_ids(request_id="req_1"), log_ids(task_id="t2"):
        logger.info("model ready", extra={"action": "model_ready", "seconds": 0.5, "path": object})
    entry = json.loads(stream.getvalue())
    assert entry["message"] == "model ready"
    assert entry["level"] == "info"
    assert entry["logger"] == "kikitori.somewhere"
    assert entry["action"] == "model_ready"
    assert entry["seconds"] == 0.5
    assert (entry["request_id"], entry["task_id"]) == ("req_1", "t2")
    assert entry["time"].endswith("+00:00")


def test_json_keeps_a_trace_in_its_line(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    (line,) = lines(stream)
    assert "ValueError: broken" in json.loads(line)["trace"]


def test_human_line_shows_facts_and_ids_but_not_the_action(stream: io.StringIO) -> None:
    configure_logging("human", "info", stream=stream)
    with log_ids(request_id="req_1"):
        logger.warning("slow", extra={"action": "slow", "seconds": 3, "why": "two words"})
    (line,) = lines(stream)
    assert " WARNING slow  " in line
    assert line.endswith('seconds=3 why="two words" request_id=req_1')


def test_nobody_forges_a_line(stream: io.StringIO) -> None:
    configure_logging("human", "info", stream=stream)
    logger.info("request", extra={"path": "/a\n12:00:00 ERROR   forged"})
    (line,) = lines(stream)
    assert "\\n12:00:00" in line


def test_human_trace_follows_its_line(stream: io.StringIO) -> None:
    configure_logging("human", "info", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    assert lines(stream)[0].endswith("failed")
    assert lines(stream)[-1] == "ValueError: broken"


def test_level_holds(stream: io.StringIO) -> None:
    configure_logging("human", "warning", stream=stream)
    logger.info("not shown")
    assert lines(stream) == []


def test_configuring_again_replaces(stream: io.StringIO) -> None:
    configure_logging("human", "info", stream=io.StringIO())
    configure_logging("human", "info", stream=stream)
    logger.info("once")
    assert len(lines(stream)) == 1


def test_uvicorn_logs_through_the_same_handler(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream=stream)
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("Invalid", extra={"color_message": "\x1b[36mInvalid"})
    entry = json.loads(stream.getvalue())
    assert entry["message"] == "Invalid"
    assert "color_message" not in entry


def test_libraries_that_chat_are_quiet(stream: io.StringIO) -> None:
    configure_logging("human", "info", stream=stream)
    logging.getLogger("httpx").info("HTTP Request: GET …")
    logging.getLogger("faster_whisper").info("Processing audio with duration 00:03.000")
    assert lines(stream) == []


def test_ids_end_with_their_block() -> None:
    with log_ids(request_id="a"):
        with log_ids(request_id="b"):
            assert current_ids() == {"request_id": "b"}
        assert current_ids() == {"request_id": "a"}
    assert current_ids() == {}


async def test_ids_reach_tasks_and_threads_of_their_block(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream=stream)

    async def child(name: str) -> None:
        with log_ids(request_id=name):
            await asyncio.sleep(0)
            await asyncio.to_thread(logger.info, name)

    await asyncio.gather(child("one"), child("two"))
    entries = [json.loads(line) for line in lines(stream)]
    assert {entry["message"]: entry["request_id"] for entry in entries} == {"one": "one", "two": "two"}


def test_a_thread_of_its_own_has_no_ids(stream: io.StringIO) -> None:
    configure_logging("json", "info", stream=stream)
    with log_ids(request_id="a"):
        thread = threading.Thread(target=logger.info, args=("shared",))
        thread.start()
        thread.join()
    assert "request_id" not in json.loads(stream.getvalue())
