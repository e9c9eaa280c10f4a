"""Which addresses a callback may have."""

from __future__ import annotations

from kikitori.errors import ForbiddenAddress, InvalidInput
from kikitori.media.addresses import is_allowed, parse_address
from kikitori.media.guard import Guard

PARAM = "callback_url"
LONGEST = 2_000
LOOPBACK = parse_address("127.0.0.1")


def check_callback_url(guard: Guard, url: str, *, param: str = PARAM) -> str:
    """``url`` as it is stored, when callbacks may go there as far as that is known without asking the network.

    Raises InvalidInput, ForbiddenAddress. Where a name leads is checked again at every attempt.
    """
    url = url.strip()
    if len(url) > LONGEST:
        raise InvalidInput(f"{param} is too long.", remedy=f"At most {LONGEST:,} characters.", param=param)
    link = guard.check_link(url, param=param)
    name = link.host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):  # known without asking
        assert LOOPBACK is not None
        if not is_allowed(LOOPBACK, guard.networks):
            raise ForbiddenAddress(link.host, param=param)
    return str(link)
