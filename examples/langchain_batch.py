"""Sixteen prompts at once: they share the engine's rounds, so together they take far less than one after the other.

python examples/langchain_batch.py
python examples/langchain_batch.py --target ./my-model --draft ./my-small-model --slots 8
"""

from __future__ import annotations

import argparse
import asyncio
import time

from langchain_specdec import ChatSpecDec

ANIMALS = ("fox", "bear", "hen", "cat", "dog", "frog", "duck", "horse")
THINGS = ("bell", "kite")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--slots", type=int, default=16)
    args = parser.parse_args()

    model = ChatSpecDec(model=args.target, draft=args.draft, slots=args.slots, temperature=0.7, max_tokens=60)
    await model.ainvoke("hello")  # loads the model
    prompts = [f"Tell me a story about a {animal} and a {thing}." for animal in ANIMALS for thing in THINGS]
    start = time.perf_counter()
    messages = await model.abatch([*prompts])
    seconds = time.perf_counter() - start
    for prompt, message in zip(prompts, messages, strict=True):
        first_line = message.text.strip().partition("\n")[0]
        print(f"{prompt[22:-1]}: {first_line.split('. ')[0].rstrip('.')}.")
    tokens = sum(m.usage_metadata["output_tokens"] for m in messages if m.usage_metadata)
    print(f"{len(messages)} answers, {tokens} tokens, {tokens / seconds:.0f} tokens/s together")


if __name__ == "__main__":
    asyncio.run(main())
