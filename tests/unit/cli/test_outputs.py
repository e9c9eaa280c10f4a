from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path

import pytest
from docx import Document

from kikitori.cli.inputs import Recording
from kikitori.cli.outputs import Folder, Stdout, output_names, parse_formats, standard_output, utf8, write_whole
from kikitori.errors import InvalidInput, InvalidOption
from kikitori.text.formats import OutputFormat
from kikitori.text.subtitle_options import DEFAULT_LAYOUT
from kikitori.types import Segment, Transcript

TRANSCRIPT = Transcript(
    segments=(Segment(id=0, start=0.0, end=1.5, text=" hello"), Segment(id=1, start=1.5, end=3.0, text=" world")),
    language="en",
    duration=3.0,
)


def recording(path: str) -> Recording:
    return Recording(name=path, path=Path(path))


def test_formats_come_with_commas_or_repeated() -> None:
    assert [each.value for each in parse_formats(["txt,SRT", " json ", "srt"])] == ["txt", "srt", "json"]
    assert [each.value for each in parse_formats([])] == ["txt"]


def test_a_wrong_format_says_which_there_are() -> None:
    with pytest.raises(InvalidOption, match=r"format is 'odt'\. Allowed: txt, json, srt, vtt, tsv, lrc, ass, docx"):
        parse_formats(["txt,odt"])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["talk.mp3", "other.wav"], ["talk", "other"]),
        (["talk.mp3", "talk.wav", "x.wav"], ["talk.mp3", "talk.wav", "x"]),
        (["a/talk.mp3", "b/talk.mp3"], ["talk.mp3", "talk.mp3-2"]),
        (["Talk.wav", "talk.mp3"], ["Talk.wav", "talk.mp3"]),
        (["a/talk.mp3", "b/talk.mp3", "talk.mp3-2.ogg"], ["talk.mp3", "talk.mp3-2", "talk.mp3-2-2"]),
        ([".wav", "..wav"], [".wav", "."]),
        (["a/b/../c.wav"], ["c"]),
    ],
)
def test_names_never_collide(paths: list[str], names: list[str]) -> None:
    recordings = [recording(path) for path in paths]
    assert list(output_names(recordings).values()) == names


def test_stdin_has_a_name() -> None:
    assert list(output_names([Recording(name="stdin", path=None), recording("stdin.wav")]).values()) == [
        "stdin",
        "stdin.wav",
    ]


def folder_for(tmp_path: Path, *formats: OutputFormat, path: str = "in/talk.mp3") -> tuple[Folder, Recording]:
    one = recording(path)
    return Folder(tmp_path / "out" / "deep", output_names([one]), formats), one


def test_each_format_becomes_a_file(tmp_path: Path) -> None:
    folder, one = folder_for(tmp_path, OutputFormat.TXT, OutputFormat.JSON, OutputFormat.SRT)
    written = folder.write(one, TRANSCRIPT, DEFAULT_LAYOUT, whole=True)
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == [
        "deep/talk.txt",
        "deep/talk.json",
        "deep/talk.srt",
    ]
    assert written[0].read_text("utf-8") == "hello\nworld\n"
    assert json.loads(written[1].read_text("utf-8"))["text"] == "hello world"
    assert sorted(path.name for path in written[0].parent.iterdir()) == ["talk.json", "talk.srt", "talk.txt"]


def test_two_formats_of_one_suffix_are_told_apart(tmp_path: Path) -> None:
    folder, one = folder_for(tmp_path, OutputFormat.JSON, OutputFormat.VERBOSE_JSON, OutputFormat.TXT)
    written = folder.write(one, TRANSCRIPT, DEFAULT_LAYOUT, whole=True)
    assert [path.name for path in written] == ["talk.json.json", "talk.verbose_json.json", "talk.txt"]


def test_half_a_transcript_says_so_in_its_name(tmp_path: Path) -> None:
    folder, one = folder_for(tmp_path, OutputFormat.TXT)
    (written,) = folder.write(one, TRANSCRIPT, DEFAULT_LAYOUT, whole=False)
    assert written.name == "talk.partial.txt"


def test_a_link_in_the_folder_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("precious")
    folder, one = folder_for(tmp_path, OutputFormat.TXT)
    (tmp_path / "out" / "deep" / "talk.txt").symlink_to(outside)
    (written,) = folder.write(one, TRANSCRIPT, DEFAULT_LAYOUT, whole=True)
    assert not written.is_symlink()
    assert outside.read_text() == "precious"


def test_a_file_keeps_its_old_content_when_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "talk.txt").write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InvalidInput, match="No space left"):
        write_whole(tmp_path / "talk.txt", b"new")
    assert (tmp_path / "talk.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["talk.txt"]


def test_written_files_have_the_usual_rights(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "talk.txt", b"text")
    finally:
        os.umask(before)
    assert (tmp_path / "talk.txt").stat().st_mode & 0o777 == 0o640


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "talk.txt").mkdir()
    with pytest.raises(InvalidInput, match=r"talk\.txt cannot be written: Is a directory\."):
        write_whole(tmp_path / "talk.txt", b"text")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidOption, match="output"):
        Folder(tmp_path / "file" / "deep", {}, [])


def stdout(*formats: OutputFormat, several: bool) -> Stdout:
    return Stdout(formats=formats, several=several, out=io.StringIO(), err=io.StringIO())


def shown(made: Stdout) -> tuple[str, str]:
    assert isinstance(made.out, io.StringIO)
    assert isinstance(made.err, io.StringIO)
    return made.out.getvalue(), made.err.getvalue()


def test_one_text_stands_alone() -> None:
    made = stdout(OutputFormat.TXT, several=False)
    made.write(recording("a.wav"), TRANSCRIPT, DEFAULT_LAYOUT)
    assert shown(made) == ("hello\nworld\n", "")


def test_several_texts_have_heads() -> None:
    made = stdout(OutputFormat.TXT, several=True)
    made.write(recording("a.wav"), TRANSCRIPT, DEFAULT_LAYOUT)
    made.write(recording("b.wav"), TRANSCRIPT, DEFAULT_LAYOUT)
    assert shown(made) == ("==> a.wav <==\nhello\nworld\n\n==> b.wav <==\nhello\nworld\n", "")


def test_several_formats_are_named() -> None:
    made = stdout(OutputFormat.TEXT, OutputFormat.TSV, several=False)
    made.write(recording("a.wav"), TRANSCRIPT, DEFAULT_LAYOUT)
    out, err = shown(made)
    assert out.startswith("==> a.wav (text) <==\nhello world\n\n==> a.wav (tsv) <==\nstart\tend\ttext\n")
    assert err == ""


def test_several_json_objects_stay_readable_for_programs() -> None:
    made = stdout(OutputFormat.JSON, several=True)
    made.write(recording("a.wav"), TRANSCRIPT, DEFAULT_LAYOUT)
    made.write(recording("b.wav"), TRANSCRIPT, DEFAULT_LAYOUT)
    out, err = shown(made)
    first, end = json.JSONDecoder().raw_decode(out)
    second, _ = json.JSONDecoder().raw_decode(out[end:].lstrip())
    assert first == second
    assert err == "==> a.wav <==\n==> b.wav <==\n"


def test_a_pipe_carries_utf8_in_any_locale() -> None:
    raw = io.BytesIO()
    stream = utf8(io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("聞き取り")
    stream.flush()
    assert raw.getvalue().decode() == "聞き取り"


def test_a_document_is_a_file_of_bytes(tmp_path: Path) -> None:
    folder, one = folder_for(tmp_path, OutputFormat.DOCX)
    (written,) = folder.write(one, TRANSCRIPT, DEFAULT_LAYOUT, whole=True)
    assert written.name == "talk.docx"
    assert [paragraph.text for paragraph in Document(str(written)).paragraphs][:1] == ["talk"]


def test_a_document_goes_through_a_pipe_alone() -> None:
    raw = io.BytesIO()
    pipe = Stdout(formats=[OutputFormat.DOCX], several=False, out=io.TextIOWrapper(raw), err=io.StringIO())
    pipe.write(recording("a.wav"), TRANSCRIPT, DEFAULT_LAYOUT)
    assert Document(io.BytesIO(raw.getvalue())).core_properties.title == "a"


@pytest.mark.parametrize(("formats", "several"), [(["docx", "txt"], False), (["docx"], True)])
def test_a_document_is_not_mixed_with_text(formats: list[str], several: bool) -> None:
    with pytest.raises(InvalidOption, match=r"--output DIR"):
        standard_output(parse_formats(formats), several=several)
