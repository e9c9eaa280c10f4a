"""Documents, read back as a word processor reads them."""

import io
import zipfile

import pytest
from docx import Document
from docx.document import Document as Docx
from docx.oxml.ns import qn
from hypothesis import given
from hypothesis import strategies as st

from kikitori.text.document import write_docx
from kikitori.text.paragraphs import Paragraph, paragraphs
from kikitori.types import Segment, Transcript


def said(text: str, start: float, end: float, speaker: str | None = None) -> Segment:
    return Segment(id=int(start), start=start, end=end, text=text, speaker=speaker)


def read(content: bytes) -> Docx:
    return Document(io.BytesIO(content))


def test_a_document_has_a_title_facts_and_timed_paragraphs() -> None:
    heard = (said(" Good morning.", 0, 2), said(" Let us begin.", 2.4, 4), said(" So, the plan.", 65.5, 68))
    transcript = Transcript(segments=heard, language="en", duration=70.0, model="small")
    document = read(write_docx(transcript, title="Weekly  meeting"))
    lines = [paragraph.text for paragraph in document.paragraphs]
    assert lines == [
        "Weekly meeting",
        "1:10 · English · small",
        "0:00\tGood morning. Let us begin.",
        "1:06\tSo, the plan.",
    ]
    assert document.paragraphs[0].style is not None and document.paragraphs[0].style.name == "Title"
    assert (document.core_properties.title, document.core_properties.author) == ("Weekly meeting", "Kikitori")
    text = document.paragraphs[2].paragraph_format
    assert text.left_indent == -(text.first_line_indent or 0), "times hang in a column of their own"


def test_speakers_stand_in_bold_unless_not_wanted() -> None:
    heard = (said(" Hello.", 0, 1, "left"), said(" Hi.", 1, 2, "right"))
    transcript = Transcript(segments=heard, language="en", duration=2.0)
    spoken = read(write_docx(transcript)).paragraphs[2:]
    assert [paragraph.text for paragraph in spoken] == ["0:00\tleft: Hello.", "0:01\tright: Hi."]
    assert [run.text for run in spoken[0].runs if run.bold] == ["left: "]
    assert "left" not in "".join(
        paragraph.text for paragraph in read(write_docx(transcript, speakers=False)).paragraphs
    )


@pytest.mark.parametrize(
    ("language", "font"), [("ja", "Yu Gothic"), ("ko", "Malgun Gothic"), ("zh", "Microsoft YaHei")]
)
def test_each_script_has_a_font_of_its_own(language: str, font: str) -> None:
    document = read(write_docx(Transcript(segments=(said("会議", 0, 1),), language=language, duration=1.0)))
    fonts = document.styles["Normal"].element.rPr.rFonts
    assert fonts.get(qn("w:eastAsia")) == font


def test_it_has_no_picture_of_another_document() -> None:
    content = write_docx(Transcript(segments=(), language="", duration=5.0))
    names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert "word/document.xml" in names and not [name for name in names if "thumbnail" in name]


def test_silence_makes_a_document_too() -> None:
    document = read(write_docx(Transcript(segments=(), language="", duration=5.0)))
    assert [paragraph.text for paragraph in document.paragraphs] == ["Transcript", "0:05"]


@given(st.text(max_size=80), st.text(max_size=40))
def test_any_text_can_be_written(text: str, title: str) -> None:
    transcript = Transcript(segments=(said(f"a{text}", 0, 1),), language="en", duration=1.0)
    lines = [paragraph.text for paragraph in read(write_docx(transcript, title=title)).paragraphs]
    assert lines[2].startswith("0:00\ta")


def test_a_paragraph_ends_at_a_pause_after_a_sentence_only() -> None:
    heard = [said(" One", 0, 1), said(" two.", 5, 6), said(" Three.", 6.5, 7), said(" Four.", 9.5, 10)]
    assert paragraphs(heard) == [
        Paragraph(start=0.0, text="One two. Three."),
        Paragraph(start=9.5, text="Four."),
    ]


def test_long_speech_is_broken_after_a_sentence_and_at_last_anywhere() -> None:
    sentences = [said(" Yes.", at, at + 10.0) for at in range(0, 100, 10)]
    assert [part.start for part in paragraphs(sentences)] == [0.0, 40.0, 80.0]
    breathless = [said(" and", at, at + 10.0) for at in range(0, 200, 10)]
    assert [part.start for part in paragraphs(breathless)] == [0.0, 90.0, 180.0]


def test_quotes_and_full_width_stops_end_sentences() -> None:
    heard = [said("「始めます。」", 0, 1), said("次。", 4, 5), said("はい", 8, 9)]
    assert [part.start for part in paragraphs(heard)] == [0.0, 4.0, 8.0]


def test_segments_without_text_are_left_out() -> None:
    assert paragraphs([said("  ", 0, 1), said(" Hi.", 1, 2), said("", 2, 3)]) == [Paragraph(start=1.0, text="Hi.")]
