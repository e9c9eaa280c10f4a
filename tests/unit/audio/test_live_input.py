from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.audio import opus_streams as streams
from tests.unit.audio.opus_streams import BOS, CONTINUED, EOS, FRAME, tone

from kikitori.audio import live_input, ogg, opus, webm
from kikitori.audio.live_input import ContainerInput, LiveInput, open_input
from kikitori.audio.pcm import Encoding, from_float, to_float
from kikitori.errors import InvalidMedia, InvalidOption, Unavailable
from kikitori.protocols import actions

Audio = npt.NDArray[np.float32]

RAW = ["s16le", "f32le", "mulaw", "alaw"]
CONTAINERS = ["webm-opus", "ogg-opus"]
STREAMS = {
    "webm-opus": streams.live_webm(tone(1.01, 48_000)),
    "ogg-opus": streams.live_ogg(tone(1.01, 48_000)),
}
PACKETS = streams.packets_of(tone(1.0, 48_000))
places = st.lists(st.integers(0, 10**6), max_size=20)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(edges)]


def heard(live: LiveInput, pieces: list[bytes]) -> Audio:
    return np.concatenate([*(live.push(piece) for piece in pieces), live.finish()])


def heard_before_failure(encoding: str, pieces: list[bytes]) -> tuple[Audio, InvalidMedia | None]:
    live, parts = open_input(encoding, 0), [np.zeros(0, np.float32)]
    try:
        for piece in pieces:
            parts.append(live.push(piece))
        parts.append(live.finish())
    except InvalidMedia as exc:
        return np.concatenate(parts), exc
    finally:
        live.close()
    return np.concatenate(parts), None


def whole(encoding: str, data: bytes, size: int = 4_096) -> Audio:
    return heard(open_input(encoding, 16_000), [data[at : at + size] for at in range(0, len(data), size)])


# Which ones


def test_every_encoding_of_the_protocols_can_be_opened() -> None:
    for encoding in actions.Encoding:
        open_input(encoding, 16_000).close()
        open_input(encoding.value, 16_000).close()


@pytest.mark.parametrize("encoding", ["", "mp3", "u8", "webm", "S16LE"])
def test_another_encoding_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        open_input(encoding, 16_000)
    assert caught.value.field == "encoding"
    assert "s16le" in caught.value.allowed and "webm-opus" in caught.value.allowed


@pytest.mark.parametrize("rate", [-1, 0, 7_999, 48_001, 10**9])
def test_a_rate_out_of_range_is_refused_where_it_matters(rate: int) -> None:
    with pytest.raises(InvalidOption) as caught:
        open_input("s16le", rate)
    assert caught.value.field == "sample_rate"
    open_input("ogg-opus", rate).close()


def test_without_a_decoder_containers_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opus, "DECODER", "no-such-decoder")
    open_input("s16le", 16_000)
    with pytest.raises(Unavailable):
        open_input("webm-opus", 48_000)


# Samples


@pytest.mark.parametrize("encoding", RAW)
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@settings(max_examples=8)
@given(at=places)
def test_samples_may_be_cut_anywhere(encoding: str, rate: int, at: list[int]) -> None:
    data = from_float(tone(0.1, rate), Encoding(encoding))
    once = open_input(encoding, rate)
    pieces = open_input(encoding, rate)
    np.testing.assert_array_equal(heard(pieces, cut(data, at)), heard(once, [data]))
    assert pieces.received_samples == once.received_samples == round(0.1 * rate)


@pytest.mark.parametrize("encoding", RAW)
@pytest.mark.parametrize("rate", [8_000, 11_025, 24_000, 44_100, 47_999, 48_000])
def test_samples_of_any_rate_keep_their_sound_and_length(encoding: str, rate: int) -> None:
    out = heard(
        open_input(encoding, rate), cut(from_float(tone(1.0, rate), Encoding(encoding)), [*range(0, 99_999, 777)])
    )
    assert abs(len(out) - 16_000) <= 1
    np.testing.assert_allclose(out[200:-200], tone(1.0, 16_000)[200 : len(out) - 200], atol=2e-2)


def test_samples_at_16_khz_come_through_as_they_were() -> None:
    audio = to_float(random.Random(1).randbytes(6_400), Encoding.S16LE)
    np.testing.assert_array_equal(whole("s16le", from_float(audio, Encoding.S16LE), 641), audio)


def test_strange_numbers_are_made_harmless_before_they_reach_the_filter() -> None:
    strange = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 7, -7, 0.25], np.float32)
    assert whole("f32le", strange.tobytes()).tolist() == [0, 0, 0, 1, -1, 1, -1, 0.25]
    live = open_input("f32le", 48_000)
    out = heard(live, [np.tile(strange, 600).tobytes(), tone(0.5, 48_000).tobytes()])
    assert np.isfinite(out).all()
    assert np.abs(out).max() < 2
    np.testing.assert_allclose(out[-4_000:-200], tone(0.5, 16_000)[-4_000:-200], atol=1e-2)


@settings(max_examples=50)
@given(encoding=st.sampled_from(RAW), rate=st.integers(8_000, 48_000), pieces=st.lists(st.binary(max_size=400)))
def test_any_bytes_are_samples(encoding: str, rate: int, pieces: list[bytes]) -> None:
    live = open_input(encoding, rate)
    out = heard(live, pieces)
    assert np.isfinite(out).all()
    assert live.received_samples == sum(map(len, pieces)) // Encoding(encoding).width


@pytest.mark.parametrize("rate", [8_000, 11_025])
def test_an_hour_does_not_drift(rate: int) -> None:
    live = open_input("mulaw", rate)
    minute = bytes([255]) * (60 * rate)
    out = sum(len(live.push(minute)) for _ in range(60)) + len(live.finish())
    assert live.received_samples == 3_600 * rate
    assert abs(out - 3_600 * 16_000) <= 1


def test_what_comes_is_given_with_a_lag_of_two_milliseconds_at_most() -> None:
    live = open_input("s16le", 48_000)
    given_out = [len(live.push(bytes(1_920))) for _ in range(50)]
    assert sum(given_out) >= 50 * 320 - 32
    assert given_out[1:] == [320] * 49


# Containers


@pytest.mark.parametrize("encoding", CONTAINERS)
def test_a_recorders_stream_is_heard_in_full(encoding: str) -> None:
    live = open_input(encoding, 0)
    out = heard(live, [STREAMS[encoding]])
    assert live.received_samples == round(1.01 * 48_000)
    assert abs(len(out) - 1.01 * 16_000) <= 1
    np.testing.assert_allclose(out[500:-200], tone(1.01, 16_000)[500 : len(out) - 200], atol=2e-2)


@pytest.mark.parametrize("encoding", CONTAINERS)
@settings(max_examples=20)
@given(at=places)
def test_a_stream_may_be_cut_anywhere(encoding: str, at: list[int]) -> None:
    data = STREAMS[encoding]
    np.testing.assert_array_equal(heard(open_input(encoding, 0), cut(data, at)), whole(encoding, data))


@pytest.mark.parametrize("encoding", CONTAINERS)
def test_a_stream_may_come_byte_by_byte(encoding: str) -> None:
    data = STREAMS[encoding]
    np.testing.assert_array_equal(whole(encoding, data, 1), whole(encoding, data))


@pytest.mark.parametrize("encoding", CONTAINERS)
def test_both_channels_are_heard(encoding: str) -> None:
    left, right = tone(1, 48_000, 300), tone(1, 48_000, 900)
    record = streams.live_webm if encoding == "webm-opus" else streams.live_ogg
    out = whole(encoding, record(left, right))
    mixed = (tone(1, 16_000, 300) + tone(1, 16_000, 900)) / 2
    np.testing.assert_allclose(out[500:-500], mixed[500:-500], atol=3e-2)


def test_a_block_is_heard_before_its_cluster_ends() -> None:
    live = open_input("webm-opus", 0)
    assert live.push(streams.webm_head() + streams.cluster(size=10_000)).size == 0
    for index, packet in enumerate(PACKETS[:5]):
        assert live.push(streams.simple_block(packet)).size > 0, index
        assert live.received_samples == (index + 1) * FRAME


def test_a_page_is_heard_at_once() -> None:
    live = open_input("ogg-opus", 0)
    assert live.push(streams.ogg_head()).size == 0
    for index, packet in enumerate(PACKETS[:5]):
        data = streams.page([packet], 2 + index, granule=(index + 1) * FRAME)
        assert live.push(data[:-1]).size == 0
        assert live.push(data[-1:]).size > 0
        assert live.received_samples == (index + 1) * FRAME


@pytest.mark.parametrize("encoding", CONTAINERS)
def test_a_recorder_may_begin_again_on_the_same_line(encoding: str) -> None:
    data = STREAMS[encoding]
    live = open_input(encoding, 0)
    out = heard(live, cut(data + data, [5_000, 11_000, 12_000]))
    assert live.received_samples == 2 * round(1.01 * 48_000)
    assert abs(len(out) - 2.02 * 16_000) <= 1
    np.testing.assert_allclose(out[17_000:32_000], tone(1.01, 16_000)[840:15_840], atol=2e-2)


@pytest.mark.parametrize("encoding", CONTAINERS)
def test_a_stream_that_breaks_off_is_heard_up_to_there(encoding: str) -> None:
    data = STREAMS[encoding]
    all_of_it = whole(encoding, data)
    out = heard(open_input(encoding, 0), [data[: len(data) * 2 // 3]])
    assert 0.4 * len(all_of_it) < len(out) < 0.8 * len(all_of_it)
    np.testing.assert_allclose(out[:-100], all_of_it[: len(out) - 100], atol=1e-6)


@pytest.mark.parametrize("encoding", CONTAINERS)
def test_what_is_skipped_at_the_start_is_what_the_head_says(encoding: str) -> None:
    packets = PACKETS[:10]
    if encoding == "webm-opus":
        head = streams.webm_head(streams.track(private=streams.opus_head(pre_skip=1_500)))
        data = head + streams.cluster(*map(streams.simple_block, packets))
    else:
        data = streams.ogg_head(pre_skip=1_500) + streams.page(packets, 2, granule=10 * FRAME)
    live = open_input(encoding, 0)
    heard(live, [data])
    assert live.received_samples == 10 * FRAME - 1_500


# WebM


@pytest.mark.parametrize("lacing", ["xiph", "ebml", "fixed"])
@pytest.mark.parametrize("grouped", [False, True])
def test_packets_that_share_a_block_are_all_heard(lacing: str, grouped: bool) -> None:
    packets = [packet[:60].ljust(60, b"\0") for packet in PACKETS[:9]] if lacing == "fixed" else PACKETS[:9]
    if lacing != "fixed":
        packets[3] += bytes(600)
    body = streams.block_body(packets, lacing)
    reader = webm.WebmReader()
    block = streams.element(0xA0, streams.element(0xA1, body)) if grouped else streams.element(0xA3, body)
    items = list(reader.push(streams.webm_head() + streams.cluster(block)))
    assert [item.data for item in items if isinstance(item, opus.OpusPacket)] == packets


def test_the_end_is_cut_off_where_a_group_says_so() -> None:
    group = streams.element(0xA1, streams.block_body(PACKETS[:2], "xiph"))
    group += streams.element(0x75A2, round(25e6).to_bytes(4))
    live = open_input("webm-opus", 0)
    heard(live, [streams.webm_head() + streams.cluster(streams.element(0xA0, group))])
    assert live.received_samples == 2 * FRAME - 1_200


def test_the_first_track_with_opus_is_heard_and_pictures_are_left_out() -> None:
    head = streams.webm_head(streams.track(1, b"V_VP8", b""), streams.track(2), streams.track(3))
    pictures = [
        streams.simple_block(bytes(200_000), number=1),
        streams.element(0xA0, streams.element(0xA1, streams.block_body([bytes(200_000)]))),
        streams.element(0xEC, bytes(300)),
        streams.simple_block(b"\xff" * 40, number=3),
    ]
    blocks = [block for packet in PACKETS for block in (*pictures, streams.simple_block(packet, number=2))]
    data = head + streams.cluster(*blocks)
    out = whole("webm-opus", data)
    plain = whole("webm-opus", streams.webm_head() + streams.cluster(*map(streams.simple_block, PACKETS)))
    np.testing.assert_array_equal(out, plain)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFF" + bytes(100), "no WebM"),
        (bytes(100), "no WebM"),
        (STREAMS["ogg-opus"], "no WebM"),
        (streams.webm_head(streams.track(1, b"A_VORBIS")), "A_VORBIS"),
        (streams.webm_head(streams.track(private=b"")), "head"),
        (streams.webm_head(streams.track(private=streams.opus_head(3))), "mono nor stereo"),
        (streams.webm_head(streams.track(extra=streams.element(0x6D80, b""))), "encrypted"),
        (streams.EBML + streams.element(0x1654AE6B, b"", 10**9), "too long"),
        (streams.element(0x1A45DFA3, b"", 10**9), "too long"),
        (streams.webm_head() + streams.element(0xA3, b"\x81\0\0\0" + bytes(8), 10**9), "too long"),
        (streams.webm_head() + streams.element(0xEC, b"", 10**15), "too long"),
        (streams.webm_head() + streams.element(0xA0, b"", 10**15), "too long"),
        (streams.webm_head() + streams.element(0xEC, b"", None), "no size"),
        (streams.webm_head() + bytes(10), "damaged"),
        (streams.webm_head() + b"\xec\x80" * 5_000, "no audio"),
        (streams.webm_head() + streams.element(0xA3, b"\x81\0\0\x02"), "damaged"),
        (streams.webm_head() + streams.element(0xA3, b"\x81\0\0\x02\x05\xff\xff"), "damaged"),
        (streams.webm_head() + streams.element(0xA3, b"\x81\0\0\x04\x02\x01\x02"), "damaged"),
        (streams.webm_head() + streams.element(0xA3, b"\x81\0\0\x06\x02\x81"), "damaged"),
        (streams.EBML + streams.simple_block(PACKETS[0]), "before its list of tracks"),
        (streams.webm_head() + streams.cluster(*[streams.simple_block(b"\xff")] * 20), "cannot be decoded"),
        (streams.EBML[:7], "ended before"),
    ],
)
def test_what_is_no_webm_with_opus_is_refused_with_a_reason(data: bytes, words: str) -> None:
    audio, failure = heard_before_failure("webm-opus", [data])
    assert audio.size == 0
    assert failure is not None
    assert words in str(failure)
    assert failure.param == "audio"


# Ogg


def test_a_packet_may_go_on_from_page_to_page() -> None:
    long = b"\xfc" + bytes(509)
    reader = ogg.OggReader()
    data = streams.ogg_head() + streams.page([PACKETS[0], long], 2, open_end=True)
    data += streams.page([bytes(255)], 3, flags=CONTINUED, open_end=True)
    data += streams.page([bytes(44), PACKETS[1]], 4, flags=CONTINUED)
    items = [item for item in reader.push(data) if isinstance(item, opus.OpusPacket)]
    assert [item.data for item in items] == [PACKETS[0], long + bytes(299), PACKETS[1]]


def test_a_packet_with_a_missing_page_is_left_out() -> None:
    begun = streams.page([PACKETS[0], bytes(510)], 2, open_end=True)
    rest = streams.page([bytes(44), PACKETS[1]], 4, flags=CONTINUED)
    fresh = streams.page([PACKETS[2]], 6)
    reader = ogg.OggReader()
    items = list(reader.push(streams.ogg_head() + begun + rest + fresh))
    assert [item.data for item in items if isinstance(item, opus.OpusPacket)] == PACKETS[:3]


def test_a_damaged_page_is_left_out_and_the_rest_is_heard() -> None:
    pages = [streams.page([packet], 2 + index) for index, packet in enumerate(PACKETS[:10])]
    pages[4] = pages[4][:-3] + bytes([pages[4][-3] ^ 1]) + pages[4][-2:]
    pages[7] = b"noise Ogg noise" + pages[7]
    live = open_input("ogg-opus", 0)
    heard(live, cut(streams.ogg_head() + b"".join(pages), [100, 200, 333, 500]))
    assert live.received_samples == 9 * FRAME


def test_other_tracks_are_left_out() -> None:
    other = streams.page([b"\x80theora and more"], 0, flags=BOS, serial=8)
    second = streams.page([streams.opus_head()], 0, flags=BOS, serial=9)
    head, tags = streams.page([streams.opus_head()], 0, flags=BOS), streams.page([b"OpusTags" + bytes(9)], 1)
    data = other + head + second + tags
    for index, packet in enumerate(PACKETS[:5]):
        data += streams.page([packet], 2 + index) + streams.page([b"\xff" * 50], 1 + index, serial=8)
        data += streams.page([PACKETS[9]], 1 + index, serial=9)
    live = open_input("ogg-opus", 0)
    heard(live, [data])
    assert live.received_samples == 5 * FRAME


def test_comments_may_be_longer_than_any_packet() -> None:
    head = streams.page([streams.opus_head()], 0, flags=BOS)
    chunk = bytes(255 * 255)
    tags = streams.page([(b"OpusTags" + chunk)[: len(chunk)]], 1, open_end=True)
    tags += b"".join(streams.page([chunk], 2 + index, flags=CONTINUED, open_end=True) for index in range(20))
    tags += streams.page([b"end"], 22, flags=CONTINUED)
    live = open_input("ogg-opus", 0)
    heard(live, [head + tags + streams.page(PACKETS[:5], 23)])
    assert live.received_samples == 5 * FRAME


@pytest.mark.parametrize("base", [0, 10**9])
def test_the_end_is_cut_off_where_the_last_page_says_so(base: int) -> None:
    data = streams.ogg_head() + streams.page(PACKETS[:5], 2, granule=base + 5 * FRAME)
    data += streams.page(PACKETS[5:8], 3, flags=EOS, granule=base + 6 * FRAME + 100)
    live = open_input("ogg-opus", 0)
    heard(live, [data])
    assert live.received_samples == 6 * FRAME + 100


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFF" + bytes(100), "no Ogg"),
        (b"Ogg?", "no Ogg"),
        (STREAMS["webm-opus"], "no Ogg"),
        (b"OggS" + bytes(100), "damaged"),
        (streams.page([b"\x01vorbis" + bytes(22)], 0, flags=BOS) + streams.page([b"x"], 1), "no Opus track"),
        (streams.page([b"OpusHead"], 0, flags=BOS), "head"),
        (streams.page([streams.opus_head(6, mapping=b"\1\4\2")], 0, flags=BOS), "mono nor stereo"),
        (streams.ogg_head() + bytes(300_000), "damaged"),
        (streams.ogg_head() + (b"OggS" + bytes(60)) * 20, "damaged"),
        (streams.ogg_head() + streams.page([], 9) * 5_000, "no audio"),
        (streams.ogg_head() + streams.page([b"\xff"] * 20, 2), "cannot be decoded"),
        (streams.ogg_head()[:20], "ended before"),
        (streams.page([b"\x01vorbis" + bytes(22)], 0, flags=BOS), "ended before"),
    ],
)
def test_what_is_no_ogg_with_opus_is_refused_with_a_reason(data: bytes, words: str) -> None:
    audio, failure = heard_before_failure("ogg-opus", [data])
    assert audio.size == 0
    assert failure is not None
    assert words in str(failure)


def test_the_checksum_is_that_of_ogg() -> None:
    def by_the_book(data: bytes) -> int:
        crc = 0
        for byte in data:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFF_FFFF
        return crc

    for data in (b"", b"\0", b"\1", b"OggS and more", random.Random(2).randbytes(999)):
        assert ogg.page_checksum(data) == by_the_book(data)


# Hostile


@pytest.mark.parametrize("encoding", CONTAINERS)
@settings(max_examples=150)
@given(
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 8), st.binary(max_size=12)), max_size=8),
    at=places,
)
def test_damage_is_left_out_or_refused_and_never_more(
    encoding: str, edits: list[tuple[int, int, bytes]], at: list[int]
) -> None:
    data = bytearray(STREAMS[encoding])
    for place, length, put in edits:
        place %= len(data)
        data[place : place + length] = put
    in_pieces, failure = heard_before_failure(encoding, cut(bytes(data), at))
    at_once, same = heard_before_failure(encoding, [bytes(data)])
    assert np.isfinite(in_pieces).all()
    assert str(failure) == str(same)
    np.testing.assert_array_equal(in_pieces, at_once)


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("webm-opus", b""),
        ("webm-opus", streams.EBML),
        ("webm-opus", streams.webm_head()),
        ("webm-opus", streams.webm_head() + b"\xa3"),
        ("ogg-opus", b""),
        ("ogg-opus", b"OggS\0"),
        ("ogg-opus", streams.ogg_head()),
    ],
)
@settings(max_examples=60)
@given(noise=st.binary(max_size=600), at=places)
@example(noise=b"", at=[])
def test_noise_is_refused_or_waits_for_more(encoding: str, head: bytes, noise: bytes, at: list[int]) -> None:
    heard_before_failure(encoding, cut(head + noise, at))


@settings(max_examples=100)
@given(packets=st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=20), channels=st.integers(1, 2))
def test_packets_of_noise_are_harmless(packets: list[bytes], channels: int) -> None:
    head = streams.webm_head(streams.track(private=streams.opus_head(channels)))
    audio, failure = heard_before_failure("webm-opus", [head + streams.cluster(*map(streams.simple_block, packets))])
    assert np.isfinite(audio).all()
    assert np.abs(audio).max(initial=0) < 2
    assert len(audio) <= len(packets) * opus.MAX_PACKET_SAMPLES // 3 + 1
    assert failure is None or "cannot be decoded" in str(failure)


def test_audio_before_the_damage_is_given_and_then_the_reason_again_and_again() -> None:
    good = streams.webm_head() + streams.cluster(*map(streams.simple_block, PACKETS))
    live = open_input("webm-opus", 0)
    np.testing.assert_array_equal(live.push(good + bytes(9)), whole("webm-opus", good))
    for _ in range(2):
        with pytest.raises(InvalidMedia, match="damaged"):
            live.push(good)
    with pytest.raises(InvalidMedia, match="damaged"):
        live.finish()
    assert live.received_samples == len(PACKETS) * FRAME


def test_a_message_cannot_hold_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_input, "MAX_PUSH_SECONDS", 3)
    silence = b"\x1b\x02"  # 120 ms in two bytes
    laced = streams.simple_block(*[silence] * 200, lacing="fixed")
    live = open_input("webm-opus", 0)
    out = live.push(streams.webm_head() + streams.cluster(laced))
    assert len(out) == 3 * 16_000
    with pytest.raises(InvalidMedia, match="3 seconds"):
        live.push(b"")


@pytest.mark.parametrize("encoding", CONTAINERS)
def test_what_claims_to_be_long_is_not_kept(encoding: str) -> None:
    if encoding == "webm-opus":
        reader: opus.PacketReader = webm.WebmReader()
        head, endless = streams.webm_head() + streams.element(0xEC, b"", 10**7), bytes(10_000)
    else:
        reader = ogg.OggReader()
        head = streams.page([streams.opus_head()], 0, flags=BOS)
        endless = streams.page([bytes(255 * 255)], 5, flags=CONTINUED, open_end=True)
    list(reader.push(head))
    for _ in range(900):
        assert list(reader.push(endless)) == []
    kept = [value for value in vars(reader).values() if isinstance(value, bytearray)]
    assert sum(map(len, kept)) < 200_000


# Ends


@pytest.mark.parametrize("encoding", [*RAW, *CONTAINERS])
@pytest.mark.parametrize("end", ["finish", "close"])
def test_nothing_comes_after_the_end(encoding: str, end: str) -> None:
    data = STREAMS.get(encoding, bytes(1_001))
    live = open_input(encoding, 24_000)
    live.push(data[:9_000])
    received = live.received_samples
    assert received > 0
    getattr(live, end)()
    live.close()
    assert live.push(data).size == 0
    assert live.finish().size == 0
    live.close()
    assert live.received_samples == received


def test_a_push_ends_when_another_thread_closes() -> None:
    class ClosedMeanwhile:
        """A reader whose stream is closed by somebody else after the first packet."""

        def push(self, data: bytes) -> Iterator[opus.Item]:
            yield opus.OpusHead(channels=1, pre_skip=0, gain=0)
            yield opus.OpusPacket(data=PACKETS[0])
            live.close()
            yield opus.OpusPacket(data=PACKETS[1])

        def finish(self) -> None:
            pass

    live = ContainerInput(ClosedMeanwhile())
    live.push(b"")
    assert live.received_samples == FRAME
    assert live.push(b"").size == 0


@pytest.mark.parametrize("encoding", [*RAW, *CONTAINERS])
def test_nothing_in_gives_nothing_out(encoding: str) -> None:
    live = open_input(encoding, 24_000)
    assert live.push(b"").size == 0
    assert live.finish().size == 0
    assert live.received_samples == 0


def test_a_hundred_clients_need_no_thread_and_no_file() -> None:
    process = psutil.Process()
    data = {**STREAMS, **{encoding: bytes(999) for encoding in RAW}}
    for encoding, begin in data.items():
        open_input(encoding, 48_000).push(begin)  # libraries may start threads of their own, once
    threads, files = process.num_threads(), process.num_fds()
    clients = [open_input(encoding, 48_000) for encoding in data for _ in range(20)]
    for index, client in enumerate(clients):
        client.push([*data.values()][index // 20][:5_000])
    assert process.num_threads() <= threads
    assert process.num_fds() <= files
