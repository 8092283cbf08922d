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
from specdec.types import Message, RequestOptions

PAIRS = (
    ("engine.stream", "chat"),
    ("engine.stream", "stream_chat"),
    ("engine.astream", "achat"),
    ("engine.astream", "astream_chat"),
)
Form = Callable[[str], object]


def forms(llm: SpecDec) -> dict[str, Form]:
    """The ways to have a prompt answered."""
    engine, wait = llm.engine, asyncio.new_event_loop().run_until_complete
    sampling: RequestOptions = {"temperature": llm.temperature, "max_tokens": llm.max_tokens}

    async def events(prompt: str) -> None:
        async for _ in engine.astream([Message("user", prompt)], **sampling):
            pass

    async def responses(prompt: str) -> None:
        async for _ in await llm.astream_chat([ChatMessage(prompt)]):
            pass

    return {
        "engine.stream": lambda prompt: list(engine.stream([Message("user", prompt)], **sampling)),
        "engine.astream": lambda prompt: wait(events(prompt)),
        "chat": lambda prompt: llm.chat([ChatMessage(prompt)]),
        "stream_chat": lambda prompt: list(llm.stream_chat([ChatMessage(prompt)])),
        "achat": lambda prompt: wait(llm.achat([ChatMessage(prompt)])),
        "astream_chat": lambda prompt: wait(responses(prompt)),
    }


def seconds(form: Form, prompt: str) -> float:
    start = time.perf_counter()
    form(prompt)
    return time.perf_counter() - start


def ratios(llm: SpecDec, prompts: list[str], repeats: int) -> dict[str, list[float]]:
    """Of each form of the class, one a prompt and repeat."""
    ways, found = forms(llm), defaultdict[str, list[float]](list)
    for repeat in range(-1, repeats):  # the first round is not counted: it fills the prefix cache
        for prompt in prompts:
            order = list(ways) if repeat % 2 else list(reversed(ways))
            took = {name: seconds(ways[name], prompt) for name in order}
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
