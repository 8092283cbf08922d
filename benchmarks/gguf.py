"""A GGUF file on a CPU: llama-cpp-python's own generate, this engine plain, and with drafts on an edit, in turns.

python -m benchmarks.gguf FILE [--rounds 8] [--tokens 64]

With OMP_NUM_THREADS=1 times are the processor's, so that other programs matter little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from llama_cpp import Llama

import specdec
from specdec import Message
from specdec.text.tokenizer import Tokenizer
from specdec.types import Speculative

TEXT = (
    "The ferry leaves the north pier at 9:40 and comes back at 17:15. On Sundays it leaves an hour later. "
    "Tickets cost 12 euros for adults and 6 euros for children. Dogs travel free, but have to stay on deck. "
    "The café on board sells soup, bread and coffee until 16:30."
)
STORY = (Message("user", "Write a short story about a fox who learns to swim."),)
EDIT = (Message("user", f"Repeat this text exactly, but write 10 euros instead of 12 euros:\n\n{TEXT}"),)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--rounds", type=int, default=8)
    arguments.add_argument("--tokens", type=int, default=64)
    given = arguments.parse_args()
    threads = torch.get_num_threads()
    # one thread's own time says the same beside other programs
    clock = time.process_time if threads == 1 else time.perf_counter
    tokenizer = Tokenizer.load(given.file)
    options = {"n_ctx": 2048, "n_threads": threads, "n_threads_batch": threads, "verbose": False}
    theirs = {fa: Llama(str(given.file), flash_attn=fa, **options) for fa in (False, True)}
    with specdec.load(given.file, slots=1, context=2000) as engine:

        def library(fa: bool) -> Callable[[], float]:
            prompt = tokenizer.chat(STORY).tokens

            def run() -> float:
                begun, count, model = 0.0, 0, theirs[fa]
                for count, _ in enumerate(model.generate(prompt, temp=0.0, repeat_penalty=1.0)):
                    begun = begun or clock()
                    if count == given.tokens:
                        break
                return count / (clock() - begun)

            return run

        def ours(chat: tuple[Message, ...], speculative: Speculative, prediction: str | None) -> float:
            begun, first, count = 0.0, 0, 0
            request = specdec.Request.of(
                chat,
                temperature=0.0,
                max_tokens=given.tokens + 1,
                ignore_eos=True,
                speculative=speculative,
                prediction=prediction,
                remember=False,
            )
            for event in engine.stream(request):
                count += len(event.tokens)
                if not begun:
                    begun, first = clock(), count
            return (count - first) / (clock() - begun)

        ways: dict[str, Callable[[], float]] = {
            "llama-cpp-python": library(False),
            "llama-cpp-python, flash attention": library(True),
            "specdec, plain": lambda: ours(STORY, "off", None),
            "edit, plain": lambda: ours(EDIT, "off", None),
            "edit, auto": lambda: ours(EDIT, "auto", None),
            "edit, auto, prediction": lambda: ours(EDIT, "auto", TEXT),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(given.rounds + 1):
            for name, way in ways.items():
                found[name].append(way())
    print(f"tokens per second, {threads} threads, {given.rounds} rounds: median (least to most)")
    for name, rates in found.items():
        kept = rates[1:]  # the first warms up
        print(f"  {name:36}{statistics.median(kept):8.1f} ({min(kept):.1f} to {max(kept):.1f})")


if __name__ == "__main__":
    main()
