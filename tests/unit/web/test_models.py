import pytest

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
