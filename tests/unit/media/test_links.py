from __future__ import annotations

import pytest

from kikitori.errors import InvalidInput, InvalidOption
from kikitori.media.cookies import cookie_file
from kikitori.media.links import clean_name, is_within, link_in, name_of, page_of

DOUYIN = "https://www.douyin.com/video/7310000000000000001"


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://media.example/a.mp3", "https://media.example/a.mp3"),
        ("  https://media.example/a.mp3\n", "https://media.example/a.mp3"),
        (
            "7.43 复制打开抖音，看看【小明的作品】今天 # 日常 https://v.douyin.com/iRNBho6u/ 01/12 abc:/ a@b.cd",
            "https://v.douyin.com/iRNBho6u/",
        ),
        ("看看这个https://v.douyin.com/iRNBho6u/，复制此链接", "https://v.douyin.com/iRNBho6u/"),
        ("Check out Ann's video! #TikTok > https://vm.tiktok.com/ZMabc123/", "https://vm.tiktok.com/ZMabc123/"),
        ("Look (https://media.example/a.mp3).", "https://media.example/a.mp3"),
    ],
)
def test_a_link_is_found_in_a_share_text(text: str, link: str) -> None:
    assert link_in(text) == link


@pytest.mark.parametrize("text", ["", "hello", "media.example/a.mp3", "look at ftp://media.example/ please"])
def test_a_text_without_a_link_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="source is not a link"):
        link_in(text, param="source")


@pytest.mark.parametrize(
    ("url", "page"),
    [
        (DOUYIN, DOUYIN),
        ("https://www.iesdouyin.com/share/video/7310000000000000001/?region=JP&mid=1", DOUYIN),
        ("https://m.douyin.com/share/video/7310000000000000001", DOUYIN),
        ("https://www.douyin.com/discover?modal_id=7310000000000000001", DOUYIN),
        ("https://www.douyin.com/note/7310000000000000001", DOUYIN),
        ("https://www.douyin.com/user/abc?modal_id=x", "https://www.douyin.com/user/abc?modal_id=x"),
        ("https://v.douyin.com/iRNBho6u/", "https://v.douyin.com/iRNBho6u/"),
        ("https://evil.example/video/7310000000000000001", "https://evil.example/video/7310000000000000001"),
    ],
)
def test_douyin_has_one_page_for_a_video(url: str, page: str) -> None:
    assert page_of(url) == page


def test_a_host_is_within_its_domain_only() -> None:
    assert is_within("www.tiktok.com", "tiktok.com") and is_within("TikTok.com.", ".tiktok.com")
    assert not is_within("eviltiktok.com", "tiktok.com") and not is_within("tiktok.com.evil.example", "tiktok.com")


@pytest.mark.parametrize(
    ("url", "disposition", "name"),
    [
        ("https://media.example/talks/monday.mp3?token=1", "", "monday.mp3"),
        ("https://media.example/", "", "media.example"),
        ("https://media.example/%E8%AC%9B%E6%BC%94.wav", "", "講演.wav"),
        ("https://media.example/x", 'attachment; filename="talk.mp3"', "talk.mp3"),
        ("https://media.example/x", "attachment; filename*=UTF-8''%E8%AC%9B%E6%BC%94.wav", "講演.wav"),
        ("https://media.example/x", 'attachment; filename="../../etc/passwd"', "passwd"),
        ("https://media.example/x", 'attachment; filename="C:\\\\temp\\\\a.wav"', "a.wav"),
        ("https://media.example/..%2f..%2fetc%2fpasswd", "", "passwd"),
        ("https://media.example/a%00b%0d%0a.wav", "", "ab.wav"),
        ("https://media.example/..", "", "media.example"),
        ("https://media.example/x", "attachment; filename=", "x"),
    ],
)
def test_a_name_is_taken_from_the_answer_or_the_link(url: str, disposition: str, name: str) -> None:
    assert name_of(url, disposition) == name


def test_long_names_keep_their_suffix() -> None:
    name = clean_name("あ" * 500 + ".mp3", default="x")
    assert len(name) == 150 and name.endswith("あ.mp3")


# Cookies ---------------------------------------------------------------------------------------------------------


def fields(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("# ")]


def test_cookies_given_as_text_are_for_the_host_and_below_and_for_tls_only() -> None:
    found = fields(cookie_file({"douyin.com": "s_v_web_id=abc; ttwid=1=2"}))
    assert [(each[0], each[3], each[5], each[6]) for each in found] == [
        (".douyin.com", "TRUE", "s_v_web_id", "abc"),
        (".douyin.com", "TRUE", "ttwid", "1=2"),
    ]


def test_cookies_of_other_hosts_in_a_file_are_left_out(tmp_path: object) -> None:
    lines = [
        ".tiktok.com\tTRUE\t/\tTRUE\t0\tsid\tone",
        "#HttpOnly_www.tiktok.com\tFALSE\t/\tTRUE\t0\tsession\ttwo",
        ".bank.example\tTRUE\t/\tTRUE\t0\tsid\tthree",
        ".eviltiktok.com\tTRUE\t/\tTRUE\t0\tsid\tfour",
        "# a comment",
        "nonsense",
    ]
    from pathlib import Path

    path = Path(str(tmp_path)) / "cookies.txt"
    path.write_text("\n".join(lines))
    for value in ("\n".join(lines), str(path)):
        assert [each[6] for each in fields(cookie_file({"tiktok.com": value}))] == ["one", "two"]


@pytest.mark.parametrize("sites", [{"com": "a=b"}, {"https://tiktok.com": "a=b"}, {"tiktok.com": "/no/such/file"}])
def test_cookies_that_cannot_be_used_are_told_without_showing_them(sites: dict[str, str]) -> None:
    with pytest.raises(InvalidOption) as caught:
        cookie_file(sites)
    assert caught.value.field == "site_cookies"
    assert "a=b" not in str(caught.value)
