"""The class as a component of the framework: made, checked, copied, pickled, written down."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.embeddings.loading import load_embed_model
from llama_index.core.llms import LLM
from llama_index.core.llms.loading import load_llm
from llama_index.core.utilities.token_counting import TokenCounter
from pydantic import ValidationError

from llama_index.embeddings.specdec import SpecDecEmbedding
from llama_index.llms import specdec as specdec_llm
from llama_index.llms.specdec import SpecDec
from specdec.errors import CheckpointNotFound
from tests.fakes import SCRIPTED_INFO, ScriptedEngine

HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "huggingface_hub"}


def test_metadata_is_the_checkpoint_s(llm: SpecDec) -> None:
    metadata = llm.metadata
    assert (metadata.context_window, metadata.model_name) == (SCRIPTED_INFO.context, SCRIPTED_INFO.target)
    assert (metadata.is_chat_model, metadata.is_function_calling_model) == (True, True)
    assert 0 < metadata.num_output < metadata.context_window


def test_metadata_of_the_bundled_pair(bundled: SpecDec) -> None:
    assert bundled.metadata.model_dump() == bundled.metadata.model_dump() | {
        "context_window": 2048,
        "num_output": 120,
        "is_chat_model": True,
        "is_function_calling_model": True,
        "model_name": "bundled",
    }


def test_the_framework_can_count_its_tokens(bundled: SpecDec) -> None:
    counter = TokenCounter(tokenizer=bundled.tokenize)
    assert counter.get_string_tokens("") == 0
    prompt = bundled.complete("Once upon a time", formatted=True, max_tokens=1).raw["usage"]["prompt_tokens"]
    assert counter.get_string_tokens("Once upon a time") == prompt


def test_a_shared_folder_of_names_is_no_package() -> None:
    """`llama_index` belongs to llama-index-core: an `__init__` beside ours would hide it."""
    llms = Path(specdec_llm.__file__).parent.parent
    assert [path for path in (llms, llms.parent) if (path / "__init__.py").exists()] == []


def test_one_engine_for_all_of_the_same_name(bundled: SpecDec) -> None:
    assert SpecDec().engine is bundled.engine


def test_an_engine_of_one_s_own(scripted: ScriptedEngine) -> None:
    llm = SpecDec(engine=scripted)
    assert llm.engine is scripted
    assert (llm.model, llm.draft) == ("scripted", "scripted-draft")


def test_copies_share_the_engine(llm: SpecDec) -> None:
    for other in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy(deep=True)):
        assert other.engine is llm.engine


def test_pickles_leave_the_engine_behind(bundled: SpecDec) -> None:
    pickled = pickle.dumps(bundled)
    assert len(pickled) < 10_000
    other = pickle.loads(pickled)
    assert other.engine is bundled.engine
    assert (other.temperature, other.max_tokens) == (0, 120)


def test_goes_through_a_dict(bundled: SpecDec) -> None:
    other = SpecDec.from_dict(bundled.to_dict())
    assert other.to_dict() == bundled.to_dict()
    assert SpecDec.from_json(bundled.to_json()).engine is bundled.engine


def test_the_framework_loads_what_was_written_down(bundled: SpecDec) -> None:
    """Its tables have our classes once these are imported."""
    loaded = load_llm(bundled.to_dict())
    assert isinstance(loaded, SpecDec) and loaded.engine is bundled.engine
    encoder = load_embed_model(SpecDecEmbedding("b", dimensions=3).to_dict())
    assert isinstance(encoder, SpecDecEmbedding) and (encoder.model_name, encoder.dimensions) == ("b", 3)


def test_can_be_the_default(llm: SpecDec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_llm", None)
    Settings.llm = llm
    assert Settings.llm is llm
    assert isinstance(llm, LLM)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": -1}, "temperature is -1.0; expected a number from 0 to 100"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"speculative": 99}, "speculative is 99"),
        ({"stop": ""}, "stop is ''"),
        ({"temprature": 0}, "temprature"),
    ],
)
def test_wrong_fields_are_refused_by_name(scripted: ScriptedEngine, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SpecDec(engine=scripted, **fields)


def test_a_target_that_is_not_there() -> None:
    with pytest.raises(CheckpointNotFound, match="nowhere"):
        SpecDec("./nowhere")


def test_importing_it_is_light() -> None:
    program = "import llama_index.llms.specdec, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "llama_index.core.llms" in modules
    assert not modules & HEAVY
