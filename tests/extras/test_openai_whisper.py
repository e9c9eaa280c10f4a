import gc
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import whisper

from kikitori.audio.decode import decode
from kikitori.engines.base import Decoding, Engine, EngineConfig
from kikitori.engines.openai_whisper import WatchedModel, arguments
from kikitori.engines.registry import available, engine_info, load_engine
from kikitori.errors import DecodingCancelled, InvalidOption, ModelLoadFailed
from kikitori.inference.models import ModelCatalog
from kikitori.inference.pool import ModelPool
from kikitori.options import DecodeOptions
from kikitori.pipeline.transcriber import Transcriber
from kikitori.types import Audio, Segment, Task

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file.*tiktoken:ResourceWarning"
)  # openai-whisper leaves it open

QUICK: dict[str, Any] = {"beam_size": 1, "temperature": (0.0,)}
LONG = "en_multi_40s"


class Asked:
    """Calls of a request that goes away after ``patience`` looks."""

    def __init__(self, patience: float = float("inf")) -> None:
        self.patience, self.looks = patience, 0

    def submit(self, key: Hashable, payload: object) -> Any:
        raise AssertionError("This engine merges no calls.")

    def check(self) -> None:
        self.looks += 1
        if self.looks > self.patience:
            raise DecodingCancelled


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[Engine]:
    loaded = load_engine("openai_whisper", EngineConfig(model=str(checkpoint)))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def library(checkpoint: Path) -> Any:
    """The same model, used as its authors would."""
    return whisper.load_model(str(checkpoint), device="cpu")


@pytest.fixture
def audio_of(samples: Mapping[str, Any]) -> Callable[[str], Audio]:
    return lambda name: np.concatenate([block[0] for block in decode(samples[name].path)])


def heard(decoding: Decoding) -> list[Segment]:
    return list(decoding.segments)


def plain(segments: list[Segment]) -> list[tuple[float, float, str, tuple[int, ...]]]:
    return [(segment.start, segment.end, segment.text, segment.tokens) for segment in segments]


def by_library(library: Any, audio: Audio, **arguments: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    given: dict[str, Any] = {"beam_size": 5, "best_of": 5, "fp16": False}
    result: dict[str, Any] = library.transcribe(audio, **(given | arguments))
    return result


def by_engine(engine: Engine, audio: Audio, **options: Any) -> Decoding:
    torch.manual_seed(0)
    return engine.transcribe(audio, DecodeOptions(**options), Asked())


def test_it_is_installed_and_known() -> None:
    assert available("openai_whisper")
    assert engine_info("openai_whisper").max_batch_size == 1


@pytest.mark.parametrize(
    ("name", "options"), [("en_01", {}), ("ja_01", QUICK), ("ko_03", QUICK | {"beam_size": 2}), (LONG, QUICK)]
)
def test_it_hears_what_the_library_hears(
    name: str, options: dict[str, Any], engine: Engine, library: Any, audio_of: Callable[[str], Audio]
) -> None:
    audio = audio_of(name)
    expected = by_library(library, audio, **options)
    decoding = by_engine(engine, audio, **options)
    assert decoding.language.code == expected["language"]
    assert 0.5 < decoding.language.probability <= 1
    found = [
        (each["start"], each["end"], each["text"], tuple(each["tokens"]))
        for each in expected["segments"]
        if each["text"]
    ]
    assert plain(heard(decoding)) == found
    assert found


def test_the_text_is_the_one_that_was_spoken(
    engine: Engine, audio_of: Callable[[str], Audio], samples: Mapping[str, Any]
) -> None:
    text = "".join(segment.text for segment in heard(by_engine(engine, audio_of("en_01"), language="en", **QUICK)))
    assert text.strip() == samples["en_01"].text


def test_word_times_are_those_of_the_library(engine: Engine, library: Any, audio_of: Callable[[str], Audio]) -> None:
    audio = audio_of("en_01")
    expected = by_library(library, audio, language="en", word_timestamps=True, **QUICK)
    segments = heard(by_engine(engine, audio, language="en", word_timestamps=True, **QUICK))
    words = [(word.word, word.start, word.end) for segment in segments for word in segment.words or ()]
    assert words == [
        (word["word"], word["start"], word["end"]) for each in expected["segments"] for word in each["words"]
    ]
    assert len(words) >= 6
    assert all(type(value) is float for _, start, end in words for value in (start, end))


def test_without_word_times_there_are_no_words(engine: Engine, audio_of: Callable[[str], Audio]) -> None:
    assert all(segment.words is None for segment in heard(by_engine(engine, audio_of("en_01"), **QUICK)))


def test_translation(engine: Engine, library: Any, audio_of: Callable[[str], Audio]) -> None:
    audio = audio_of("ja_01")
    expected = by_library(library, audio, language="ja", task="translate", **QUICK)
    segments = heard(by_engine(engine, audio, language="ja", task=Task.TRANSLATE, **QUICK))
    assert "".join(segment.text for segment in segments) == expected["text"]
    assert expected["text"].isascii() and expected["text"]


def test_options_reach_the_library(engine: Engine, library: Any, audio_of: Callable[[str], Audio]) -> None:
    audio = audio_of(LONG)
    expected = by_library(
        library,
        audio,
        language="en",
        beam_size=1,
        temperature=0.0,
        condition_on_previous_text=False,
        clip_timestamps=[5.0, 15.0],
        sample_len=60,
        suppress_tokens=[-1],
    )
    segments = heard(
        by_engine(
            engine,
            audio,
            language="en",
            beam_size=1,
            temperature=(0.0,),
            condition_on_previous_text=False,
            clip_timestamps=(5.0, 15.0),
            max_new_tokens=60,
        )
    )
    assert "".join(segment.text for segment in segments) == expected["text"]
    assert all(5.0 <= segment.start <= 15.0 for segment in segments)


def test_names_of_options() -> None:
    given = arguments(
        DecodeOptions(hotwords="Ada", initial_prompt="Names.", log_prob_threshold=-2.0, clip_timestamps=(1.0, 99.0)),
        64_100,
    )
    assert (given["initial_prompt"], given["carry_initial_prompt"]) == ("Ada Names.", True)
    assert given["logprob_threshold"] == -2.0
    assert given["clip_timestamps"] == [1.0, 4.0]
    assert given["condition_on_previous_text"] is True
    usual = arguments(DecodeOptions(), 64_100)
    assert (usual["initial_prompt"], usual["carry_initial_prompt"], usual["clip_timestamps"]) == (None, False, "0")
    assert usual["length_penalty"] is None
    assert arguments(DecodeOptions(length_penalty=0.5), 64_100)["length_penalty"] == 0.5


def test_a_clip_beyond_the_end_comes_to_an_end(engine: Engine, audio_of: Callable[[str], Audio]) -> None:
    segments = heard(by_engine(engine, audio_of("en_01"), language="en", clip_timestamps=(0.0, 60.0), **QUICK))
    assert segments


def test_a_prefix_begins_the_first_window_only(checkpoint: Path) -> None:
    prefixes: list[str | None] = []

    class Model:
        decoder = torch.nn.Identity()

        def decode(self, mel: object, options: Any) -> None:
            prefixes.append(options.prefix)

    watched = WatchedModel(Model(), Asked())
    first, second = object(), object()
    options = whisper.DecodingOptions(prefix="Dear")
    for window in (first, first, second):  # the first one is tried again at a higher temperature
        watched.decode(window, options)
    assert prefixes == ["Dear", "Dear", None]


@pytest.mark.parametrize("name", ["en_01", "ja_01", "ko_03"])
def test_the_language_is_detected(
    name: str, engine: Engine, audio_of: Callable[[str], Audio], samples: Mapping[str, Any]
) -> None:
    language = engine.detect_language(audio_of(name), DecodeOptions(), Asked())
    assert language.code == samples[name].language
    assert 0.5 < language.probability <= 1


@pytest.mark.parametrize("seconds", [0, 0.01, 5, 31])
def test_silence_is_no_text(engine: Engine, seconds: float) -> None:
    audio = np.zeros(int(seconds * 16_000), dtype=np.float32)
    assert heard(by_engine(engine, audio, **QUICK)) == []
    assert heard(by_engine(engine, audio, language="en", word_timestamps=True, **QUICK)) == []


def test_the_caller_may_go_away_between_two_tokens(engine: Engine, audio_of: Callable[[str], Audio]) -> None:
    audio, options = audio_of("en_01"), DecodeOptions(language="en", **QUICK)
    whole = Asked()
    expected = plain(heard(engine.transcribe(audio, options, whole)))
    assert whole.looks > 8
    for patience in (0, 1, 5, whole.looks - 1):
        calls = Asked(patience)
        with pytest.raises(DecodingCancelled):
            engine.transcribe(audio, options, calls)
        assert calls.looks == patience + 1
    assert plain(heard(engine.transcribe(audio, options, Asked()))) == expected


def test_detection_may_be_cancelled(engine: Engine, audio_of: Callable[[str], Audio]) -> None:
    with pytest.raises(DecodingCancelled):
        engine.detect_language(audio_of("en_01"), DecodeOptions(), Asked(0))


def test_a_language_that_whisper_does_not_know(engine: Engine, audio_of: Callable[[str], Audio]) -> None:
    with pytest.raises(InvalidOption, match="language is 'zz'"):
        by_engine(engine, audio_of("en_01"), language="zz")


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_file_that_is_no_model(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelLoadFailed, match=r"model\.pt cannot be loaded"):
        load_engine("openai_whisper", EngineConfig(model=str(path)))


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(ModelLoadFailed):
        load_engine("openai_whisper", EngineConfig(model=str(tmp_path / "model.pt")))


def test_closing_frees_the_weights(checkpoint: Path, audio_of: Callable[[str], Audio]) -> None:
    loaded: Any = load_engine("openai_whisper", EngineConfig(model=str(checkpoint), cpu_threads=1))
    heard(by_engine(loaded, audio_of("en_01"), **QUICK))
    weights = weakref.ref(loaded._model.decoder.token_embedding.weight)
    loaded.close()
    gc.collect()
    assert weights() is None


async def test_a_file_through_the_whole_program(
    checkpoint: Path, tmp_path: Path, samples: Mapping[str, Any], library: Any, audio_of: Callable[[str], Audio]
) -> None:
    catalog = ModelCatalog(models_dir=tmp_path, default=str(checkpoint), offline=True)
    async with ModelPool(catalog, load_engine=load_engine, engine_info=engine_info) as pool:
        options = DecodeOptions(language="en", word_timestamps=True, **QUICK)
        transcript = await Transcriber(pool).transcribe(samples["en_01"].path, options)
    assert (transcript.model, transcript.engine) == (checkpoint.name, "openai_whisper")
    assert transcript.text == by_library(library, audio_of("en_01"), language="en", **QUICK)["text"].strip()
    assert transcript.segments[0].words
