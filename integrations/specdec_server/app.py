"""The application: an engine and settings in, an ASGI application out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from specdec import __version__
from specdec.engine import Engine
from specdec_server.bodies import BodyLimit
from specdec_server.chat.route import chat_routes
from specdec_server.chat.wire import ChatChunk
from specdec_server.completions.route import completion_routes
from specdec_server.completions.wire import TextCompletion
from specdec_server.errors import install
from specdec_server.guard import Guard, check_key, check_source
from specdec_server.journal import Journal
from specdec_server.metrics import ServerMetrics
from specdec_server.openapi import add_schemas, name_model
from specdec_server.responses.route import response_routes
from specdec_server.responses.wire import ResponseEvent
from specdec_server.runs import Runs
from specdec_server.settings import Settings
from specdec_server.status import status_routes

_SILENT: Any = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI's own telemetry would see prompts."""


def create_app(engine: Engine, settings: Settings | None = None) -> FastAPI:
    """The endpoint over `engine`, which stays the caller's to close."""
    settings = settings or Settings()
    metrics = ServerMetrics()
    runs = Runs(engine, settings, metrics)
    app = FastAPI(title="SpecDec", version=__version__, docs_url=None, redoc_url=None, telemetry=_SILENT)
    app.state.runs = runs
    model = settings.model or _name_of(engine.info.target)
    for routes in (status_routes, chat_routes, completion_routes, response_routes):
        app.include_router(routes(runs, model))
    install(app)
    _add_middleware(app, settings, metrics)
    app.openapi = partial(_schema, app, model)  # type: ignore[method-assign]
    return app


def _name_of(target: str) -> str:
    """A folder goes by its last name alone: where it lies is nobody's business."""
    return Path(target).resolve().name if Path(target).exists() else target


def _add_middleware(app: FastAPI, settings: Settings, metrics: ServerMetrics) -> None:
    """The last one added is the first to see a request."""
    app.add_middleware(BodyLimit, limit=settings.body)
    app.add_middleware(Guard, check=check_key, settings=settings)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.add_middleware(Guard, check=check_source, settings=settings)
    app.add_middleware(Journal, metrics=metrics)


def _schema(app: FastAPI, model: str) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        name_model(schema, model)
        app.openapi_schema = add_schemas(schema, ChatChunk, TextCompletion, ResponseEvent)
    return app.openapi_schema
