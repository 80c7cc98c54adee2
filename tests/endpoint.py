"""An OpenAI-compatible endpoint on a real socket that answers as it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
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
        elsewhere = f"{self.address}/elsewhere"
        made: dict[str, Callable[[], Response]] = {
            "answer": lambda: JSONResponse(completion()),
            "status": lambda: PlainTextResponse(f"it said {KEY}", int(value)),
            "throttle": lambda: PlainTextResponse("slower", 429, {"Retry-After": value}),
            "redirect": lambda: RedirectResponse(elsewhere, 307),
            "garbage": lambda: PlainTextResponse(value),
            "huge": lambda: StreamingResponse(_endless(), media_type="application/json"),
            "drip": lambda: StreamingResponse(_drip(), media_type="application/json"),
            "cut_off": lambda: JSONResponse(completion(finish_reason="length")),
            "decline": lambda: JSONResponse(completion(None, message={"refusal": "No."})),
            "silent": lambda: JSONResponse(completion(" \n")),
        }
        return made[kind]()


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
