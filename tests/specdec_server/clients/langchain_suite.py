"""langchain-tests' integration suite for chat models, over ChatOpenAI and a server whose URL is in SPECDEC_URL."""

from __future__ import annotations

import os
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestEndpoint(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "bundled", "base_url": os.environ["SPECDEC_URL"], "api_key": "none", "temperature": 0,
            "max_tokens": 120, "stream_usage": True,
        }  # fmt: skip

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        return True


UNDERSTANDING = {
    "test_tool_calling": "the bundled target does not read the number in magic_function(3)",
    "test_tool_calling_async": "the bundled target does not read the number in magic_function(3)",
    "test_agent_loop": "the bundled target says that no tool fits a place named with its state",
    "test_unicode_tool_call_integration": "the bundled target cannot copy Chinese",
    "test_structured_output_pydantic_2_v1": "the schema allows further keys, and the bundled target writes some",
}
"""What fails for what the model is, not for what the server does."""
for _name, _reason in UNDERSTANDING.items():
    setattr(TestEndpoint, _name, pytest.mark.xfail(reason=_reason, strict=True)(getattr(TestEndpoint, _name)))
