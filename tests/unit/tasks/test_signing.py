from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from kikitori.errors import InvalidOption
from kikitori.tasks.signing import Signer, make_secret, open_signer

BODY = '{"type":"task.succeeded","data":{"text":"聞き取り"}}'.encode()


class MemorySecrets:
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def get_or_create(self, name: str, make: Callable[[], str]) -> str:
        return self.kept.setdefault(name, make())


@pytest.mark.parametrize("owner", ["", "ann", "聞"])
def test_what_is_signed_verifies_with_the_owners_secret(owner: str) -> None:
    signer = Signer(make_secret())
    headers = signer.headers(owner, id="whk_1", at=datetime.now(UTC), body=BODY)
    assert Webhook(signer.secret(owner)).verify(BODY, headers)["type"] == "task.succeeded"
    assert headers["webhook-id"] == "whk_1"


def test_no_owner_can_sign_for_another() -> None:
    signer = Signer(make_secret())
    headers = signer.headers("ann", id="whk_1", at=datetime.now(UTC), body=BODY)
    for other in ("", "bob", "Ann"):
        with pytest.raises(WebhookVerificationError):
            Webhook(signer.secret(other)).verify(BODY, headers)


def test_nothing_of_a_signed_callback_can_be_changed() -> None:
    signer = Signer(make_secret())
    headers = signer.headers("ann", id="whk_1", at=datetime.now(UTC), body=BODY)
    webhook = Webhook(signer.secret("ann"))
    with pytest.raises(WebhookVerificationError):
        webhook.verify(BODY + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        webhook.verify(BODY, {**headers, "webhook-id": "whk_2"})


def test_the_owner_without_a_name_has_the_servers_own_secret() -> None:
    secret = make_secret()
    assert Signer(secret).secret("") == secret
    assert Signer(secret).secret("ann") == Signer(secret).secret("ann") != secret


@pytest.mark.parametrize("owner", ["", "ann"])
def test_while_the_secret_changes_receivers_may_have_either(owner: str) -> None:
    before, signer = Signer(make_secret()), Signer(make_secret())
    changing = Signer(signer.secret(""), former=before.secret(""))
    headers = changing.headers(owner, id="whk_1", at=datetime.now(UTC), body=BODY)
    for each in (before, signer):
        assert Webhook(each.secret(owner)).verify(BODY, headers)["type"] == "task.succeeded"
    assert changing.secret(owner) == signer.secret(owner), "the new one is shown"
    with pytest.raises(WebhookVerificationError):
        Webhook(Signer(make_secret()).secret(owner)).verify(BODY, headers)
    with pytest.raises(InvalidOption, match="former_callback_secret"):
        Signer(make_secret(), former="hello")


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "hello",
        base64.b64encode(bytes(32)).decode(),
        "whsec_not base64!",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Signer(secret)
    assert "whsec_ and 24 to 64 bytes" in str(refused.value)
    assert len(secret) < 8 or secret not in str(refused.value)


def test_a_secret_without_padding_is_the_same_secret() -> None:
    secret = make_secret()
    assert Signer(secret.rstrip("=")).secret("ann") == Signer(secret).secret("ann")


async def test_the_first_start_makes_a_secret_and_later_ones_keep_it() -> None:
    secrets = MemorySecrets()
    first, second = await open_signer("", secrets), await open_signer("", secrets)
    assert first.secret("") == second.secret("") != Signer(make_secret()).secret("")


async def test_the_secret_of_the_settings_wins_and_is_stored_nowhere() -> None:
    secrets, mine = MemorySecrets(), make_secret()
    assert (await open_signer(mine, secrets)).secret("") == mine
    assert secrets.kept == {}
