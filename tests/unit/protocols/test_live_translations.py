"""Translations on the plain WebSocket."""

from __future__ import annotations

from tests.unit.protocols.live_line import Line, final

from kikitori.live.events import Translating, Translation, TranslationFailed
from kikitori.protocols.actions import Open, Send


def test_the_language_reaches_the_session() -> None:
    line = Line()
    line.send("start", lang="en", translate_to="pt-BR")
    assert line.of(Open)[0].options.translate_to == "pt-BR"
    line.send("start", lang="en", translate_to="")
    assert line.of(Open)[1].options.translate_to == ""


def test_translations_are_told_whole_and_the_newest_is_enough() -> None:
    line = Line()
    line.send("start", translate_to="ja")
    assert line.hear(Translating(session="live_1", language="ja")) == [
        {"type": "translating", "session": "live_1", "lang": "ja"}
    ]
    line.hear(final("Hello.", utterance=3))
    told = line.hear(Translation(utterance=3, text="こん", language="ja", done=False))
    assert told == [{"type": "translation", "utterance": 3, "text": "こん", "lang": "ja", "done": False}]
    told = line.hear(Translation(utterance=3, text="こんにちは", language="ja", done=True))
    assert told[0]["done"]
    slots = [send.slot for send in line.of(Send) if '"translation"' in send.text]
    assert len(set(slots)) == 1
    assert slots[0]


def test_a_failure_ends_the_translation_and_is_a_notice_once() -> None:
    line = Line()
    line.send("start", translate_to="ja")
    failed = {"utterance": 3, "text": "こ", "language": "ja", "code": "llm_unavailable", "message": "Away."}
    ended, notice = line.hear(TranslationFailed(**failed))  # type: ignore[arg-type]
    assert (ended["done"], ended["failed"], ended["text"]) == (True, True, "こ")
    assert notice == {"type": "notice", "message": "Away.", "code": "llm_unavailable", "utterance": 3}
    (again,) = line.hear(TranslationFailed(**failed, repeated=True))  # type: ignore[arg-type]
    assert again["type"] == "translation"
