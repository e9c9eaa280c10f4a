"""What pages say of themselves, as the worker passes it on."""

import json
from typing import Any

from kikitori.media import site_worker
from kikitori.media.site_worker import LONGEST_LINK, LONGEST_TEXT, explain

HOSTILE: dict[str, Any] = {
    "title": "x" * 10_000_000,
    "uploader": "half \ud800",
    "webpage_url": "https://example.org/" + "y" * 100_000,
    "upload_date": 20260301,
    "id": None,
}


def test_what_a_page_says_of_itself_is_short_and_can_be_written() -> None:
    details = site_worker._details(HOSTILE)
    assert len(json.dumps(details)) < LONGEST_LINK + 2 * LONGEST_TEXT
    assert (details["author"], details["upload_date"], details["id"]) == ("half ?", "20260301", "")


def test_a_length_is_a_number() -> None:
    for odd in (float("nan"), float("inf"), 10**400, "7", None):
        assert site_worker._details({"duration": odd})["duration"] is None
    assert site_worker._details({"duration": 7})["duration"] == 7.0


def test_a_list_has_links_that_can_be_kept() -> None:
    assert site_worker._entry({**HOSTILE, "url": HOSTILE["webpage_url"]}) is None
    entry = site_worker._entry({**HOSTILE, "url": "https://example.org/1"})
    assert entry is not None
    assert len(entry["title"]) == LONGEST_TEXT


def test_a_reason_can_be_written() -> None:
    class YoutubeDLError(Exception):
        pass

    assert explain(YoutubeDLError("ERROR: gone \ud800 for ever")) == {
        "code": "site_error",
        "message": "gone ? for ever.",
    }
