"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from specdec_server.chat.answering import ChatStream, whole
from specdec_server.chat.asking import requests_of
from specdec_server.chat.wire import ChatChunk, ChatCompletion, ChatRequest
from specdec_server.common.answer import Form
from specdec_server.openapi import answers
from specdec_server.runs import Runs
from specdec_server.status import check_model
from specdec_server.streaming import EventStream, at_once


def chat_routes(runs: Runs, model: str) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/chat/completions",
        response_model=None,
        responses=answers(ChatCompletion, ChatChunk, done=True),
    )
    async def chat_completions(body: ChatRequest, http: HttpRequest) -> Response:
        """The next message of a chat."""
        check_model(body.model, model)
        run = await runs.start(*requests_of(body), http.state.facts)
        form = Form(
            f"chatcmpl-{run.id}", model, bool(body.logprobs), bool(body.return_token_ids),
            bool(body.stream_options and body.stream_options.include_usage),
        )  # fmt: skip
        if body.stream:
            return EventStream(run, ChatStream(form, run.tallies), runs.settings)
        return await at_once(http, run, lambda events: whole(form, events, run.tallies))

    return router
