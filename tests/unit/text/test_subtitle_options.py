import pytest

from kikitori.errors import InvalidOption
from kikitori.text.subtitle_options import DEFAULT_LAYOUT, SubtitleLayout, layout_table, parse_layout


def test_nothing_given_is_the_default() -> None:
    assert (
        parse_layout({})
        == parse_layout({"max_lines": "", "pause_seconds": "  ", "speaker_prefix": None})
        == DEFAULT_LAYOUT
    )
    assert (DEFAULT_LAYOUT.max_line_width, DEFAULT_LAYOUT.max_lines) == (42, 2)
    assert (DEFAULT_LAYOUT.min_cue_seconds, DEFAULT_LAYOUT.max_cue_seconds) == (1.0, 7.0)


def test_strings_and_numbers_are_read() -> None:
    given = {
        "max_line_width": "32",
        "max_lines": 1,
        "min_cue_seconds": "0.5",
        "max_cue_seconds": 5,
        "pause_seconds": "0.6",
        "cue_gap_seconds": "0.08",
        "speaker_prefix": "false",
    }
    assert parse_layout(given) == SubtitleLayout(
        max_line_width=32,
        max_lines=1,
        min_cue_seconds=0.5,
        max_cue_seconds=5.0,
        pause_seconds=0.6,
        cue_gap_seconds=0.08,
        speaker_prefix=False,
    )


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("max_line_width", "15", "a whole number, 16 to 200"),
        ("max_line_width", "wide", "a whole number, 16 to 200"),
        ("max_lines", 0, "a whole number, 1 to 5"),
        ("max_lines", "1.5", "a whole number, 1 to 5"),
        ("min_cue_seconds", -1, "a number, 0 to 10"),
        ("max_cue_seconds", "0.5", "a number, 1 to 60"),
        ("pause_seconds", "nan", "a number, 0.1 to 60"),
        ("cue_gap_seconds", "inf", "a number, 0 to 1"),
        ("speaker_prefix", "maybe", "true, false"),
        ("max_rows", 2, "no subtitle option has this name"),
    ],
)
def test_a_wrong_value_names_the_field_and_the_range(name: str, value: object, allowed: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_layout({"max_lines": 2, name: value})
    assert (caught.value.field, caught.value.value, caught.value.allowed) == (name, value, allowed)


def test_the_shortest_cue_is_not_longer_than_the_longest() -> None:
    with pytest.raises(InvalidOption, match="min_cue_seconds"):
        parse_layout({"min_cue_seconds": 5, "max_cue_seconds": 4})


def test_the_table_describes_every_option() -> None:
    rows = {row.name: row for row in layout_table()}
    assert list(rows) == list(SubtitleLayout.__dataclass_fields__)
    for name, row in rows.items():
        assert row.default == getattr(DEFAULT_LAYOUT, name)
        assert row.description.endswith(".")
        assert parse_layout({name: str(row.default)}) == DEFAULT_LAYOUT
    assert (rows["max_lines"].type, rows["pause_seconds"].type) == ("whole number", "number")
    assert rows["speaker_prefix"].type == "true/false"
