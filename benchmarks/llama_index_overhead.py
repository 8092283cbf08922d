"""What LlamaIndex's class costs over the bare engine, in tokens/s.

    python -m benchmarks.llama_index_overhead --repeats 10

The bare engine and each form of the class answer the same prompts greedily, so with the same tokens, one after another
and in an order that turns around each time. A ratio is the class's tokens/s over the engine's, for whole calls, prefill
included; shown is the median over prompts and repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

from llama_index.core.llms import ChatMessage

from llama_index.llms.specdec import SpecDec
from specdec.bench.prompts import built_in

PAIRS = (
    ("engine.stream", "chat"), ("engine.stream", "stream_chat"),
    ("engine.astream", "achat"), ("engine.astream", "astream_chat"),
)  # fmt: skip
Form = Callable[[str], None]


class Forms:
    """The ways to have a prompt answered."""

    def __init__(self, llm: SpecDec) -> None:
        self._llm, self._engine, self._loop = llm, llm.engine, asyncio.new_event_loop()
        self._sampling = {"temperature": llm.temperature, "max_tokens": llm.max_tokens}

    def named(self) -> dict[str, Form]:
        wait = self._loop.run_until_complete
        return {
            "engine.stream": self._events,
            "engine.astream": lambda prompt: wait(self._aevents(prompt)),
            "chat": lambda prompt: void(self._llm.chat([ChatMessage(prompt)])),
            "stream_chat": lambda prompt: void(list(self._llm.stream_chat([ChatMessage(prompt)]))),
            "achat": lambda prompt: void(wait(self._llm.achat([ChatMessage(prompt)]))),
            "astream_chat": lambda prompt: wait(self._aresponses(prompt)),
        }

    def _events(self, prompt: str) -> None:
        for _ in self._engine.stream([{"role": "user", "content": prompt}], **self._sampling):
            pass

    async def _aevents(self, prompt: str) -> None:
        async for _ in self._engine.astream([{"role": "user", "content": prompt}], **self._sampling):
            pass

    async def _aresponses(self, prompt: str) -> None:
        async for _ in await self._llm.astream_chat([ChatMessage(prompt)]):
            pass


def void(_: object) -> None:
    """Nobody wants the answer."""


def seconds(form: Form, prompt: str) -> float:
    start = time.perf_counter()
    form(prompt)
    return time.perf_counter() - start


def ratios(llm: SpecDec, prompts: list[str], repeats: int) -> dict[str, list[float]]:
    """Of each form of the class, one a prompt and repeat."""
    forms, found = Forms(llm).named(), defaultdict[str, list[float]](list)
    for repeat in range(-1, repeats):  # the first round is not counted: it fills the prefix cache
        for prompt in prompts:
            order = list(forms) if repeat % 2 else list(reversed(forms))
            took = {name: seconds(forms[name], prompt) for name in order}
            for bare, form in PAIRS if repeat >= 0 else ():
                found[form].append(took[bare] / took[form])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", default="bundled")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--max-tokens", type=int, default=128)
    options = parser.parse_args()
    llm = SpecDec(options.target, options.draft, temperature=0, max_tokens=options.max_tokens)
    prompts = [p.messages[0].content or "" for p in built_in(["story", "copy"])]
    for form, values in ratios(llm, prompts, options.repeats).items():
        print(f"{form:14} {statistics.median(values):.3f}  (promised: 0.97 or more)")


if __name__ == "__main__":
    main()
