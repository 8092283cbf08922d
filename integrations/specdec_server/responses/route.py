"""POST /v1/responses."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from specdec_server.openapi import answers
from specdec_server.responses.answering import ResponseStream, whole
from specdec_server.responses.asking import requests_of
from specdec_server.responses.wire import ResponseBody, ResponseEvent, ResponseRequest
from specdec_server.runs import Runs
from specdec_server.status import check_model
from specdec_server.streaming import EventStream, at_once


def response_routes(runs: Runs, model: str) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/responses", response_model=None, responses=answers(ResponseBody, ResponseEvent, done=False))
    async def responses(body: ResponseRequest, http: HttpRequest) -> Response:
        """The next turn, as items: reasoning, messages, calls."""
        check_model(body.model, model)
        run = await runs.start(*requests_of(body), http.state.facts)
        writer = ResponseStream(run.id, model, body, run.tallies)
        if body.stream:
            return EventStream(run, writer, runs.settings)
        return await at_once(http, run, lambda events: whole(writer, events))

    return router
