"""yt-dlp in a process of its own; sites.py starts it and reads what it says.

It gets one job as a line of JSON on its standard input and says what happens as lines of JSON on its standard output.
All its connections go through the proxy of the job, it writes in the job's folder only, and it ends when its standard
input does. It imports nothing of Kikitori, so that it starts quickly.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, TextIO

SOCKET_SECONDS = 30
PROGRESS_SECONDS = 0.25
SMALL_PICTURE = 576
"""Pixels of the shorter side: where sound comes with a picture only, a small one will do."""
ANY_SITE = ("Generic", "HTML5MediaEmbed")
"""Extractors for pages that nobody made one for."""
MUSIC = "music track"
PROTOCOLS = ("http", "https", "m3u8", "m3u8_native", "http_dash_segments")
"""Those that yt-dlp reads by itself, through the proxy; others would start other programs."""
SECRET_CHARACTERS = 8
LONGEST_TEXT = 1_000
LONGEST_LINK = 8_192
"""What a page says of itself is kept with its task, and shown in lists."""


class Told(Exception):
    """Ends the job with a ``code`` that sites.py knows."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = code


class _Silent:
    """yt-dlp's own output is for people at a terminal."""

    def debug(self, message: str) -> None: ...

    info = warning = error = debug


class Job:
    """One link: a page is read, and what is on it fetched or listed."""

    def __init__(self, job: dict[str, Any], output: TextIO) -> None:
        self._job = job
        self._output = output
        self._said = 0.0

    def run(self) -> None:
        import yt_dlp

        try:
            with yt_dlp.YoutubeDL(self._parameters()) as loader:
                _keep_secrets_at_home(loader.cookiejar)
                self._work(loader)
        except Told as exc:
            self._say("error", code=exc.code, message=str(exc))
        except Exception as exc:  # yt-dlp and the pages it reads raise anything; this process ends with an answer
            self._say("error", **explain(exc))

    def _work(self, loader: Any) -> None:
        url = self._page(loader)
        if self._job["known_only"] and not any(
            each.suitable(url) and each.IE_NAME != "generic" for each in loader._ies.values()
        ):
            raise Told("unknown_site")
        found = loader.extract_info(url, download=False)
        if found is None:
            raise Told("nothing_there")
        if found.get("_type") in ("playlist", "multi_video"):
            entries = list(_flat(found))
            if len(entries) != 1 or not entries[0].get("formats"):
                self._list(found, entries)
                return
            found = entries[0] | {"title": found.get("title") or entries[0].get("title")}
        _refuse_live(found)
        self._fetch(loader, found)

    def _page(self, loader: Any) -> str:
        """The link; a short one is followed to the page that it means."""
        url: str = self._job["url"]
        if self._job["short"]:
            with loader.urlopen(url) as answer:
                url = answer.url
        for pattern, page in self._job["pages"]:
            if found := re.match(pattern, url):
                return str(page.format(found[1]))
        return url

    def _list(self, found: dict[str, Any], entries: list[dict[str, Any]]) -> None:
        links = [entry for entry in (_entry(each) for each in entries) if entry]
        limit = self._job["max_entries"]
        if not links:
            raise Told("nothing_there")
        self._say("playlist", **_details(found), entries=links[:limit], more=len(links) > limit)

    def _fetch(self, loader: Any, found: dict[str, Any]) -> None:
        if found.get("protocol") not in PROTOCOLS:
            raise Told("site_error", "It is sent in a way that is not supported here.")
        if (_number(found.get("duration")) or 0.0) > self._job["max_seconds"]:
            raise Told("too_long")
        size = found.get("filesize")
        if isinstance(size, int) and size > self._job["max_bytes"]:
            raise Told("too_large")
        self._say("found", **_details(found))
        result = loader.process_ie_result(found, download=True)
        path = result["requested_downloads"][0]["filepath"]
        self._say("done", file=os.path.basename(path), **_details(found))

    def _parameters(self) -> dict[str, Any]:
        return {
            "cachedir": False,
            "check_formats": None,
            # A company's own authority in SSL_CERT_FILE is asked, where there is one.
            "compat_opts": {"no-certifi"} if os.environ.get("SSL_CERT_FILE") else set(),
            "cookiefile": io.StringIO(self._job["cookies"]),
            "extract_flat": "in_playlist",
            "ffmpeg_location": os.path.join(self._job["folder"], "none"),
            "fixup": "never",
            "format": choose,
            "fragment_retries": 3,
            "geo_bypass": False,
            "hls_prefer_native": True,
            "js_runtimes": self._job["runtimes"],
            "logger": _Silent(),
            "nopart": True,
            "noplaylist": True,
            "noprogress": True,
            "outtmpl": os.path.join(self._job["folder"], "media.%(ext)s"),
            "playlist_items": f"1:{self._job['max_entries'] + 1}",
            "progress_hooks": [self._progress],
            "proxy": self._job["proxy"],
            "quiet": True,
            "retries": 3,
            "socket_timeout": SOCKET_SECONDS,
            "updatetime": False,
        }

    def _progress(self, status: dict[str, Any]) -> None:
        done = status.get("downloaded_bytes") or 0
        if done > self._job["max_bytes"]:
            raise Told("too_large")
        now = time.monotonic()
        if status["status"] == "finished" or now - self._said >= PROGRESS_SECONDS:
            self._said = now
            total = status.get("total_bytes") or status.get("total_bytes_estimate")
            self._say("progress", done=int(done), total=int(total) if total else None)

    def _say(self, event: str, **facts: Any) -> None:
        self._output.write(json.dumps({"event": event, **facts}) + "\n")
        self._output.flush()


def choose(context: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The best sound without a picture, else with a small one. Formats come from the worst to the best.

    The music that a short video plays is a format of its own on some sites, and not what is said in it.
    """
    heard = [each for each in context["formats"] if each.get("acodec") != "none"]
    own = [each for each in heard if not _is_music(each)] or heard
    sound = [each for each in own if each.get("vcodec") == "none"]
    small = [each for each in own if 0 < _shorter_side(each) <= SMALL_PICTURE]
    unknown = [each for each in own if not _shorter_side(each)]
    if sound or small or unknown:
        yield (sound or small or unknown)[-1]
    elif own:
        yield min(own, key=_shorter_side)


def _is_music(found: dict[str, Any]) -> bool:
    return MUSIC in str(found.get("format_note") or "").lower() or found.get("format_id") == "audio"


def _shorter_side(found: dict[str, Any]) -> int:
    sides = [side for side in (found.get("width"), found.get("height")) if side]
    return int(min(sides)) if sides else 0


def _flat(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The entries of a list, and of the lists in it."""
    for entry in found.get("entries") or ():
        if not entry:
            continue
        if entry.get("_type") in ("playlist", "multi_video"):
            yield from _flat(entry)
        else:
            yield entry


def _entry(found: dict[str, Any]) -> dict[str, Any] | None:
    """One line of a list; nothing for what has not ended yet or has no link."""
    if found.get("live_status") in ("is_live", "is_upcoming") or found.get("is_live"):
        return None
    # A page with several players has no page for each: there, the media itself is the link.
    url = found.get("url") or found.get("webpage_url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    url = url.partition("#__youtubedl_smuggle=")[0]  # notes of an extractor to itself
    if len(url) > LONGEST_LINK:
        return None
    return {"url": url, "title": _text(found.get("title")), "duration": _number(found.get("duration"))}


def _refuse_live(found: dict[str, Any]) -> None:
    if found.get("is_live") or found.get("live_status") in ("is_live", "is_upcoming"):
        raise Told("live_stream")


def _details(found: dict[str, Any]) -> dict[str, Any]:
    title = _text(found.get("title"))
    site = _text(found.get("extractor_key"))
    if site in ANY_SITE:
        site = ""
        title = title.removesuffix(" (1)")  # the first, and the only one, on its page
    author = found.get("channel") or found.get("uploader") or found.get("creator") or ""
    return {
        "title": title,
        "author": _text(author),
        "duration": _number(found.get("duration")),
        "page": _text(found.get("webpage_url"), LONGEST_LINK),
        "upload_date": _text(found.get("upload_date")),
        "site": site,
        "id": _text(found.get("id")),
    }


def _text(value: Any, most: int = LONGEST_TEXT) -> str:
    """As UTF-8 can say it: pages have halves of characters, too."""
    return str(value or "")[:most].encode("utf-8", "replace").decode()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and -1e9 < value < 1e9 else None  # nor is "not a number"


def explain(exc: BaseException) -> dict[str, Any]:
    """``exc`` as a code and the site's reason."""
    chain = list(_causes(exc))
    if any(isinstance(each, OSError) and each.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) for each in chain):
        return {"code": "no_space"}
    told = next((each for each in chain if isinstance(each, Told)), None)
    if told:
        return {"code": told.code, "message": str(told)}
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    reason = next((str(text) for each in chain if (text := getattr(each, "orig_msg", ""))), str(exc))
    if "UserNotLive" in kinds:
        return {"code": "site_error", "message": "It is not live now."}
    if "UnsupportedError" in kinds:
        return {"code": "nothing_there"}
    if "TransportError" in kinds:
        return {"code": "unreachable"}
    if "ExtractorError" not in kinds and "YoutubeDLError" not in kinds:
        return {"code": "broken", "message": f"{type(exc).__name__}: {exc}"}
    return {"code": "site_error", "message": _clean(reason)}


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """``exc`` and what led to it, also where yt-dlp keeps it."""
    seen: set[int] = set()
    waiting = [exc]
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        information = getattr(each, "exc_info", None)
        waiting += [information[1]] if information and len(information) > 1 else []
        waiting += [getattr(each, "cause", None), each.__cause__, each.__context__]


def _clean(text: str) -> str:
    """The reason alone: without colours, hints about flags of a command, and pleas to report it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    text = re.sub(r"^ERROR: *", "", text)
    text = re.split(r"; please report|\. Use --|\. See {2}https|\(caused by|; *If you ", text)[0]
    return _text(" ".join(text.split()), 500).rstrip(" .;") + "."


def _keep_secrets_at_home(jar: Any) -> None:
    """A cookie from the settings goes to its own site only, though extractors copy some to other hosts."""
    homes: dict[str, set[str]] = {}
    for cookie in jar:
        if len(cookie.value or "") >= SECRET_CHARACTERS:
            homes.setdefault(cookie.value, set()).add(cookie.domain.lstrip("."))
    store = jar.set_cookie

    def set_cookie(cookie: Any) -> None:
        host = cookie.domain.lstrip(".")
        allowed = homes.get(cookie.value)
        if allowed is None or any(host == home or host.endswith(f".{home}") for home in allowed):
            store(cookie)

    jar.set_cookie = set_cookie


def _bound_files(max_bytes: int) -> None:
    """No single file may grow beyond the bound, whatever yt-dlp counts."""
    try:
        import resource
        import signal
    except ImportError:  # there are no such limits on Windows
        return
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writing then fails with EFBIG
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is not one of our lines
    job = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _bound_files(job["max_file_bytes"])
    Job(job, output).run()
    os._exit(0)  # the thread above waits for good


if __name__ == "__main__":
    main()
