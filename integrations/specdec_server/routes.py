"""The routes that answer: each reads a body, starts a run of its requests, and has a writer tell what comes."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from specdec.types import Request
from specdec_server.bodies import received
from specdec_server.chat.requests import chat_requests
from specdec_server.chat.responses import ChatWriter
from specdec_server.chat.schemas import ChatCompletion, ChatCompletionChunk, ChatCompletionRequest
from specdec_server.completions.requests import completion_requests
from specdec_server.completions.responses import CompletionWriter
from specdec_server.completions.schemas import CompletionRequest, TextCompletion
from specdec_server.embeddings.schemas import EmbeddingsRequest
from specdec_server.errors import MESSAGES_PATH
from specdec_server.messages.requests import check_last_turn, message_request
from specdec_server.messages.responses import MessagesWriter
from specdec_server.messages.schemas import MessageBody, MessageEvent, MessagesRequest, MessageTokens
from specdec_server.openapi import MESSAGE_ERRORS, body_of, operation
from specdec_server.pool import ModelPool
from specdec_server.responses.requests import response_request
from specdec_server.responses.responses import ResponsesWriter
from specdec_server.responses.schemas import ResponseBody, ResponseEvent, ResponsesRequest
from specdec_server.runs import Run
from specdec_server.schemas import ChoicesRequest, InputTokens, SamplingRequest
from specdec_server.streaming import answered

DESCRIBED = (
    ChatCompletionRequest,
    ChatCompletionChunk,
    CompletionRequest,
    TextCompletion,
    ResponsesRequest,
    ResponseEvent,
    MessagesRequest,
    MessageEvent,
    EmbeddingsRequest,
)
"""Bodies and events of streams, which FastAPI does not find by itself."""


def answer_routes(pool: ModelPool) -> APIRouter:
    router = APIRouter()
    settings = pool.settings

    @router.post(
        "/v1/chat/completions",
        **operation(ChatCompletionRequest, ChatCompletion, ChatCompletionChunk, done=True),
    )
    async def chat_completions(http: HttpRequest) -> Response:
        """The next message of a chat."""
        body = await received(http, ChatCompletionRequest, settings)
        model = pool.find(body.model)
        run = Run(chat_requests(body), http.state.facts, settings, body.n)
        writer = ChatWriter(run, model.name, body)
        return await answered(http, run, pool.start(model, run), writer, settings, stream=bool(body.stream))

    @router.post("/v1/completions", **operation(CompletionRequest, TextCompletion, TextCompletion, done=True))
    async def completions(http: HttpRequest) -> Response:
        """How a text goes on."""
        body = await received(http, CompletionRequest, settings)
        model = pool.find(body.model)
        run = Run(completion_requests(body), http.state.facts, settings, body.n)
        writer = CompletionWriter(run, model.name, body)
        return await answered(http, run, pool.start(model, run), writer, settings, stream=bool(body.stream))

    @router.post("/v1/responses", **operation(ResponsesRequest, ResponseBody, ResponseEvent, done=False))
    async def responses(http: HttpRequest) -> Response:
        """The next turn, as items: reasoning, messages, calls."""
        body = await received(http, ResponsesRequest, settings)
        model = pool.find(body.model)
        request = response_request(body)
        run = Run([request], http.state.facts, settings)
        writer = ResponsesWriter(run, model.name, body, request.tools)
        return await answered(http, run, pool.start(model, run), writer, settings, stream=bool(body.stream))

    @router.post(
        MESSAGES_PATH,
        **operation(MessagesRequest, MessageBody, MessageEvent, done=False, errors=MESSAGE_ERRORS),
    )
    async def messages(http: HttpRequest) -> Response:
        """The next turn, as blocks: thinking, text, tool_use."""
        body = await received(http, MessagesRequest, settings)
        model = pool.find(body.model)
        check_last_turn(body)
        run = Run([message_request(body)], http.state.facts, settings)
        writer = MessagesWriter(run, model.name)
        return await answered(http, run, pool.start(model, run), writer, settings, stream=bool(body.stream))

    return router


def counting_routes(pool: ModelPool) -> APIRouter:
    """What a request would come to, before anything is answered."""
    router = APIRouter()
    settings = pool.settings

    async def counted(body: SamplingRequest, *requests: Request) -> InputTokens:
        model = pool.find(body.model)
        ids = [token for request in requests for token in await pool.tokenize(model, request)]
        told = InputTokens(object="response.input_tokens", input_tokens=len(ids))
        if isinstance(body, ChoicesRequest) and body.return_token_ids:
            told.token_ids = ids
        return told

    @router.post("/v1/chat/completions/input_tokens", **body_of(ChatCompletionRequest))
    async def chat_tokens(http: HttpRequest) -> InputTokens:
        """The tokens of a chat's prompt."""
        body = await received(http, ChatCompletionRequest, settings)
        return await counted(body, chat_requests(body)[0])

    @router.post("/v1/completions/input_tokens", **body_of(CompletionRequest))
    async def completion_tokens(http: HttpRequest) -> InputTokens:
        """The tokens of all prompts together."""
        body = await received(http, CompletionRequest, settings)
        return await counted(body, *completion_requests(body)[:: body.n or 1])

    @router.post("/v1/responses/input_tokens", **body_of(ResponsesRequest))
    async def response_tokens(http: HttpRequest) -> InputTokens:
        """The tokens of a response's prompt."""
        body = await received(http, ResponsesRequest, settings)
        return await counted(body, response_request(body))

    @router.post(f"{MESSAGES_PATH}/count_tokens", **body_of(MessagesRequest, MESSAGE_ERRORS))
    async def message_tokens(http: HttpRequest) -> MessageTokens:
        """The tokens of a message's prompt."""
        body = await received(http, MessagesRequest, settings)
        return MessageTokens(input_tokens=(await counted(body, message_request(body))).input_tokens)

    return router
