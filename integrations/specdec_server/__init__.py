"""The engine behind an endpoint as OpenAI's and Anthropic's: chats, completions, responses and messages, streamed.

from specdec.process import ProcessEngine
from specdec_server import Settings, create_app

app = create_app(ProcessEngine.load(), Settings(queue=16))   # any ASGI server takes it; `specdec serve` is ours

settings, app, serving         what an operator may set; the application; the server around it
guard, bodies, errors, logs    who may ask; what was sent; what a refusal reads like; the log
pool                           the models that there are, by name
routes, runs, streaming        what can be asked; the answers being given; how they go out
chat, completions, responses, messages   each endpoint: its schemas, from requests, to responses
fields, mappings               what becomes of the fields that clients send beyond the schemas
schemas, turns, figures        what they share
"""

from __future__ import annotations

from specdec.errors import extra

with extra("server", "the server"):
    from specdec_server.app import create_app as create_app
    from specdec_server.pool import ModelPool as ModelPool
    from specdec_server.pool import NamedModel as NamedModel
    from specdec_server.settings import Settings as Settings
