"""LiteLLM's ``StandardLoggingPayload``, as its callbacks and bucket loggers write it."""

import re
from collections.abc import Iterator
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from monitor.errors import RecordRejectedError
from monitor.traffic.formats.bodies import request_in, response_in
from monitor.traffic.formats.call import Call, client_name, labels_of
from monitor.traffic.formats.lookup import Lookup, within, within_json
from monitor.traffic.formats.wire import (
    ABSENT,
    Identifier,
    Moment,
    Reason,
    decode,
    sensible_time,
)


class Metadata(Struct, gc=False):
    """The two places of a caller's own metadata that survive, and who called."""

    requester_metadata: dict[str, object] | None = None
    spend_logs_metadata: dict[str, object] | None = None
    user_agent: str | None = None


class Line(Struct, gc=False, rename={"start_time": "startTime", "end_time": "endTime"}):
    """One call. ``response`` has the shape of the API called, and is empty where it failed."""

    litellm_call_id: Identifier | None = None
    id: Identifier | None = None
    status: str | None = None
    call_type: str | None = None
    start_time: Moment | None = None
    end_time: Moment | None = None
    model: str | None = None
    model_group: str | None = None
    custom_llm_provider: str | None = None
    cache_hit: bool | str | None = None
    request_tags: list[str] | None = None
    user_agent: str | None = None
    metadata: Metadata | None = None
    messages: Raw = ABSENT
    response: Raw = ABSENT

    def stated(self) -> Lookup:
        given = self.metadata or Metadata()
        return within(given.requester_metadata, given.spend_logs_metadata)

    def call(self, latest: datetime) -> Call:
        if self.status == "failure" or self.response in (ABSENT, _EMPTY):
            raise RecordRejectedError(Reason.FAILED_CALL, "the call failed")
        identifier = self.litellm_call_id or self.id
        time = self.end_time or self.start_time
        if identifier is None or time is None:
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected litellm_call_id and endTime")
        response = response_in(self.response)
        answered_by = _CACHED.sub("", response.id or self.id or "")
        return Call(
            id=identifier,
            time=sensible_time(time, latest),
            # Of the route, not of the answer: one deployment answers under several names.
            stream=self.model_group or self.model or response.model,
            query=request_in(self.messages).query(),
            response=response.text(),
            metadata=self.stated(),
            labels=labels_of(
                provider=self.custom_llm_provider,
                tags=",".join(sorted(self.request_tags or ())),
                cache_hit="true" if self.cache_hit is True else None,
                client=client_name(self.user_agent or (self.metadata or Metadata()).user_agent),
            ),
            model=self.model or response.model,
            deployment=self.model_group,
            aliases=(answered_by,) if answered_by else (),
        )


class LiteLLMFormat:
    """Parses one record; arrays of them are taken apart before."""

    name = "litellm"

    def __init__(self) -> None:
        self.passed_over = 0

    def recognises(self, keys: frozenset[str]) -> bool:
        return "litellm_call_id" in keys or {"call_type", "status", "startTime"} <= keys

    def pieces(self, line: bytes, latest: datetime) -> Iterator[Call]:
        record = decode(_decode_line, line)
        if record.litellm_call_id is None and record.call_type is None:
            raise RecordRejectedError(Reason.MISSING_FIELD, "expected litellm_call_id")
        if record.call_type is not None and _NO_CHAT.search(record.call_type):
            self.passed_over += 1
            return
        call = record.call(latest)
        call.lookup = within_json(line, *_METADATA)
        yield call


_METADATA = ("metadata.requester_metadata", "metadata.spend_logs_metadata", "metadata")
_EMPTY = Raw(b"{}")
_CACHED = re.compile(r"_cache_hit[\d.]*\Z")
_NO_CHAT = re.compile("embedding|speech|transcription|image|moderation|rerank|vector|file|batch")
_decode_line = msgspec.json.Decoder(Line).decode
