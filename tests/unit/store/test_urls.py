from __future__ import annotations

import pytest

from kikitori.errors import InvalidOption, Unavailable
from kikitori.store import urls
from kikitori.store.urls import parse_url, shown, sync_url


@pytest.mark.parametrize(
    ("given", "used", "blocking"),
    [
        ("sqlite:////tmp/a.db", "sqlite+aiosqlite:////tmp/a.db", "sqlite+pysqlite:////tmp/a.db"),
        ("sqlite+aiosqlite:///a b.db", "sqlite+aiosqlite:///a b.db", "sqlite+pysqlite:///a b.db"),
        ("postgresql://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d", "postgresql+psycopg://u:p@h:5433/d"),
        ("postgres://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require", None),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("mysql://u@h/d", "mysql+aiomysql://u@h/d", "mysql+pymysql://u@h/d"),
        ("mariadb://u@h/d?charset=utf8mb4", "mysql+aiomysql://u@h/d?charset=utf8mb4", None),
    ],
)
def test_the_driver_is_ours(given: str, used: str, blocking: str | None) -> None:
    url, backend = parse_url(given)
    assert url.render_as_string(hide_password=False) == used
    if blocking:
        assert sync_url(url, backend).render_as_string(hide_password=False) == blocking


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "kikitori.db",
        "oracle://u:secret@h/d",
        "postgresql://u:secret@h",
        "mysql://u:secret@h/",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://u:secret@h:port/d",
    ],
)
def test_a_wrong_url_names_the_field_and_what_is_allowed(wrong: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_url(wrong)
    assert caught.value.field == "database_url"
    assert "sqlite:///" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_people_see_no_password_and_no_query() -> None:
    url, _ = parse_url("postgresql://u:secret@h/d?sslpassword=secret2")
    assert shown(url) == "postgresql://u:***@h/d"


def test_a_driver_that_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'kikitori\[mysql\]'"):
        parse_url("mysql://u@h/d")
