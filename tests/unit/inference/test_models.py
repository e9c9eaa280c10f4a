import json
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.inference.hub_server import CONFIG, FILES, FakeHub, running

from kikitori.errors import Conflict, InvalidInput, InvalidOption, ModelLoadFailed, ModelNotFound, NotFound, Unavailable
from kikitori.inference import hub as hub_module
from kikitori.inference import models
from kikitori.inference.aliases import GENERAL_NAME, OPENAI_NAMES, TUNED_NAME
from kikitori.inference.known_models import KNOWN_MODELS, canonical_name, hub_id, is_hub_id, rank
from kikitori.inference.model_files import default_cache_folder
from kikitori.inference.models import ModelCatalog, ModelSpec

BASE = "Systran/faster-whisper-base"


@pytest.fixture
def catalog(tmp_path: Path) -> Callable[..., ModelCatalog]:
    """Builds a catalog over empty folders; no hub is in reach."""

    def build(**arguments: Any) -> ModelCatalog:
        given: dict[str, Any] = {
            "models_dir": tmp_path / "models",
            "cache_dir": tmp_path / "cache",
            "endpoint": "http://127.0.0.1:9",
        }
        return ModelCatalog(**(given | arguments))

    return build


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(hub_module, "PAUSE_SECONDS", 0)
    with running(FakeHub(models={BASE: FILES, "org/tuned": FILES})) as hub:
        yield hub


@pytest.fixture
def no_pocketsphinx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "available", lambda name: False)


def whisper(folder: Path, *, weights: bytes = b"weights") -> Path:
    """A folder that passes for a CTranslate2 Whisper model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "model.bin").write_bytes(weights)
    return folder


def cached(cache: Path, source: str, *, revision: str = "abc", main: bool = True) -> Path:
    """A model in the layout of huggingface_hub's cache."""
    repository = cache / f"models--{source.replace('/', '--')}"
    folder = whisper(repository / "snapshots" / revision)
    if main:
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(revision)
    return folder


def ids(specs: list[ModelSpec]) -> list[str]:
    return [spec.id for spec in specs]


# Names


def test_a_model_has_one_id_whatever_it_is_called(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    whisper(tmp_path / "models" / "large-v3")
    names = ("large-v3", "large", "Systran/faster-whisper-large-v3", "systran/Faster-Whisper-large-v3")
    assert {catalog().resolve(name).id for name in names} == {"large-v3"}


def test_known_models_are_those_of_faster_whisper() -> None:
    from faster_whisper.utils import _MODELS

    assert {name: hub_id(name) for name in _MODELS} == _MODELS
    assert set(KNOWN_MODELS) == {canonical_name(name) for name in _MODELS}


def test_models_for_all_languages_rank_before_english_ones() -> None:
    ordered = sorted(KNOWN_MODELS.values(), key=lambda model: rank(model.name))
    assert [model.english_only for model in ordered] == sorted(model.english_only for model in ordered)
    assert rank("large-v3") < rank("small") < rank("tiny") < rank("org/unknown")


@pytest.mark.parametrize("name", ["", "small", "a/b/c", "/b", "a/", "../b", "a/..", "a/b c", "a/b--c", "é/b", "a/b\n"])
def test_what_is_no_hub_id(name: str) -> None:
    assert not is_hub_id(name)


@pytest.mark.parametrize("name", ["small", "Systran/faster-whisper-base", "org/tuned_v1.2"])
def test_a_model_that_is_not_here_says_how_to_get_it(name: str, catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog().resolve(name)
    assert caught.value.remedy == f"Get it: kikitori models pull {canonical_name(name)}"


@pytest.mark.parametrize("name", ["tts-1", "no such", "a/b/c", ".partial", "x\0y", "\udc80", "n" * 5_000, "%2e%2e/x"])
def test_any_text_of_a_client_is_a_model_not_found(name: str, catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(ModelNotFound):
        catalog().resolve(name)


def test_clients_cannot_name_places_on_the_disk(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    secret = whisper(tmp_path / "secret")
    (tmp_path / "models").mkdir()
    for name in (str(secret), "../secret", "./secret", "models/../secret", f"~/{secret.name}", "..\\secret"):
        with pytest.raises(ModelNotFound):
            catalog().resolve(name)


# Aliases


def test_openai_names_mean_the_default_model(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    whisper(tmp_path / "models" / "small")
    later = ("gpt-4o-mini-transcribe-2026-01-01", "gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper")
    for name in ("", *OPENAI_NAMES, "gpt-4o-transcribe-diarize", *later):
        assert catalog(default="small").resolve(name).id == "small"
    for name in ("gpt-4o", "gpt-realtime", "transcribe"):
        with pytest.raises(ModelNotFound):
            catalog(default="small").resolve(name)


def test_the_general_and_the_tuned_model_are_the_default_until_the_settings_say_otherwise(
    tmp_path: Path, catalog: Callable[..., ModelCatalog]
) -> None:
    for name in ("small", "tiny"):
        whisper(tmp_path / "models" / name)
    names = (GENERAL_NAME, TUNED_NAME)
    assert [catalog(default="small").resolve(name).id for name in names] == ["small", "small"]
    built = catalog(default="small", aliases={TUNED_NAME: "tiny"})
    assert [built.resolve(name).id for name in names] == ["small", "tiny"]
    with pytest.raises(InvalidOption, match="model is"):
        catalog(default=TUNED_NAME)


def test_aliases_of_the_settings_win_and_may_be_chained(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    for name in ("small", "tiny"):
        whisper(tmp_path / "models" / name)
    aliases = {"whisper-1": "quick", "quick": "tiny", "usual": "", "also": "gpt-4o-transcribe"}
    built = catalog(default="small", aliases=aliases)
    assert [built.resolve(name).id for name in ("whisper-1", "quick", "usual", "also")] == [
        "tiny",
        "tiny",
        "small",
        "small",
    ]
    assert catalog(default="quick", aliases=aliases).resolve("").id == "tiny"


@pytest.mark.parametrize(
    "aliases", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "whisper-1"}, {"a": ""}, {"whisper-1": "a", "a": "whisper-1"}]
)
def test_aliases_in_a_circle_are_refused(aliases: dict[str, str], catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(InvalidOption, match="model_aliases"):
        catalog(default="a", aliases=aliases)


def test_the_default_cannot_be_a_name_for_the_default(catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(InvalidOption, match="model is 'whisper-1'"):
        catalog(default="whisper-1")


# Places


def test_a_folder_of_the_settings(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    folder = whisper(tmp_path / "elsewhere" / "tuned", weights=b"12345")
    built = catalog(default=str(folder))
    spec = built.resolve("")
    assert (spec.id, spec.engine, spec.path, spec.owned_by) == ("tuned", "whisper", str(folder), "local")
    assert spec.size_bytes == 5 + len(CONFIG)
    assert spec.created == int((folder / "model.bin").stat().st_mtime)
    assert built.resolve("tuned") == spec
    assert not spec.removable


def test_relative_folders_and_folders_to_preload(
    tmp_path: Path, catalog: Callable[..., ModelCatalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    whisper(tmp_path / "here" / "one")
    whisper(tmp_path / "two")
    monkeypatch.chdir(tmp_path)
    built = catalog(aliases={"first": "here/one"}, folders=["./two"])
    assert built.resolve("first").path == str(tmp_path / "here" / "one")
    assert built.resolve("./two") == built.resolve("two")


def test_two_folders_of_one_name_keep_apart(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    one, two = whisper(tmp_path / "a" / "model"), whisper(tmp_path / "b" / "model")
    built = catalog(default=str(one), aliases={"other": str(two)})
    assert built.resolve("model").path == str(one)
    assert built.resolve("other").path == str(two)
    assert built.resolve("other").id != built.resolve("").id


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (None, "does not exist"),
        ({}, "has no model.bin"),
        ({"model.bin": "x"}, "has no config.json"),
        ({"model.bin": "x", "config.json": "{"}, "is not JSON"),
        ({"model.bin": "x", "config.json": "[]"}, "not that of a Whisper model"),
        ({"model.bin": "x", "config.json": '{"bos_token": "a"}'}, "not that of a Whisper model"),
        ({"model.safetensors": "x", "config.json": "{}"}, "ct2-transformers-converter"),
    ],
)
def test_a_folder_that_is_no_model_is_an_error_that_helps(
    tmp_path: Path, catalog: Callable[..., ModelCatalog], files: dict[str, str] | None, problem: str
) -> None:
    folder = tmp_path / "folder"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    built = catalog(default=str(folder))
    with pytest.raises(ModelLoadFailed, match=problem) as caught:
        built.resolve("")
    assert str(folder) in str(caught.value)
    assert caught.value.public.startswith("folder is not a model: ")
    assert str(tmp_path) not in caught.value.public
    assert folder.name not in ids(built.installed())


def test_a_checkpoint_of_openai_whisper(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ours.pt").write_bytes(b"123")
    (tmp_path / "theirs.pt").write_bytes(b"12")
    built = catalog(default=str(tmp_path / "theirs.pt"))
    assert (built.resolve("").engine, built.resolve("").size_bytes) == ("openai_whisper", 2)
    assert (built.resolve("ours.pt").engine, built.resolve("ours.pt").removable) == ("openai_whisper", True)
    with pytest.raises(ModelLoadFailed, match="does not exist"):
        catalog(default=str(tmp_path / "gone.pt")).resolve("")


# The cache of huggingface_hub


def test_models_in_the_cache_are_found(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    known = cached(tmp_path / "cache", BASE)
    other = cached(tmp_path / "cache", "org/tuned", main=False)
    built = catalog()
    assert (built.resolve("base").path, built.resolve("base").owned_by) == (str(known), "Systran")
    assert built.resolve("org/tuned").path == str(other)
    assert {"base", "org/tuned"} <= set(ids(built.installed()))


def test_incomplete_and_foreign_models_in_the_cache_are_passed_over(
    tmp_path: Path, catalog: Callable[..., ModelCatalog]
) -> None:
    broken = cached(tmp_path / "cache", BASE)
    (broken / "model.bin").unlink()
    older = cached(tmp_path / "cache", BASE, revision="def", main=False)
    translator = cached(tmp_path / "cache", "org/translator")
    (translator / "config.json").write_text(json.dumps({"add_source_eos": False}))
    built = catalog()
    assert built.resolve("base").path == str(older)
    assert "org/translator" not in ids(built.installed())


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_huggingface_hub_has_it(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_cache_folder() == Path(folder)


# Lists


def test_the_list_has_the_default_first_and_aliases_last(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    for name in ("tiny", "small", "org--tuned"):
        whisper(tmp_path / "models" / name)
    (tmp_path / "models" / "notes.txt").write_text("no model")
    (tmp_path / "models" / "broken").mkdir()
    listed = catalog(default="small", aliases={"quick": "tiny", "gone": "medium"}).installed()
    aliases = {spec.id: spec.alias_of for spec in listed if spec.alias_of}
    assert ids([spec for spec in listed if not spec.alias_of]) == ["small", "org/tuned", "tiny", "pocketsphinx"]
    assert aliases == {"quick": "tiny", **dict.fromkeys(OPENAI_NAMES, "small")}
    assert ids(listed)[-len(aliases) :] == list(aliases)


def test_everything_in_the_list_resolves_to_its_model(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    whisper(tmp_path / "models" / "tiny")
    cached(tmp_path / "cache", BASE)
    built = catalog(aliases={"quick": "base"})
    for spec in built.installed():
        assert built.resolve(spec.id).path == spec.path


def test_nothing_at_all(catalog: Callable[..., ModelCatalog], no_pocketsphinx: None) -> None:
    assert catalog().installed() == []
    with pytest.raises(ModelNotFound, match="kikitori models pull base"):
        catalog().resolve("")


# The default


def notices_of(built: ModelCatalog, **arguments: Any) -> tuple[ModelSpec, list[str]]:
    notices: list[str] = []
    return built.default_spec(None, notices.append, **arguments), notices


def test_auto_takes_the_best_model_of_our_folder(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    for name in ("tiny", "small", "medium.en", "org--tuned"):
        whisper(tmp_path / "models" / name)
    (tmp_path / "models" / "large.pt").write_bytes(b"needs an extra")
    cached(tmp_path / "cache", "Systran/faster-whisper-large-v3")
    built = catalog()
    assert built.resolve("").id == "small"  # also before anybody chose
    assert notices_of(built) == (built.resolve("small"), [])


def test_auto_takes_the_cache_when_our_folder_is_empty(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    cached(tmp_path / "cache", "Systran/faster-whisper-tiny")
    cached(tmp_path / "cache", BASE)
    assert notices_of(catalog(offline=True))[0].id == "base"


@pytest.mark.parametrize(("device", "wanted"), [("cpu", "base"), ("cuda", "large-v3-turbo")])
def test_auto_downloads_what_suits_the_device(
    device: str, wanted: str, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    server.models["mobiuslabsgmbh/faster-whisper-large-v3-turbo"] = FILES
    built = catalog(endpoint=server.url)
    assert notices_of(built, device=device)[0].id == wanted
    assert built.resolve("whisper-1").id == wanted


@pytest.mark.parametrize("arguments", [{}, {"offline": True}])
def test_auto_falls_back_to_the_embedded_engine_and_says_so(
    arguments: dict[str, Any], catalog: Callable[..., ModelCatalog]
) -> None:
    built = catalog(**arguments)
    spec, notices = notices_of(built)
    assert spec.id == built.resolve("").id == "pocketsphinx"
    assert len(notices) == 1
    assert "many mistakes" in notices[0] and notices[0].endswith("kikitori models pull base")


def test_the_default_stays_when_a_better_model_comes(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    built = catalog()
    notices_of(built)
    whisper(tmp_path / "models" / "small")
    assert built.resolve("").id == "pocketsphinx"
    assert built.resolve("small").id == "small"


def test_without_the_embedded_engine_the_failure_is_told(
    catalog: Callable[..., ModelCatalog], no_pocketsphinx: None
) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        notices_of(catalog())


def test_a_named_default_is_downloaded(server: FakeHub, catalog: Callable[..., ModelCatalog]) -> None:
    assert notices_of(catalog(default="base", endpoint=server.url))[0].id == "base"


def test_a_named_default_offline(catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(ModelNotFound, match="kikitori models pull base"):
        notices_of(catalog(default="base", offline=True))


def test_a_default_folder_never_asks_the_hub(
    tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    folder = whisper(tmp_path / "tuned")
    assert notices_of(catalog(default=str(folder), endpoint=server.url))[0].path == str(folder)
    assert server.asked == []


# Getting


def test_a_pulled_model_is_complete_and_nothing_else_is_left(
    tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    progress: list[tuple[int, int]] = []
    built = catalog(endpoint=server.url)
    spec = built.pull("base", lambda done, total: progress.append((done, total)))
    assert (spec.id, spec.removable, spec.path) == ("base", True, str(tmp_path / "models" / "base"))
    assert progress[-1][0] == progress[-1][1] == spec.size_bytes
    assert sorted(path.name for path in Path(spec.path).iterdir()) == sorted(set(FILES) - {"README.md"})
    assert [path.name for path in (tmp_path / "models" / ".partial").iterdir()] == ["base.lock"]
    server.asked.clear()
    assert built.pull(BASE) == spec
    assert server.asked == []


def test_a_model_by_its_hub_id(server: FakeHub, catalog: Callable[..., ModelCatalog]) -> None:
    built = catalog(endpoint=server.url)
    assert built.pull("org/tuned").path.endswith("/models/org--tuned")
    assert built.resolve("org/tuned").owned_by == "org"
    assert "org/tuned" in ids(built.installed())


def test_a_broken_download_is_never_a_model(
    tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    server.cut_after_bytes = [1_000, 0, 0, 0]
    built = catalog(endpoint=server.url)
    with pytest.raises(Unavailable, match="broke off"):
        built.pull("base")
    assert "base" not in ids(built.installed())
    with pytest.raises(ModelNotFound):
        built.resolve("base")
    server.cut_after_bytes.clear()
    assert built.pull("base").id == "base"
    assert [asked for path, asked in server.asked if path.endswith("model.bin")][-1] == "bytes=1000-"


def test_parts_of_an_older_revision_go(tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]) -> None:
    server.cut_after_bytes = [1_000, 0, 0, 0]
    built = catalog(endpoint=server.url)
    with pytest.raises(Unavailable):
        built.pull("base")
    server.revision, server.cut_after_bytes = "fedcba98", []
    server.asked.clear()
    built.pull("base")
    assert {asked for _, asked in server.asked} == {None}
    assert [path.name for path in (tmp_path / "models" / ".partial").iterdir()] == ["base.lock"]


def test_rubbish_in_the_place_of_a_model_is_replaced(
    tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    (tmp_path / "models" / "base").mkdir(parents=True)
    (tmp_path / "models" / "base" / "half.bin").write_bytes(b"")
    assert catalog(endpoint=server.url).pull("base").id == "base"
    assert not (tmp_path / "models" / "base" / "half.bin").exists()


def test_what_the_hub_calls_a_model_and_is_none(server: FakeHub, catalog: Callable[..., ModelCatalog]) -> None:
    server.models["org/translator"] = FILES | {"config.json": b"{}"}
    built = catalog(endpoint=server.url)
    with pytest.raises(InvalidInput, match="not that of a Whisper model"):
        built.pull("org/translator")
    assert "org/translator" not in ids(built.installed())


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "../x"])
def test_pulling_what_no_hub_has(name: str, catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(ModelNotFound):
        catalog().pull(name)


def test_pulling_what_this_hub_does_not_have(server: FakeHub, catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(ModelNotFound, match="org/none"):
        catalog(endpoint=server.url).pull("org/none")


def test_pulling_offline(catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(Unavailable, match="offline"):
        catalog(offline=True).pull("base")


def test_pulling_auto_or_what_is_embedded(catalog: Callable[..., ModelCatalog]) -> None:
    with pytest.raises(InvalidInput, match="not one model"):
        catalog().pull("whisper-1")
    assert catalog().pull("pocketsphinx").engine == "pocketsphinx"


def test_a_model_folder_that_cannot_be_written(
    tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(Unavailable, match="cannot be written"):
        catalog(endpoint=server.url).pull("base")


def test_one_download_for_threads_that_ask_together(
    tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    built = catalog(endpoint=server.url)
    specs: list[ModelSpec] = []
    threads = [threading.Thread(target=lambda: specs.append(built.pull("base"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids(specs) == ["base"] * 4
    assert len([path for path, _ in server.asked if path.endswith("model.bin")]) == 1


def _pull_in_another_process(models_dir: Path, cache: Path, url: str) -> None:
    ModelCatalog(models_dir=models_dir, cache_dir=cache, endpoint=url).pull("base")


def test_one_download_for_processes_that_ask_together(
    tmp_path: Path, server: FakeHub, catalog: Callable[..., ModelCatalog]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "models", tmp_path / "cache", server.url)
    processes = [spawn.Process(target=_pull_in_another_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len([path for path, _ in server.asked if path.endswith("model.bin")]) == 1
    assert catalog().resolve("base").id == "base"


# Removing


def test_removing_a_model_of_ours(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    folder = whisper(tmp_path / "models" / "Systran--faster-whisper-base")
    built = catalog()
    assert built.remove("base").path == str(folder)
    assert not folder.exists()
    with pytest.raises(NotFound, match="no model 'base'"):
        built.remove("base")


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    folder = whisper(tmp_path / "elsewhere")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small").symlink_to(folder)
    catalog().remove("small")
    assert (folder / "model.bin").exists()
    assert not (tmp_path / "models" / "small").is_symlink()


def test_removing_a_checkpoint(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ours.pt").write_bytes(b"123")
    catalog().remove("ours.pt")
    assert not (tmp_path / "models" / "ours.pt").exists()


def test_only_our_own_folder_is_touched(tmp_path: Path, catalog: Callable[..., ModelCatalog]) -> None:
    elsewhere = whisper(tmp_path / "elsewhere" / "tuned")
    snapshot = cached(tmp_path / "cache", BASE)
    built = catalog(default=str(elsewhere))
    for name in ("tuned", "base", "pocketsphinx"):
        with pytest.raises(Conflict, match="not in our folder"):
            built.remove(name)
    for name in (str(elsewhere / "x"), "../elsewhere/tuned", "..", ".", "", ".partial", "whisper-1"):
        with pytest.raises(NotFound):
            built.remove(name)
    assert (elsewhere / "model.bin").exists() and (snapshot / "model.bin").exists()
