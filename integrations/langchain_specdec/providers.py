"""`init_chat_model("specdec:...")` and `init_embeddings("specdec:...")`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from specdec.errors import MissingExtra, extra

_TABLES = {"langchain.chat_models.base": "ChatSpecDec", "langchain.embeddings.base": "SpecDecEmbeddings"}


def register() -> None:
    """Let LangChain find our classes by name. It has no way for a package to do so: this adds to its own tables of
    providers, which another version may keep elsewhere, and then says so."""
    for module, name in _TABLES.items():
        with extra("agents", "register"):
            table = getattr(import_module(module), "_BUILTIN_PROVIDERS", None)
        if not isinstance(table, dict) or len(table.get("openai", ())) != 3:
            raise MissingExtra(
                f"langchain.register: {module} has no table of providers that is known; "
                f"expected langchain 1.3 to 1.5, or {name}(...) itself"
            )
        table["specdec"] = ("langchain_specdec", name, _make)


def _make(cls: type[Any], **options: Any) -> Any:
    return cls(**options)
