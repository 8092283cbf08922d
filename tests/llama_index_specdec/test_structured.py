"""Structured prediction: whole and streamed, sync and async, and through the framework's structured LLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, Field, SecretStr, field_validator

from llama_index.llms.specdec import SpecDec
from tests.fakes import call
from tests.llama_index_specdec.scripts import SeveralScripts, chat_of


class Person(BaseModel):
    name: str
    age: int
    city: str


MARA = Person(name="Mara", age=31, city="Lisbon")
TEXT = "Mara is 31 years old and lives in Lisbon."
PROMPT = PromptTemplate("{text}")


async def test_the_four_forms(bundled: SpecDec) -> None:
    streamed = list(bundled.stream_structured_predict(Person, PROMPT, text=TEXT))
    astreamed = [p async for p in await bundled.astream_structured_predict(Person, PROMPT, text=TEXT)]
    assert bundled.structured_predict(Person, PROMPT, text=TEXT) == MARA
    assert await bundled.astructured_predict(Person, PROMPT, text=TEXT) == MARA
    assert streamed[-1] == astreamed[-1] == MARA
    assert len(streamed) > 2


def test_streams_grow(bundled: SpecDec) -> None:
    parts = [p.model_dump(exclude_none=True) for p in bundled.stream_structured_predict(Person, PROMPT, text=TEXT)]
    sizes = [len(json.dumps(part)) for part in parts]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


@pytest.mark.filterwarnings("ignore:The `json` method")  # which the framework calls
async def test_as_structured_llm(bundled: SpecDec) -> None:
    structured = bundled.as_structured_llm(Person)
    *_, streamed = structured.stream_chat([ChatMessage(TEXT)])
    for response in (
        structured.chat([ChatMessage(TEXT)]),
        await structured.achat([ChatMessage(TEXT)]),
        structured.complete(TEXT),
        await structured.acomplete(TEXT),
        streamed,
        [r async for r in await structured.astream_chat([ChatMessage(TEXT)])][-1],
    ):
        assert response.raw == MARA


class Leaf(BaseModel):
    kind: str = Field(pattern="^(oak|elm)$")
    sizes: list[Literal[1, 2, 3]] = Field(max_length=3)
    note: str | None = Field(max_length=20)


def test_the_form_holds_whatever_the_model_thinks(bundled: SpecDec) -> None:
    """At temperature 1, for a question that has nothing to do with it."""
    for seed in range(3):
        leaf = bundled.structured_predict(
            Leaf, PROMPT, {"temperature": 1, "seed": seed, "max_tokens": 1500}, text="Tell me a story."
        )
        assert leaf.kind in ("oak", "elm")


def scripted_llm(*scripts: Any, **fields: Any) -> SpecDec:
    return SpecDec(engine=SeveralScripts(*scripts), **fields)


def test_a_cut_answer_is_no_answer() -> None:
    llm = scripted_llm(['{"na', 'me": "Ma', "ra"], ['{"na', 'me": "Ma', "ra"])
    with pytest.raises(ValueError, match="max_tokens is 2; expected enough for the whole Person"):
        llm.structured_predict(Person, PROMPT, {"max_tokens": 2}, text=TEXT)
    with pytest.raises(ValueError, match="max_tokens is 2"):
        list(llm.stream_structured_predict(Person, PROMPT, {"max_tokens": 2}, text=TEXT))


class Adult(Person):
    @field_validator("age")
    @classmethod
    def grown(cls, age: int) -> int:
        if age < 18:
            raise ValueError("not grown up")
        return age


def test_the_class_s_own_validators_have_the_last_word() -> None:
    child = '{"name": "Tom", "age": 12, "city": "Oslo"}'
    llm = scripted_llm(child, child)
    with pytest.raises(ValueError, match="not grown up"):
        llm.structured_predict(Adult, PROMPT, text=TEXT)
    with pytest.raises(ValueError, match="not grown up"):
        list(llm.stream_structured_predict(Adult, PROMPT, text=TEXT))


class Kept(BaseModel):
    marks: set[Literal["new", "used"]] = Field(max_length=3)
    secret: SecretStr = Field(max_length=8)
    folder: Path = Field(json_schema_extra={"maxLength": 8})
    raw: bytes = Field(max_length=8)
    code: str = Field(json_schema_extra={"pattern": "^(?=[ab])[a-d]{1,4}$"})


def test_classes_whose_schemas_cannot_be_enforced_as_a_whole(bundled: SpecDec) -> None:
    kept = bundled.structured_predict(Kept, PROMPT, text=TEXT)
    assert isinstance(kept, Kept)
    assert kept.marks <= {"new", "used"}
    assert set(kept.code) <= set("abcd")


def test_a_schema_that_is_wrong_is_refused(bundled: SpecDec) -> None:
    class Odd(BaseModel):
        value: dict[str, Any] = Field(json_schema_extra={"type": "thing"})

    with pytest.raises(ValueError, match="expected a JSON schema that can be enforced"):
        bundled.structured_predict(Odd, PROMPT, text=TEXT)
    assert bundled.structured_predict(Person, PROMPT, text=TEXT) == MARA


def test_the_framework_s_own_programs_can_be_asked_for() -> None:
    by_function = scripted_llm(call("Person", MARA.model_dump()), pydantic_program_mode=PydanticProgramMode.FUNCTION)
    by_text = scripted_llm(MARA.model_dump_json(), pydantic_program_mode=PydanticProgramMode.LLM)
    for llm in (by_function, by_text):
        assert llm.structured_predict(Person, PROMPT, text=TEXT) == MARA


def test_system_prompts_go_first() -> None:
    llm = scripted_llm(MARA.model_dump_json(), system_prompt="Be exact.")
    llm.structured_predict(Person, PROMPT, text=TEXT)
    first, second = chat_of(llm)
    assert (first.role, first.content) == ("system", "Be exact.")
    assert TEXT in (second.content or "")
