"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from specdec_server.common.answer import Form
from specdec_server.completions.answering import CompletionStream, whole
from specdec_server.completions.asking import requests_of
from specdec_server.completions.wire import CompletionRequest, TextCompletion
from specdec_server.openapi import answers
from specdec_server.runs import Runs
from specdec_server.status import check_model
from specdec_server.streaming import EventStream, at_once


def completion_routes(runs: Runs, model: str) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/completions", response_model=None, responses=answers(TextCompletion, TextCompletion, done=True))
    async def completions(body: CompletionRequest, http: HttpRequest) -> Response:
        """How a text goes on."""
        check_model(body.model, model)
        run = await runs.start(*requests_of(body), http.state.facts)
        form = Form(
            f"cmpl-{run.id}", model, body.logprobs is not None, bool(body.return_token_ids),
            bool(body.stream_options and body.stream_options.include_usage),
        )  # fmt: skip
        if body.stream:
            return EventStream(run, CompletionStream(form, run.tallies), runs.settings)
        return await at_once(http, run, lambda events: whole(form, events, run.tallies))

    return router
