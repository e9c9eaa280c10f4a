"""Reading links: out of share texts, to the page that a site reads, and into a name for a file."""

from __future__ import annotations

import re
import unicodedata
from email.message import Message
from urllib.parse import unquote, urlsplit

from kikitori.errors import InvalidInput

MAX_NAME_CHARACTERS = 150
PAGES = (
    (
        r"https?://(?:[\w-]+\.)*(?:ies)?douyin\.com/(?:.*/)?(?:video/|note/|slides/|[^#]*[?&]modal_id=)(\d{8,})",
        "https://www.douyin.com/video/{}",
    ),
)
"""Sites with many addresses for one video: what they look like, and the page that the extractor reads."""
SHORT_HOSTS = ("v.douyin.com",)
SITES = (
    *("tiktok.com", "douyin.com", "iesdouyin.com", "youtube.com", "youtu.be", "bilibili.com", "b23.tv", "nicovideo.jp"),
    *("vimeo.com", "dailymotion.com", "twitch.tv", "soundcloud.com", "x.com", "twitter.com", "facebook.com"),
    *("instagram.com", "weibo.com", "xiaohongshu.com", "kuaishou.com"),
)
_LINK = re.compile(r"https?://[^\s<>\"'“”‘’《》「」【】，。！？、]+", re.IGNORECASE)
_UNFIT = re.compile(r'[\\/:*?"<>|\x00-\x1f\x7f]+')


def link_in(text: str, *, param: str = "url") -> str:
    """The link itself, or the first one in a share text such as TikTok and Douyin make. Raises InvalidInput."""
    text = text.strip()
    if re.match(r"[a-z][a-z0-9+.-]*:\S*$", text, re.IGNORECASE):
        return text
    if found := _LINK.search(text):
        return found[0].rstrip(").,;!?]}")
    raise InvalidInput(f"{param} is not a link.", remedy="Allowed: http:// and https:// links.", param=param)


def page_of(url: str) -> str:
    """``url`` in the form that its site's extractor reads."""
    for pattern, page in PAGES:
        if found := re.match(pattern, url):
            return page.format(found[1])
    return url


def is_site(url: str) -> bool:
    """A link to one of the large video sites, where no file lies behind a link: its extractor may go first."""
    return any(is_within(urlsplit(url).hostname or "", site) for site in SITES)


def is_short(url: str) -> bool:
    """The page that is meant is only known from a redirect, and no extractor follows it."""
    return urlsplit(url).hostname in SHORT_HOSTS


def is_within(host: str, domain: str) -> bool:
    """``www.tiktok.com`` is within ``tiktok.com``; ``eviltiktok.com`` is not."""
    host, domain = host.lower().rstrip("."), domain.lower().strip(".")
    return host == domain or host.endswith(f".{domain}")


def name_of(url: str, disposition: str = "") -> str:
    """What to call the file behind ``url``: by its Content-Disposition, else by the end of the path."""
    message = Message()
    message["content-disposition"] = disposition
    given = message.get_filename() if disposition else None
    parts = urlsplit(url)
    return clean_name(given or unquote(parts.path.rsplit("/", 1)[-1]), default=parts.hostname or "recording")


def clean_name(name: str, *, default: str) -> str:
    """``name`` without folders and what file systems dislike; only for people, never a path of ours."""
    name = "".join(
        character for character in unicodedata.normalize("NFC", name) if unicodedata.category(character)[0] != "C"
    )
    name = _UNFIT.sub("_", name.replace("\\", "/").rsplit("/", 1)[-1]).strip(" .")
    if len(name) > MAX_NAME_CHARACTERS:
        stem, dot, suffix = name.rpartition(".")
        suffix = f".{suffix}" if dot and len(suffix) <= 8 else ""
        name = (stem or name)[: MAX_NAME_CHARACTERS - len(suffix)] + suffix
    return name or default
