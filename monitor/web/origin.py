"""What a request says of where it comes from: the name it was sent to, and the site that asked."""

import re
from collections.abc import Set as AbstractSet
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(:[0-9]{0,5})?")


def is_host(host: str) -> bool:
    """Whether this is a name or an address, with or without a port; nothing else becomes a URL."""
    return _HOST.fullmatch(host) is not None


def knows(host: str, hosts: AbstractSet[str]) -> bool:
    """Whether a request may have come here on purpose, and not by a name that was rebound."""
    name = urlsplit(f"//{host}").hostname or ""
    if name in hosts or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_foreign(request: Request, external: str) -> bool:
    """Whether a browser says that another site made it send this; ``external`` is our address."""
    if site := request.headers.get("sec-fetch-site"):
        return site != "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return False
    return origin.partition("://")[2] not in {request.headers.get("host", ""), external} - {""}


def is_embedding(request: Request) -> bool:
    """Whether a page of another site asks for this as a part of itself, and not by a link."""
    if request.headers.get("sec-fetch-site") not in {"cross-site", "same-site"}:
        return False
    return (
        request.headers.get("sec-fetch-mode") != "navigate"
        or request.headers.get("sec-fetch-dest", "document") != "document"
    )
