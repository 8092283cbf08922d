"""The same Engine over HTTP: any OpenAI-compatible server (vLLM, SGLang, llama.cpp, our own endpoint)."""

from specdec.remote.engine import RemoteEngine as RemoteEngine
