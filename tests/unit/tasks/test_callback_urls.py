from __future__ import annotations

import pytest

from kikitori.errors import ForbiddenAddress, InvalidInput
from kikitori.media.guard import Guard
from kikitori.store.task_rows import host_of
from kikitori.tasks.callback_urls import check_callback_url

CLOSED = Guard.allowing()
OPEN = Guard.allowing(["127.0.0.0/8"])


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://hooks.example.org/a?token=1", "https://hooks.example.org/a?token=1"),
        (" http://example.org:8080 ", "http://example.org:8080"),
        ("https://93.184.216.34/", "https://93.184.216.34/"),
        ("https://聞き取り.example/", "https://xn--w8jug679h2h1b.example/"),
    ],
)
def test_public_addresses_are_taken(url: str, stored: str) -> None:
    assert host_of(check_callback_url(CLOSED, url)) == host_of(stored)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://10.0.0.8:9000/hook",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://localhost:3000/",
        "http://api.localhost/",
        "http://localhost./",
    ],
)
def test_private_addresses_are_refused_by_name(url: str) -> None:
    with pytest.raises(ForbiddenAddress) as refused:
        check_callback_url(CLOSED, url)
    assert refused.value.param == "callback_url"
    assert "KIKITORI_ALLOWED_ADDRESSES" in refused.value.remedy


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://localhost:9/"])
def test_private_addresses_that_the_operator_allows_are_taken(url: str) -> None:
    assert check_callback_url(OPEN, url) == url


@pytest.mark.parametrize(
    "url", ["", "hooks", "ftp://example.org/", "https://", "http://[::1", "https://a:b@example.org/"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_callback_url(CLOSED, url)


def test_an_address_that_no_column_takes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="too long"):
        check_callback_url(CLOSED, f"https://example.org/{'a' * 2_000}")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.ORG:8443/a", "example.org"),
        ("https://example.org./", "example.org"),
        ("http://[::1]:80/", "::1"),
        ("nonsense", ""),
        ("http://[", ""),
    ],
)
def test_receivers_are_told_apart_by_host(url: str, host: str) -> None:
    assert host_of(url) == host
