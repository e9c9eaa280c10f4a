"""Reading links: out of share texts, to the page that a site reads, and into a name for a file."""

from __future__ import annotations

import re
import unicodedata
from email.message import Message
from urllib.parse import parse_qs, unquote, urlsplit

from kikitori.errors import InvalidInput

MAX_NAME_CHARACTERS = 150
_LINK = re.compile(r"https?://[^\s<>\"'“”‘’《》「」【】，。！？、]+", re.IGNORECASE)
_DOUYIN_VIDEO = re.compile(r"/(?:video|note|slides)/(\d{8,})")
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
    """``url`` in the form that its site's extractor reads: Douyin has many addresses for one video."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not is_within(host, "douyin.com") and not is_within(host, "iesdouyin.com"):
        return url
    found = _DOUYIN_VIDEO.search(parts.path)
    number = found[1] if found else next(iter(parse_qs(parts.query).get("modal_id", [])), "")
    return f"https://www.douyin.com/video/{number}" if number.isascii() and number.isdigit() else url


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
