"""Who may read and act, as the settings say it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from monitor.settings import HttpSettings, Settings
from monitor.web.access import Keys, read_tokens
from monitor.web.gate import Access
from monitor.web.session import Sessions, load_secret

READ, ACT = "http.read_tokens_file", "http.act_tokens_file"


def access_of(settings: Settings) -> Access:
    """The rules of the pages and the API.

    Raises:
        SettingsError: if a file of tokens or the secret of sessions cannot be used.
    """
    http = settings.http
    external = urlsplit(http.external_url)
    read, act = _keys(http)
    return Access(
        sessions=Sessions(
            load_secret(settings.data_dir, http.session_secret_file), http.session_length
        ),
        read=read,
        act=act,
        is_open=http.is_loopback or http.allow_unauthenticated,
        is_local=http.is_loopback,
        hosts=frozenset({http.host, external.hostname or ""}) - {""},
        external=external.netloc,
        is_https=external.scheme == "https",
        # Browsers tell no ports apart: two monitors of one host would take each other's.
        cookie=f"mllm_monitor_{http.port}",
        guards_metrics=http.metrics_need_token,
    )


def access_findings(settings: Settings) -> Iterator[tuple[bool, str]]:
    """Who may post, read and act; wrong are files that cannot be used."""
    http = settings.http
    tokens = read_tokens(http.tokens_file) + http.given_tokens
    guarded = f"{len(tokens)} tokens" if tokens else "no token"
    yield True, f"http {http.listen}, {guarded} needed to post"
    read, act = _keys(http)
    free = "whoever reaches it" if http.is_loopback or http.allow_unauthenticated else "nobody"
    readers = free if act is None else f"{free}, and holders of {len(act)} tokens"
    if read is not None:
        readers = f"holders of {len(read) + len(act or ())} tokens"
    actors = "nobody" if read is not None else free
    if act is not None:
        actors = f"holders of {len(act)} tokens"
    yield True, f"  reads: {readers}; acts: {actors}"


def _keys(http: HttpSettings) -> tuple[Keys | None, Keys | None]:
    return (
        Keys(http.read_tokens_file, READ) if http.read_tokens_file else None,
        Keys(http.act_tokens_file, ACT) if http.act_tokens_file else None,
    )
