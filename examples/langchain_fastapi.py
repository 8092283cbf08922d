"""An endpoint that streams, and stops the engine when its reader leaves.

python examples/langchain_fastapi.py
curl -N "http://127.0.0.1:8010/story?about=a+fox"      # Ctrl-C, and the slot is free within one round
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from langchain_specdec import ChatSpecDec


def make_app(model: ChatSpecDec) -> FastAPI:
    app = FastAPI()

    @app.get("/story")
    async def story(about: str) -> StreamingResponse:
        return StreamingResponse(told(about), media_type="text/plain")

    async def told(about: str) -> AsyncIterator[str]:
        # A reader that leaves cancels the task that runs this; closing the stream is what frees the slot.
        chunks: Any = model.astream(f"Tell me a story about {about}.")
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk.text

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--port", type=int, default=8010)
    args = parser.parse_args()
    uvicorn.run(make_app(ChatSpecDec(model=args.target, draft=args.draft, temperature=0.7)), port=args.port)


if __name__ == "__main__":
    main()
