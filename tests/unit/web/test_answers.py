import io
import json

import pytest
from docx import Document

from kikitori.testing import fake_transcript
from kikitori.types import Task, Transcript
from kikitori.web.answers import ANSWER_TYPES, plain_dict, speaker_label, write_answer
from kikitori.web.asked import AnswerFormat, read_asked
from kikitori.web.multipart import Fields

TRANSCRIPT = fake_transcript(" Good morning.", " 聞き取り", speakers=("left", "right"))


def answer(response_format: str, *items: tuple[str, str], transcript: Transcript = TRANSCRIPT) -> str:
    fields = Fields((("response_format", response_format), ("channels", "split"), *items))
    return write_answer(transcript, read_asked(fields)).decode()


@pytest.mark.parametrize("response_format", [each for each in AnswerFormat if each is not AnswerFormat.DOCX])
@pytest.mark.parametrize("transcript", [TRANSCRIPT, fake_transcript()], ids=["speech", "silence"])
def test_every_format_is_written_and_has_a_type(response_format: AnswerFormat, transcript: Transcript) -> None:
    text = answer(response_format, transcript=transcript)
    if ANSWER_TYPES[response_format] == "application/json":
        assert json.loads(text)["text"] == transcript.text
    else:
        assert ANSWER_TYPES[response_format].endswith("; charset=utf-8")
        assert ("聞き取り" in text) == bool(transcript.segments)


def test_a_document_comes_whole() -> None:
    asked = read_asked(Fields((("response_format", "docx"),)))
    lines = [paragraph.text for paragraph in Document(io.BytesIO(write_answer(TRANSCRIPT, asked))).paragraphs]
    assert lines[2:] == ["0:00\tleft: Good morning.", "0:01\tright: 聞き取り"]
    assert ANSWER_TYPES[AnswerFormat.DOCX].endswith(".wordprocessingml.document")


def test_json_is_text_and_usage() -> None:
    assert plain_dict(TRANSCRIPT) == {"text": TRANSCRIPT.text, "usage": {"type": "duration", "seconds": 2}}


def test_a_translation_is_text_alone() -> None:
    translated = Transcript(segments=(), language="ja", task=Task.TRANSLATE)
    assert plain_dict(translated) == {"text": ""}


def test_channels_are_speakers() -> None:
    found = json.loads(answer("diarized_json"))
    assert [(segment["id"], segment["speaker"], segment["text"]) for segment in found["segments"]] == [
        ("seg_0", "A", "Good morning."),
        ("seg_1", "B", "聞き取り"),
    ]
    named = json.loads(answer("diarized_json", ("known_speaker_names", "Ann")))
    assert [segment["speaker"] for segment in named["segments"]] == ["Ann", "B"]


@pytest.mark.parametrize(
    ("speaker", "label"),
    [(None, "A"), ("left", "A"), ("right", "B"), ("channel 1", "A"), ("channel 26", "Z"), ("channel 27", "speaker 27")],
)
def test_labels(speaker: str | None, label: str) -> None:
    assert speaker_label(speaker, ()) == label


def test_subtitles_follow_the_layout() -> None:
    long = fake_transcript(" one two three four five six seven eight nine ten eleven twelve")
    narrow = answer("srt", ("max_line_width", "20"), ("max_lines", "1"), transcript=long)
    assert narrow.count("-->") > answer("srt", transcript=long).count("-->")


@pytest.mark.parametrize("response_format", ["json", "verbose_json", "diarized_json"])
def test_what_openai_has_as_json_too_is_written_without_space(response_format: str) -> None:
    text = answer(response_format)
    assert text == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
