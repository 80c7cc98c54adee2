"""An OpenAI-compatible endpoint on a real socket that answers as it is told to."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse

from monitor.web.server import serve

KEY = "sk-of-the-tests"
MODEL = "wise-1"
TOKENS = 321
ANSWER = "A taxi, and a man who irons."


def completion(text: str | None = ANSWER, **of_choice: object) -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, **of_choice}
    return {"id": "c", "choices": [choice], "usage": {"total_tokens": TOKENS}}


@dataclass
class FakeEndpoint:
    """``behaviour`` says how the next calls end; it may be changed at any time."""

    behaviour: str = "answer"
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    redirected: int = 0  # calls that came where a redirect led
    address: str = ""

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    @property
    def calls(self) -> int:
        return len(self.bodies)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            self.bodies.append(await request.json())
            self.headers.append(dict(request.headers))
            return self._respond()

        @app.post("/elsewhere")
        async def elsewhere() -> Response:
            self.redirected += 1
            return JSONResponse(completion())

        @app.get("/v1/models")
        async def models(request: Request) -> Response:
            if self.behaviour == "no_models":
                return JSONResponse({"detail": "Not Found"}, 404)
            if request.headers.get("authorization") != f"Bearer {KEY}":
                return JSONResponse({"error": "who are you"}, 401)
            return JSONResponse({"object": "list", "data": [{"id": MODEL}, {"id": "other"}]})

        return app

    def _respond(self) -> Response:
        kind, _, value = self.behaviour.partition(":")
        match kind:
            case "status":
                return PlainTextResponse(f"it said {KEY}", int(value))
            case "throttle":
                return PlainTextResponse("slower", 429, {"Retry-After": value})
            case "redirect":
                return RedirectResponse(f"{self.address}/elsewhere", 307)
            case "garbage":
                return PlainTextResponse(value)
            case "huge":
                return StreamingResponse(_endless(), media_type="application/json")
            case "drip":
                return StreamingResponse(_drip(), media_type="application/json")
            case "cut_off":
                return JSONResponse(completion(finish_reason="length"))
            case "decline":
                return JSONResponse(completion(None, message={"refusal": "No."}))
            case "silent":
                return JSONResponse(completion(" \n"))
        return JSONResponse(completion(value or ANSWER))


async def _endless() -> AsyncIterator[bytes]:
    yield b'{"choices":[{"message":{"content":"'
    for _ in range(1_000):
        yield b"x" * 65_536


async def _drip() -> AsyncIterator[bytes]:

    while True:
        yield b" "
        await asyncio.sleep(0.02)


@contextmanager
def endpoint() -> Iterator[FakeEndpoint]:
    """One that listens until this is left."""
    fake = FakeEndpoint()
    with serve(fake.app(), host="127.0.0.1", port=0) as address:
        fake.address = address
        yield fake
