import asyncio
import threading

import pytest

from kikitori.inference.downloads import Downloads
from kikitori.inference.hub import OnProgress
from kikitori.inference.models import ModelSpec

from .conftest import Start


async def test_models_in_openais_shape(start: Start) -> None:
    async with start() as app:
        found = (await app.client.get("/v1/models")).json()
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == ["fake", "hub/fine-tuned"]
    assert found["data"][0] == {
        "id": "fake", "object": "model", "created": 1_700_000_000, "owned_by": "kikitori", "engine": "fake",
    }  # fmt: skip


@pytest.mark.parametrize("path", ["hub/fine-tuned", "hub%2Ffine-tuned"])
async def test_an_id_with_a_slash(start: Start, path: str) -> None:
    async with start() as app:
        assert (await app.client.get(f"/v1/models/{path}")).json()["id"] == "hub/fine-tuned"


async def test_an_alias_is_shown_under_its_name(start: Start) -> None:
    async with start() as app:
        found = (await app.client.get("/v1/models/whisper-1")).json()
    assert (found["id"], found["alias_of"]) == ("whisper-1", "fake")


async def test_an_unknown_model(start: Start) -> None:
    async with start() as app:
        for answer in (
            await app.client.get("/v1/models/nope"),
            await app.client.post("/api/models/load", json={"model": "nope"}),
            await app.client.delete("/api/models/loaded/nope"),
        ):
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "model_not_found"
            assert answer.json()["error"]["param"] == "model"


async def test_loading_and_unloading(start: Start) -> None:
    async with start() as app:
        loaded = await app.client.post("/api/models/load", json={"model": "hub/fine-tuned", "pin": True})
        assert loaded.status_code == 200
        assert (loaded.json()["model"], loaded.json()["pinned"]) == ("hub/fine-tuned", True)
        models = (await app.client.get("/api/models/loaded")).json()["models"]
        assert [model["model"] for model in models] == ["fake", "hub/fine-tuned"]
        replica = models[0]["replicas"][0]
        assert (replica["device"], replica["mean_batch_size"], replica["batch_fill"]) == ("cpu", 2.5, 0.3)
        gone = await app.client.delete("/api/models/loaded/hub%2Ffine-tuned")
        assert (gone.status_code, gone.content) == (204, b"")
        again = await app.client.delete("/api/models/loaded/hub%2Ffine-tuned")
        assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")


async def test_a_model_in_use_stays(start: Start) -> None:
    async with start() as app:
        app.pool.busy.add("fake")
        answer = await app.client.delete("/api/models/loaded/fake")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
        assert len((await app.client.get("/api/models/loaded")).json()["models"]) == 1


async def test_what_is_here_and_what_can_be_had(start: Start) -> None:
    async with start() as app:
        models = {model["id"]: model for model in (await app.client.get("/api/models/known")).json()["models"]}
    assert [*models][:3] == ["fake", "hub/fine-tuned", "large-v3"]
    assert models["fake"] == {
        "id": "fake", "engine": "fake", "hub_id": None, "size_bytes": 0, "english_only": False,
        "installed": True, "loaded": True, "removable": False,
    }  # fmt: skip
    assert (models["small.en"]["installed"], models["small.en"]["english_only"]) == (False, True)
    assert models["small.en"]["size_bytes"] == 486_000_000


async def test_a_download_is_begun_watched_and_stopped(start: Start) -> None:
    source = Slow()
    async with start(parts={"downloads": Downloads(source)}) as app:
        begun = await app.client.post("/api/models/downloads", json={"model": "our/mini"})
        assert (begun.status_code, begun.json()["state"]) == (202, "running")
        assert await asyncio.to_thread(source.begun.wait, 60)
        [seen] = (await app.client.get("/api/models/downloads")).json()["downloads"]
        assert (seen["model"], seen["bytes_done"], seen["bytes_total"]) == ("our/mini", 5, 20)
        stopped = await app.client.delete("/api/models/downloads/our%2Fmini")
        assert (stopped.status_code, stopped.json()["state"]) == (200, "cancelled")
        again = await app.client.delete("/api/models/downloads/our/mini")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
        assert (await app.client.delete("/api/models/downloads/small")).status_code == 404
        source.go_on.set()


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [({"model": "nope"}, 404, "model"), ({}, 400, "model"), ({"model": ""}, 400, "model")],
)
async def test_what_cannot_be_downloaded(start: Start, body: dict[str, str], status: int, param: str) -> None:
    async with start() as app:
        answer = await app.client.post("/api/models/downloads", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


async def test_what_is_in_memory_is_not_removed_from_the_disk(start: Start) -> None:
    async with start() as app:
        answer = await app.client.delete("/api/models/installed/fake")
        assert (answer.status_code, answer.json()["error"]["message"]) == (
            409,
            "The model fake is in memory. Unload it first.",
        )
        elsewhere = await app.client.delete("/api/models/installed/hub%2Ffine-tuned")
        assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (409, "conflict")


class Slow:
    """A hub that brings a quarter of a model, and waits."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def pull(self, name: str, on_progress: OnProgress | None = None) -> ModelSpec:
        assert on_progress is not None
        on_progress(5, 20)
        self.begun.set()
        self.go_on.wait(60)
        on_progress(20, 20)
        return ModelSpec(id=name, engine="whisper")
