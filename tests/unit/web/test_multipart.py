import pytest

from kikitori.errors import InvalidInput, InvalidOption, TooLarge
from kikitori.web import multipart
from kikitori.web.multipart import Fields, FormReader, plain_file_name, shown_names

from .forms import BOUNDARY, CONTENT_TYPE, field, file, form


def read(body: bytes, *, content_type: str = CONTENT_TYPE, step: int = 0, limit: int = 10_000) -> tuple[Fields, bytes]:
    reader = FormReader(content_type, max_file_bytes=limit)
    pieces = [body[at : at + step] for at in range(0, len(body), step)] if step else [body]
    content = b"".join(found.data for piece in pieces for found in reader.feed(piece))
    return reader.finish(), content


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7, 64])
@pytest.mark.parametrize("first", [True, False], ids=["file first", "file last"])
def test_order_and_cuts_do_not_matter(step: int, first: bool) -> None:
    content = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n\r\n--\x00\xff"
    fields = [field("model", "whisper-1"), field("language", "日本語")]
    parts = [file(content), *fields] if first else [*fields, file(content)]
    form_fields, found = read(form(*parts), step=step)
    assert found == content
    assert form_fields.items == (("model", "whisper-1"), ("language", "日本語"))


@pytest.mark.parametrize(
    "part",
    [
        file(filename="upload", kind="application/octet-stream"),
        file(filename=None),
        file(filename=""),
        file(filename="../../etc/passwd"),
        file(filename="会議.mp3"),
        file(name="file[]"),
        file(kind="text/plain"),
    ],
)
def test_any_part_named_file_is_the_file(part: bytes) -> None:
    _, content = read(form(part))
    assert content == b"RIFF"


def test_lists_come_with_or_without_brackets() -> None:
    bracketed, _ = read(form(file(), field("include[]", "a"), field("include[]", "b")))
    bare, _ = read(form(file(), field("include", "a"), field("include", "b")))
    assert bracketed.many("include") == bare.many("include") == ["a", "b"]


def test_objects_come_as_keys() -> None:
    fields, _ = read(form(file(), field("chunking_strategy[type]", "server_vad"), field("chunking_strategy[x]", "1")))
    assert fields.keyed("chunking_strategy") == {"type": "server_vad", "x": "1"}
    assert fields.keyed("chunking") == {}


def test_a_repeated_field_may_repeat_itself_but_not_differ() -> None:
    fields = Fields((("model", "a"), ("model", " a "), ("task", "b"), ("task", "c")))
    assert fields.one("model") == "a"
    assert fields.one("absent", "default") == "default"
    with pytest.raises(InvalidOption) as caught:
        fields.one("task")
    assert caught.value.param == "task"


def test_text_around_the_form_is_skipped() -> None:
    body = b"\r\n" + form(file()) + b"\r\nepilogue"
    assert read(body)[1] == b"RIFF"


def test_quoted_boundary() -> None:
    assert read(form(file()), content_type=f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"')[1] == b"RIFF"


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("application/json", "application/json"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("", "no content type"),
        ("audio/wav", "audio/wav"),
    ],
)
def test_any_other_body_is_told_what_is_wanted(content_type: str, said: str) -> None:
    with pytest.raises(InvalidInput, match="multipart/form-data") as caught:
        FormReader(content_type, max_file_bytes=1)
    assert said in str(caught.value)


@pytest.mark.parametrize("content_type", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 300}"])
def test_bad_boundaries(content_type: str) -> None:
    with pytest.raises(InvalidInput):
        FormReader(content_type, max_file_bytes=1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"--wrong\r\n\r\n",
        form(file())[:-6],
        form(b"No-Disposition: x\r\n\r\ndata"),
        form(b'Content-Disposition: attachment; name="file"\r\n\r\ndata'),
        form(b"Content-Disposition: form-data\r\n\r\ndata"),
        form(b"X" * 20_000 + b": y\r\n\r\ndata"),
        form(field("n" * 300, "x"), file()),
        form(file(), field("prompt", b"\xff\xfe")),
        form(),
    ],
    ids=["empty", "garbage", "other boundary", "cut", "no name", "attachment", "nameless", "long header", "long name",
         "not UTF-8", "no parts"],
)  # fmt: skip
def test_malformed_forms_are_the_callers_fault(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(body)


def test_a_form_without_a_file_names_it() -> None:
    with pytest.raises(InvalidInput) as caught:
        read(form(field("model", "whisper-1")))
    assert caught.value.param == "file"


def test_a_file_under_another_name_says_so() -> None:
    with pytest.raises(InvalidInput, match="audio") as caught:
        read(form(file(name="audio")))
    assert caught.value.param == "audio"


def test_two_files() -> None:
    with pytest.raises(InvalidInput, match="one file"):
        read(form(file(), file()))


def test_the_file_is_bounded_while_it_comes() -> None:
    reader = FormReader(CONTENT_TYPE, max_file_bytes=100)
    body = form(file(b"x" * 10_000))
    reader.feed(body[:150])
    with pytest.raises(TooLarge):
        reader.feed(body[150:400])


def test_a_file_of_exactly_the_bound_passes() -> None:
    assert read(form(file(b"x" * 100)), limit=100)[1] == b"x" * 100


def test_fields_and_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "MAX_FIELD_BYTES", 100)
    monkeypatch.setattr(multipart, "MAX_PARTS", 5)
    with pytest.raises(TooLarge) as caught:
        read(form(field("prompt", "x" * 60), field("prefix", "x" * 60), file()))
    assert caught.value.param == "prefix"
    with pytest.raises(TooLarge):
        read(form(*[field("a", "b")] * 5, file()))


def test_names_shown_in_a_header_are_plain_and_few() -> None:
    assert shown_names(["user", "a\r\nb: c", "日本"]) == "user, a??b??c, ??"
    assert shown_names(["x" * 1_000]) == "x" * 64
    assert shown_names(map(str, range(50))).endswith("19, …")


def read_files(body: bytes, *, step: int = 0, limit: int = 10_000, most: int = 3) -> tuple[Fields, dict[str, bytes]]:
    reader = FormReader(CONTENT_TYPE, max_file_bytes=limit, max_files=most, needs_file=False)
    files: dict[int, bytes] = {}
    for piece in [body[at : at + step] for at in range(0, len(body), step)] if step else [body]:
        for found in reader.feed(piece):
            files[found.file] = files.get(found.file, b"") + found.data
    assert {at: len(data) for at, data in files.items()} == {
        at: head.size_bytes for at, head in enumerate(reader.files) if head.size_bytes
    }
    return reader.finish(), {head.name: files.get(at, b"") for at, head in enumerate(reader.files)}


@pytest.mark.parametrize("step", [0, 1, 5, 64])
def test_several_files_come_apart(step: int) -> None:
    body = form(
        file(b"one", filename="a.wav"), field("model", "m"), file(b"", filename="b"), file(b"3" * 99, filename="c")
    )
    fields, files = read_files(body, step=step)
    assert files == {"a.wav": b"one", "b": b"", "c": b"3" * 99}
    assert fields.one("model") == "m"


def test_a_form_may_have_no_file_where_none_is_needed() -> None:
    assert read_files(form(field("url", "https://example.com/a")))[1] == {}


def test_more_files_than_allowed() -> None:
    with pytest.raises(TooLarge, match="3 files"):
        read_files(form(*[file()] * 4))


def test_several_files_are_bounded_together() -> None:
    with pytest.raises(TooLarge):
        read_files(form(file(b"x" * 60, filename="a"), file(b"x" * 60, filename="b")), limit=100)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("会議.mp3", "会議.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\talk.wav", "talk.wav"),
        ("..", ""),
        ("a\u202eb\x00c.wav", "abc.wav"),
        ("x" * 300 + ".wav", "x" * 196 + ".wav"),
        ("", ""),
    ],
)
def test_the_name_of_a_file_is_text_and_no_path(sent: str, shown: str) -> None:
    assert plain_file_name(sent) == shown


def test_a_file_name_in_extended_notation() -> None:
    part = b"Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%e4%bc%9a.mp3\r\n\r\nRIFF"
    assert read_files(form(part))[1] == {"会.mp3": b"RIFF"}
