import pytest

from kikitori.audio.extract_options import LIMITS, AudioFormat, ExtractOptions, parse_extract
from kikitori.errors import InvalidOption


def test_nothing_given_is_a_plain_wav() -> None:
    assert parse_extract({}) == parse_extract({"start": " ", "channels": ""}) == ExtractOptions()


def test_everything_given() -> None:
    given = {
        "output_format": "FLAC",
        "sample_rate": "96000",
        "bit_depth": "24",
        "channels": "2",
        "start": "1.5",
        "end": "3",
    }
    assert parse_extract(given) == ExtractOptions(
        format=AudioFormat.FLAC, sample_rate=96_000, bit_depth=24, channels=2, start=1.5, end=3.0
    )


@pytest.mark.parametrize(
    ("field", "value", "others", "allowed"),
    [
        ("output_format", "aiff", {}, "wav, flac, mp3, ogg, opus, m4a"),
        ("sample_rate", "7999", {}, "8000 to 192000"),
        ("sample_rate", "192001", {}, "8000 to 192000"),
        ("sample_rate", "-8000", {}, "8000 to 192000"),
        ("sample_rate", "44.1", {}, "8000 to 192000"),
        ("sample_rate", "44_100", {}, "8000 to 192000"),
        ("sample_rate", "9" * 5_000, {}, "8000 to 192000"),
        ("sample_rate", "44100", {"output_format": "opus"}, "8000, 12000, 16000, 24000, 48000"),
        ("sample_rate", "96000", {"output_format": "mp3"}, "44100, 48000 with output_format=mp3"),
        ("bit_depth", "12", {}, "8, 16, 24, 32 with output_format=wav"),
        ("bit_depth", "float", {}, "8, 16, 24, 32"),
        ("bit_depth", "32", {"output_format": "flac"}, "16, 24 with output_format=flac"),
        ("bit_depth", "16", {"output_format": "mp3"}, "no bit depth"),
        ("channels", "0", {}, "1, 2, keep"),
        ("channels", "6", {}, "1, 2, keep"),
        ("start", "-1", {}, "0 or more"),
        ("start", "nan", {}, "0 or more"),
        ("end", "inf", {}, "0 or more"),
        ("end", "soon", {}, "0 or more"),
        ("end", "5", {"start": "5"}, "after start, which is 5"),
        ("end", "0", {}, "after start"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(
    field: str, value: str, others: dict[str, str], allowed: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_extract({**others, field: value})
    assert caught.value.param == field
    assert value[:20] in caught.value.message or str(float(value)) in caught.value.message
    assert allowed in caught.value.remedy


@pytest.mark.parametrize("output", list(AudioFormat))
@pytest.mark.parametrize("source", [1_000, 7_999, 8_000, 11_025, 44_100, 48_000, 96_000, 352_800])
def test_a_rate_that_is_kept_is_the_same_or_the_next_one_the_format_has(output: AudioFormat, source: int) -> None:
    rate = parse_extract({"output_format": output, "sample_rate": "keep"}).rate_for(source)
    assert 8_000 <= rate <= 192_000
    if rates := LIMITS[output].rates:
        assert rate in rates
        assert rate >= source or rate == rates[-1]
    elif 8_000 <= source <= 192_000:
        assert rate == source
