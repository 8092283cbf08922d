"""langchain-tests, with every flag that applies, on the bundled pair and on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_specdec import ChatSpecDec

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning"),
]
Details = Literal["audio_input", "audio_output", "reasoning_output", "cache_read_input", "cache_creation_input"]


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatSpecDec

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        names = {"SPECDEC_TARGET": "./target", "SPECDEC_DRAFT": "./draft"}
        return names, {}, {"model": "./target", "draft": "./draft"}


class Integration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatSpecDec

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"temperature": 0, "max_tokens": 120}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> dict[Literal["invoke", "stream"], list[Details]]:
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        model = self.chat_model_class(**{**self.standard_chat_model_params, **self.chat_model_params})
        question = "Tell me a story about a fox who lost a bell, and how the bell was found again."
        model.invoke(question)
        if not stream:
            return model.invoke(question)
        first, *rest = model.stream(question)
        for chunk in rest:
            first += chunk
        return first


class TestBundled(Integration):
    @property
    def model_override_value(self) -> str:
        from specdec.bundled import path

        return str(path("target"))


@pytest.mark.slow
class TestRandomWeights(Integration):
    expected_failures: ClassVar = {
        "test_tool_calling": "takes the number 3 out of the question",
        "test_tool_calling_async": "takes the number 3 out of the question",
        "test_json_mode": "chooses the keys that the question names",
        "test_agent_loop": "has to call a tool of its own accord",
        "test_unicode_tool_call_integration": "copies a name out of the question",
    }

    @pytest.fixture(autouse=True)
    def _target(self, random_target: Path) -> None:
        self._folder = str(random_target)

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "model": self._folder}

    @property
    def model_override_value(self) -> str:
        return "bundled"
