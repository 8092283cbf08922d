"""The routes that answer: each reads a body, starts a run of its requests, and has a writer tell what comes."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from specdec_server.bodies import received
from specdec_server.chat.requests import chat_requests
from specdec_server.chat.responses import ChatWriter
from specdec_server.chat.schemas import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from specdec_server.completions.requests import completion_requests
from specdec_server.completions.responses import CompletionWriter
from specdec_server.completions.schemas import CompletionRequest, TextCompletion
from specdec_server.openapi import operation
from specdec_server.responses.requests import response_request
from specdec_server.responses.responses import ResponsesWriter
from specdec_server.responses.schemas import ResponseBody, ResponseEvent, ResponsesRequest
from specdec_server.runs import Runs
from specdec_server.status import check_model
from specdec_server.streaming import EventStreamResponse, at_once

DESCRIBED = (
    ChatCompletionRequest,
    ChatCompletionChunk,
    CompletionRequest,
    TextCompletion,
    ResponsesRequest,
    ResponseEvent,
)
"""Bodies and events of streams, which FastAPI does not find by itself."""


def answer_routes(runs: Runs, model: str) -> APIRouter:
    router = APIRouter()
    settings = runs.settings

    @router.post(
        "/v1/chat/completions",
        **operation(ChatCompletionRequest, ChatCompletion, ChatCompletionChunk, done=True),
    )
    async def chat_completions(http: HttpRequest) -> Response:
        """The next message of a chat."""
        body = await received(http, ChatCompletionRequest, settings.body)
        check_model(body.model, model)
        run = await runs.start(chat_requests(body), http.state.facts, body.n)
        writer = ChatWriter(run, model, body)
        return EventStreamResponse(run, writer, settings) if body.stream else await at_once(http, run, writer)

    @router.post("/v1/completions", **operation(CompletionRequest, TextCompletion, TextCompletion, done=True))
    async def completions(http: HttpRequest) -> Response:
        """How a text goes on."""
        body = await received(http, CompletionRequest, settings.body)
        check_model(body.model, model)
        run = await runs.start(completion_requests(body), http.state.facts, body.n)
        writer = CompletionWriter(run, model, body)
        return EventStreamResponse(run, writer, settings) if body.stream else await at_once(http, run, writer)

    @router.post("/v1/responses", **operation(ResponsesRequest, ResponseBody, ResponseEvent, done=False))
    async def responses(http: HttpRequest) -> Response:
        """The next turn, as items: reasoning, messages, calls."""
        body = await received(http, ResponsesRequest, settings.body)
        check_model(body.model, model)
        request = response_request(body)
        run = await runs.start([request], http.state.facts)
        writer = ResponsesWriter(run, model, body, request.tools)
        return EventStreamResponse(run, writer, settings) if body.stream else await at_once(http, run, writer)

    return router
