"""The engine behind an OpenAI-compatible endpoint: chat completions, completions, responses, streamed as they come.

from specdec.process import ProcessEngine
from specdec_server import Settings, create_app

app = create_app(ProcessEngine.load(), Settings(queue=16))   # any ASGI server takes it; `specdec serve` is ours

settings, app, serving         what an operator may set; the application; the server around it
guard, bodies, errors, logs    who may ask; what was sent; what a refusal reads like; the log
routes, runs, streaming        what can be asked; the answers being given; how they go out
chat, completions, responses   each endpoint: its schemas, from requests, to responses
schemas, figures               what they share
"""

from __future__ import annotations

from specdec.errors import extra

with extra("server", "the server"):
    from specdec_server.app import create_app as create_app
    from specdec_server.settings import Settings as Settings
