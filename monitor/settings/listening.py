"""Where the daemon listens, and who may post, read and act there."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from monitor.settings.section import Count, Duration, Section

_LAST_PORT = 65_535
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class HttpSettings(Section):
    """What the daemon listens on."""

    listen: str = Field("127.0.0.1:9750", description="Address and port; port 0 takes a free one.")
    tokens_file: Path | None = Field(
        None, description="File with one accepted bearer token per line, for what is posted."
    )
    tokens: SecretStr | None = Field(
        None,
        description="Further accepted tokens, separated by blanks. Only in the environment: "
        "MLLM_MONITOR_HTTP__TOKENS.",
    )
    allow_unauthenticated: bool = Field(
        default=False,
        description="Listen beyond loopback without tokens. Anybody there can then post traffic "
        "and, where no tokens are set for it, read what users wrote and act.",
    )
    read_tokens_file: Path | None = Field(
        None,
        description="File with one token per line, perhaps after a name and a blank, for pages and "
        "API. Without it nobody reads beyond loopback.",
    )
    act_tokens_file: Path | None = Field(
        None,
        description="The same for what changes something: acknowledge, promote, activate, forget. "
        "These tokens read too.",
    )
    session_length: Duration = Field(
        timedelta(hours=12),
        ge=timedelta(minutes=1),
        description="How long somebody stays signed in.",
    )
    session_secret_file: Path | None = Field(
        None,
        description="File with what sessions are signed with; one is made in data_dir unless set. "
        "Replicas behind one address need the same.",
    )
    metrics_need_token: bool = Field(
        default=False, description="Whether /metrics takes a token for reading too."
    )
    max_body_bytes: int = Field(
        64 * 2**20, ge=2**10, description="Largest request body, after decompression."
    )
    max_requests_per_second: Count = Field(
        1_000, description="Posts answered in a second; more are asked to come again."
    )

    external_url: str = Field(
        "",
        description="Address under which people reach the pages, for links in alerts; what is "
        "listened on unless set.",
    )
    grafana_url: str = Field(
        "", description="Address of Grafana, for links in alerts; none without it."
    )

    @property
    def host(self) -> str:
        """Address without the port."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Port to listen on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in _LOOPBACK

    @property
    def given_tokens(self) -> tuple[bytes, ...]:
        """Tokens that came through the environment."""
        given = self.tokens.get_secret_value() if self.tokens else ""
        return tuple(token.encode() for token in given.split())

    @property
    def is_guarded(self) -> bool:
        """Whether it takes a token to post."""
        return self.tokens_file is not None or bool(self.given_tokens)

    @model_validator(mode="after")
    def _can_be_opened(self) -> Self:
        for name in ("external_url", "grafana_url"):
            url: str = getattr(self, name)
            if url and not re.fullmatch(r"https?://[^\s\"'<>?#]+", url):
                raise ValueError(f"{name} must be an http or https address, got {url!r}")
        return self

    @model_validator(mode="after")
    def _needs_guard(self) -> Self:
        shape = r"(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}"
        if not re.fullmatch(shape, self.listen) or self.port > _LAST_PORT:
            raise ValueError(f"listen must be ADDRESS:PORT, got {self.listen!r}")
        if not (self.is_loopback or self.is_guarded or self.allow_unauthenticated):
            raise ValueError(
                f"listen {self.listen} is reachable from other machines: set tokens_file, or "
                "allow_unauthenticated: true if anybody there may post traffic"
            )
        return self
