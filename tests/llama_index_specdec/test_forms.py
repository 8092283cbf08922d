"""The eight forms of chat and complete: the same answer from each, with its figures."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse

from llama_index.llms.specdec import SpecDec
from specdec.types import Grammar, Message
from tests.fakes import SCRIPT, ScriptedEngine

HELLO = [ChatMessage("Hello! Who are you?")]
STORY = "Tell me a story about a fox."
Response = ChatResponse | CompletionResponse


def text_of(response: Response) -> str | None:
    return response.text if isinstance(response, CompletionResponse) else response.message.content


async def gathered(responses: AsyncIterable[Response]) -> list[Response]:
    return [response async for response in responses]


async def every_form(llm: SpecDec, **options: Any) -> list[list[Response]]:
    """The same question through each form: the whole answers as lists of one."""
    chat, prompt = HELLO, HELLO[0].content or ""
    streams: list[Iterable[Response]] = [
        llm.stream_chat(chat, **options),
        llm.stream_complete(prompt, **options),
    ]
    return [
        [llm.chat(chat, **options)],
        [llm.complete(prompt, **options)],
        [await llm.achat(chat, **options)],
        [await llm.acomplete(prompt, **options)],
        *map(list, streams),
        await gathered(await llm.astream_chat(chat, **options)),
        await gathered(await llm.astream_complete(prompt, **options)),
    ]


async def test_every_form_says_the_same(bundled: SpecDec) -> None:
    forms = await every_form(bundled)
    texts = {text_of(form[-1]) for form in forms}
    assert len(texts) == 1
    assert "language model" in (texts.pop() or "")


async def test_streams_add_up(bundled: SpecDec) -> None:
    for form in (await every_form(bundled, speculative=2))[4:]:  # a good draft gives few, long pieces
        assert len(form) > 3
        so_far = ""
        for response in form:
            so_far += response.delta or ""
            assert text_of(response) == so_far


async def test_only_the_last_response_sums_up(bundled: SpecDec) -> None:
    for form in await every_form(bundled):
        *before, last = form
        assert all(r.raw is None and "speculative" not in r.additional_kwargs for r in before)
        assert last.raw is not None
        assert last.raw["finish_reason"] == "stop"
        assert last.raw["usage"]["completion_tokens"] == last.additional_kwargs["completion_tokens"] > 3
        assert last.additional_kwargs["speculative"]["rounds"] > 0


async def test_whole_answers_have_no_delta(llm: SpecDec) -> None:
    forms = await every_form(llm)
    assert [form[0].delta for form in forms[:4]] == [None] * 4


def test_figures_are_the_engine_s(llm: SpecDec) -> None:
    response = llm.complete(STORY)
    figures = response.additional_kwargs
    assert figures["speculative"]["drafted"] == figures["speculative"]["accepted"] > 0
    assert figures["speculative"]["acceptance_rate"] == 1
    assert figures["speculative"]["drafters"].keys() == {"model"}
    assert figures["timing"]["tokens_per_second"] > 0
    assert response.raw is not None
    assert response.raw["usage"] == {
        "prompt_tokens": len(STORY),
        "completion_tokens": len(SCRIPT),
        "total_tokens": len(STORY) + len(SCRIPT),
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_says_when_speculation_was_off(llm: SpecDec) -> None:
    assert llm.complete(STORY, speculative="off").additional_kwargs["speculative"]["off_reason"]


def test_a_prompt_becomes_one_turn_of_a_chat(llm: SpecDec, scripted: ScriptedEngine) -> None:
    llm.complete(STORY)
    assert scripted.requests[-1].prompt == (Message("user", STORY),)


def test_a_formatted_prompt_is_continued(llm: SpecDec, scripted: ScriptedEngine) -> None:
    llm.complete(STORY, formatted=True)
    assert scripted.requests[-1].prompt == STORY


def test_a_call_s_own_parameters_come_first(scripted: ScriptedEngine) -> None:
    llm = SpecDec(engine=scripted, temperature=0.5, seed=3, min_tokens=2)
    llm.complete(STORY, temperature=0.1, stop=["."], prediction="Once")
    sampling = scripted.requests[-1].sampling
    assert (sampling.temperature, sampling.seed, sampling.min_tokens, sampling.stop) == (0.1, 3, 2, (".",))
    assert scripted.requests[-1].prediction == "Once"


def test_cut_answers_say_so(bundled: SpecDec) -> None:
    response = bundled.complete(STORY, max_tokens=5)
    assert response.raw is not None
    assert (response.raw["finish_reason"], response.raw["usage"]["completion_tokens"]) == ("length", 5)


def test_stop_strings_stop(bundled: SpecDec) -> None:
    whole = bundled.complete(STORY).text
    stop = whole[20:26]
    *_, last = bundled.stream_complete(STORY, stop=[stop])
    assert last.text == whole[: whole.index(stop)]
    assert last.raw is not None
    assert last.raw["stop"] == stop


def test_seeds_decide(bundled: SpecDec) -> None:
    first, again = (bundled.complete(STORY, temperature=1, seed=5).text for _ in range(2))
    assert first == again != bundled.complete(STORY, temperature=1, seed=6).text


def test_logprobs(bundled: SpecDec) -> None:
    response = bundled.chat(HELLO, logprobs=2)
    assert response.logprobs is not None
    own, first, second = response.logprobs[0]
    assert "".join(position[0].token for position in response.logprobs) == response.message.content
    assert 0 >= own.logprob == first.logprob > second.logprob


def test_logprobs_have_each_tokens_own_bytes(bundled: SpecDec) -> None:
    text = "Hi 😊 é"
    response = bundled.chat(HELLO, grammar=Grammar.choice([text]), logprobs=3)
    assert response.logprobs is not None
    assert bytes(b for own, *_ in response.logprobs for b in own.bytes) == text.encode()
    assert (r"\xc3", [0xC3]) in [(own.token, own.bytes) for own, *_ in response.logprobs]
    for each in (each for position in response.logprobs for each in position):
        assert bytes(each.bytes).decode(errors="backslashreplace") == each.token


@pytest.mark.parametrize("option", ["temprature", "callbacks"])
def test_unknown_parameters_are_refused(llm: SpecDec, option: str) -> None:
    with pytest.raises(ValueError, match=option):
        llm.complete(STORY, **{option: 1})
