"""What every connection to a PostgreSQL has, whoever opens it."""

from sqlalchemy import URL

_NOTICE_LOSS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "40000",
}


def noticing_loss(url: URL) -> URL:
    """The address with settings by which a server lost without a word is noticed in 40 s.

    By the system's own rules it takes two hours. What the address says itself goes before.
    """
    return url.set(query={**_NOTICE_LOSS, **url.query})
