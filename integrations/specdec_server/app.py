"""The application: an engine and settings in, an ASGI application out."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from specdec import __version__
from specdec.embeddings import Embedder
from specdec.engine import Engine
from specdec_server.embeddings.routes import embedding_routes, refusing_routes
from specdec_server.errors import add_error_handlers
from specdec_server.guard import Guard, check_access, check_source
from specdec_server.logs import AccessLog
from specdec_server.openapi import describe
from specdec_server.pool import ModelPool
from specdec_server.routes import DESCRIBED, answer_routes, counting_routes
from specdec_server.settings import Settings
from specdec_server.status import status_routes

_SILENT: Any = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI's own telemetry would see prompts."""


def create_app(
    engine: Engine | ModelPool, settings: Settings | None = None, embedder: Embedder | None = None
) -> FastAPI:
    """The endpoint over `engine`, or over a pool of models, which has its own settings; with an `embedder` there is
    /v1/embeddings too. All stay the caller's to close."""
    pool = engine if isinstance(engine, ModelPool) else ModelPool.of(engine, settings)
    settings = pool.settings
    app = FastAPI(title="SpecDec", version=__version__, docs_url=None, redoc_url=None, telemetry=_SILENT)
    app.state.pool = pool
    app.include_router(status_routes(pool))
    app.include_router(answer_routes(pool))
    app.include_router(counting_routes(pool))
    app.include_router(embedding_routes(embedder, settings) if embedder else refusing_routes())
    add_error_handlers(app)
    # the last one added is the first to see a request
    app.add_middleware(Guard, check=check_access, settings=settings)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-specdec-ignored", "retry-after"],
        )
    app.add_middleware(Guard, check=check_source, settings=settings)
    app.add_middleware(AccessLog, metrics=pool.metrics)
    app.openapi = partial(describe, app, None if settings.any_name else pool.names, *DESCRIBED)  # type: ignore[method-assign]
    return app
