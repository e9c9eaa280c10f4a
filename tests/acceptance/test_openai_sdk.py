"""The official OpenAI Python SDK against a real server: what its users rely on."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pysubs2
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose, TranslationVerbose
from tests.recordings import join

if TYPE_CHECKING:
    from tests.conftest import Sample
    from tests.servers import Server

Samples = Mapping[str, "Sample"]
ONE_WINDOW_AFTER_THE_OTHER = {"mode": "sequential", "beam_size": "8"}
"""Of a long recording there is much to do yet when the first words come."""
LEFT = 'kikitori_requests_total{route="/v1/audio/transcriptions",status="499"}'


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def long_recording(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than five minutes."""
    return join([samples["en_multi_80s"].path], tmp_path_factory.mktemp("long") / "long.wav", rounds=4)


def read(samples: Samples, name: str) -> tuple[str, bytes]:
    return f"{name}.wav", samples[name].path.read_bytes()


# One recording in every format --------------------------------------------------------------------------------------


def test_json(client: openai.OpenAI, samples: Samples) -> None:
    answer = client.audio.transcriptions.create(model="whisper-1", file=read(samples, "en_01"))
    assert isinstance(answer, Transcription)
    assert answer.text == samples["en_01"].text


@pytest.mark.parametrize("name", ["en_01", "en_02", "ja_01", "ja_02", "ko_03", "ko_04"])
def test_samples_give_what_the_library_gives(client: openai.OpenAI, samples: Samples, name: str) -> None:
    answer = client.audio.transcriptions.create(model="whisper-1", file=read(samples, name))
    recorded = "".join(segment["text"] for segment in samples[name].facts["model_int8_beam5"]).strip()
    assert answer.text == recorded


def test_silence_is_an_empty_text(client: openai.OpenAI, samples: Samples) -> None:
    assert client.audio.transcriptions.create(model="whisper-1", file=read(samples, "silence_5s")).text == ""


def test_text(client: openai.OpenAI, samples: Samples) -> None:
    answer: Any = client.audio.transcriptions.create(
        model="whisper-1", file=read(samples, "ja_01"), response_format="text"
    )
    assert answer == samples["ja_01"].text + "\n"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_have_rising_times(client: openai.OpenAI, samples: Samples, form: Any) -> None:
    answer: Any = client.audio.transcriptions.create(
        model="whisper-1", file=read(samples, "en_multi_40s"), response_format=form
    )
    cues = pysubs2.SSAFile.from_string(answer, format_=form)
    assert len(cues) > 10
    assert all(cue.start < cue.end for cue in cues)
    assert all(before.end <= after.start for before, after in zip(cues, list(cues)[1:], strict=False))
    assert answer.startswith("WEBVTT" if form == "vtt" else "1\n00:00:0")


def test_verbose_json(client: openai.OpenAI, samples: Samples) -> None:
    answer = client.audio.transcriptions.create(
        model="whisper-1", file=read(samples, "en_multi_40s"), response_format="verbose_json"
    )
    assert isinstance(answer, TranscriptionVerbose)
    assert (answer.language, isinstance(answer.duration, float)) == ("english", True)
    assert answer.duration == pytest.approx(samples["en_multi_40s"].duration, abs=0.01)
    assert answer.segments is not None
    assert "".join(segment.text for segment in answer.segments).strip() == answer.text
    assert [segment.id for segment in answer.segments] == list(range(len(answer.segments)))
    assert answer.words is None


def test_word_times_are_sorted_numbers_inside_the_recording(client: openai.OpenAI, samples: Samples) -> None:
    answer = client.audio.transcriptions.create(
        model="whisper-1",
        file=read(samples, "en_multi_40s"),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert answer.words
    times = [time for word in answer.words for time in (word.start, word.end)]
    assert all(isinstance(time, float) for time in times)
    assert all(0 <= time <= answer.duration for time in times)
    assert [word.start for word in answer.words] == sorted(word.start for word in answer.words)
    assert answer.segments


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own, of one of its overloads
def test_translation(client: openai.OpenAI, samples: Samples) -> None:
    answer = client.audio.translations.create(
        model="whisper-1", file=read(samples, "ko_04"), response_format="verbose_json"
    )
    assert isinstance(answer, TranslationVerbose)
    assert answer.language == "english"
    assert answer.text.isascii()
    assert answer.text


# Streaming -------------------------------------------------------------------------------------------------------


def test_deltas_join_to_the_text(client: openai.OpenAI, samples: Samples) -> None:
    stream = client.audio.transcriptions.create(model="whisper-1", file=read(samples, "en_multi_40s"), stream=True)
    events = list(stream)
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    done = [event for event in events if event.type == "transcript.text.done"]
    assert len(deltas) > 10
    assert len(done) == 1
    assert done[0] is events[-1]
    assert "".join(deltas) == done[0].text
    assert done[0].usage is not None
    assert done[0].usage.total_tokens == done[0].usage.input_tokens + done[0].usage.output_tokens


def test_a_client_that_leaves_frees_the_engine(
    client: openai.OpenAI, server: Server, long_recording: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    eventually(lambda: server.busy() == 0)  # what the test before left may still be let go
    stream = client.audio.transcriptions.create(
        model="whisper-1", file=long_recording, stream=True, extra_body=ONE_WINDOW_AFTER_THE_OTHER
    )
    next(iter(stream))
    assert server.busy() == 1
    stream.close()
    eventually(lambda: server.busy() == 0)


async def test_a_client_that_leaves_without_streaming_frees_the_engine(
    server: Server, long_recording: Path, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    files = {"file": await asyncio.to_thread(long_recording.read_bytes)}
    eventually(lambda: server.busy() == 0)
    gone = server.metric(LEFT)
    async with httpx.AsyncClient(base_url=server.url) as client:
        asking = asyncio.create_task(
            client.post("/v1/audio/transcriptions", files=files, data=ONE_WINDOW_AFTER_THE_OTHER)
        )
        await asyncio.to_thread(eventually, lambda: server.busy() == 1)
        asking.cancel()
        await asyncio.wait([asking])
    assert asking.cancelled(), "it was not answered before"
    eventually(lambda: server.busy() == 0)
    eventually(lambda: server.metric(LEFT) > gone)


# Errors ----------------------------------------------------------------------------------------------------------


def test_an_unknown_model(client: openai.OpenAI, samples: Samples) -> None:
    with pytest.raises(openai.NotFoundError) as failed:
        client.audio.transcriptions.create(model="no-such-model", file=read(samples, "en_01"))
    assert failed.value.code == "model_not_found"
    assert failed.value.request_id


def test_garbage_instead_of_a_recording(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as failed:
        client.audio.transcriptions.create(model="whisper-1", file=("noise.wav", b"no audio at all" * 100))
    assert failed.value.param == "file"
    assert failed.value.request_id


def test_a_wrong_option_names_field_value_and_range(client: openai.OpenAI, samples: Samples) -> None:
    with pytest.raises(openai.BadRequestError) as failed:
        client.audio.transcriptions.create(model="whisper-1", file=read(samples, "en_01"), extra_body={"beam_size": 99})
    assert failed.value.param == "beam_size"
    assert "99" in failed.value.message
    assert "1 to 50" in failed.value.message


# Multipart of every kind -------------------------------------------------------------------------------------------


def test_ways_to_name_a_file(client: openai.OpenAI, samples: Samples) -> None:
    path = samples["en_01"].path
    ways: list[Any] = [path, path.read_bytes(), io.BytesIO(path.read_bytes()), ("recording", path.read_bytes())]
    for way in ways:
        assert client.audio.transcriptions.create(model="whisper-1", file=way).text == samples["en_01"].text


@pytest.mark.parametrize("file_first", [True, False])
@pytest.mark.parametrize("array", ["timestamp_granularities[]", "timestamp_granularities"])
@pytest.mark.parametrize("name", ["speech.wav", "speech", "upload"])
def test_order_names_and_arrays_make_no_difference(
    server: Server, samples: Samples, file_first: bool, array: str, name: str
) -> None:
    file = ("file", (name, samples["en_01"].path.read_bytes(), "application/octet-stream"))
    fields = [
        (key, (None, value))
        for key, value in (("model", "whisper-1"), ("response_format", "verbose_json"), (array, "word"))
    ]
    parts: list[Any] = [file, *fields] if file_first else [*fields, file]
    answer = httpx.post(f"{server.url}/v1/audio/transcriptions", files=parts, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["text"] == samples["en_01"].text
    assert [word["word"].strip() for word in answer.json()["words"]] == samples["en_01"].text.split()


async def test_fifty_requests_at_once(server: Server, samples: Samples) -> None:
    names = ["en_01", "ja_01", "ko_03", "en_02", "ja_02"] * 10
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0, timeout=300) as client:
        answers = await asyncio.gather(
            *(client.audio.transcriptions.create(model="whisper-1", file=read(samples, name)) for name in names)
        )
    assert [answer.text for answer in answers] == [
        "".join(segment["text"] for segment in samples[name].facts["model_int8_beam5"]).strip() for name in names
    ]
    shared = server.metric('kikitori_batch_size_sum{kind="generate"}')
    assert shared > server.metric('kikitori_batch_size_count{kind="generate"}')


# Models ------------------------------------------------------------------------------------------------------------


def test_models(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert "whisper-1" in ids
    assert client.models.retrieve(ids[0]).id == ids[0]
    with pytest.raises(openai.NotFoundError) as failed:
        client.models.retrieve("org/no-such-model")
    assert failed.value.code == "model_not_found"


def test_the_path_of_a_recording_is_a_label(client: openai.OpenAI, samples: Samples, server: Server) -> None:
    name = "../../../../tmp/escaped.wav"
    content = samples["en_01"].path.read_bytes()
    assert client.audio.transcriptions.create(model="whisper-1", file=(name, content)).text
    assert not Path("/tmp/escaped.wav").exists()
