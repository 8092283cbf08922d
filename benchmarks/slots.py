"""What the host does for a token, by how many requests run at once, where models cost next to nothing.

    python -m benchmarks.slots [--device] [--slots 64] [--draft auto] [--temperature 0.8]

The target has one layer of 32 numbers and the bundled tokenizer, and drafts for itself. With --device rounds are those
of a GPU, without one: nothing is computed, each round has random tokens and half of its drafts are accepted, so all
that is left is what the host does. Microseconds are CPU time of the engine's thread, the least of several runs; calls
are those of functions whose file lies in this checkout. Of a request is what it takes to begin and end with one token;
of a token what each further one takes.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest import mock

os.environ.setdefault("TRITON_INTERPRET", "1")  # nothing of Triton runs here

import torch
from torch import Tensor

from specdec.bundled import path
from specdec.decoding.assembly import assemble, load_local
from specdec.decoding.rounds import device
from specdec.decoding.rounds.kinds import RoundKind
from specdec.drafters.model import DraftModelDrafter
from specdec.engine import Engine
from specdec.models import families
from specdec.models.base import Batch, Pass
from specdec.models.eager import model as eager
from specdec.models.graphs import Graphs
from specdec.models.triton.model import TritonModel
from specdec.models.weights.checkpoint import Safetensors, read_config
from specdec.text.tokenizer import Tokenizer
from specdec.types import GenerationEvent, LoadOptions, Request, SamplingParams, Speculative

ROOT = f"{Path(__file__).resolve().parents[1]}/"
SLOTS = (1, 4, 16, 64)
DRAFTS: tuple[Speculative, ...] = ("off", 4, "auto")
PROMPT, TOKENS, REPEATS = 30, 64, 3
CONTEXT = 512


class StillModel(TritonModel):
    """A GPU's model that says nothing, at once."""

    def _pass(self, batch: Batch) -> Pass:
        return Pass(torch.zeros(len(batch.slots), batch.keep, self.info.vocab_size))


class StillRounds(device.DeviceRounds):
    """A GPU's rounds, with random tokens and half of the drafts accepted."""

    def _round(self, inputs: Tensor, kind: RoundKind) -> Tensor:
        rows = torch.randint(3, self._target.info.vocab_size, (inputs.shape[1], 2 * kind.drafts + 2))
        rows[:, kind.drafts + 1] = inputs[1] // 2
        return torch.cat([rows.flatten(), torch.zeros(3, dtype=torch.int64)])


def write_tiny(folder: Path) -> Path:
    """The target's checkpoint."""
    from transformers import LlamaConfig, LlamaForCausalLM

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(path("target") / name, folder / name)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(path("target"))
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 1, 32, 32
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 2, 1, 16
    LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder


def load(folder: Path, slots: int, draft: Speculative, *, on_device: bool) -> Engine:
    """An engine over the tiny target, which drafts for itself."""
    name = "none" if draft == "off" else str(folder)
    options = LoadOptions(
        str(folder), name, device="cpu", context=CONTEXT, slots=slots, prefix_cache_bytes=0, remember=0
    )
    if not on_device:
        return load_local(options, lambda _stage, _fraction: None)
    family = families.describe(read_config(folder))
    assert family is not None

    def still() -> TritonModel:
        inner = eager.load(
            Safetensors(folder),
            family,
            name="tiny",
            device=torch.device("cpu"),
            dtype=torch.float32,
            context=CONTEXT,
            slots=slots,
        )
        return StillModel(inner, Graphs(capture=False))

    target = still()
    drafter = None if draft == "off" else DraftModelDrafter.over(still(), target)
    with mock.patch.object(device, "DeviceRounds", StillRounds):
        return assemble(options, target, drafter, Tokenizer.load(folder), eos_ids=frozenset())


def run(engine: Engine, count: int, tokens: int, draft: Speculative, temperature: float) -> float:
    """Seconds of the engine's thread for so many requests at once, from the first event to the last."""
    marks: list[float] = []
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def deliver(event: GenerationEvent | BaseException) -> None:
        marks.append(time.thread_time())
        if isinstance(event, BaseException):
            ended.put(event)
        elif event.end is not None:
            ended.put(None)

    for number in range(count):
        prompt = tuple(range(10 + number, 10 + number + PROMPT))
        sampling = SamplingParams(max_tokens=tokens, temperature=temperature, seed=number, ignore_eos=True)
        engine.submit(Request(prompt, sampling, speculative=draft, remember=False), deliver)
    for _ in range(count):
        if (error := ended.get()) is not None:
            raise error
    return marks[-1] - marks[0]


@dataclass
class CallCounter:
    """Counts those of our own functions in the engine's thread."""

    count: int = 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        begins = event == "call" and frame.f_lineno == code.co_firstlineno  # a generator goes on further down
        named = not code.co_name.startswith("<") or code.co_name == "<lambda>"
        if begins and named and code.co_filename.startswith(ROOT):
            self.count += threading.current_thread().name == "specdec-worker"


@contextmanager
def counting() -> Iterator[CallCounter]:
    """In threads that begin within."""
    calls = CallCounter()
    before = threading.getprofile()
    threading.setprofile(calls)
    try:
        yield calls
    finally:
        threading.setprofile(before)


@dataclass(frozen=True)
class HostWork:
    """What one request, and each token after its first, takes."""

    request: float
    token: float


def measured(spend: Callable[[int], float], count: int, tokens: int = TOKENS) -> HostWork:
    """`spend(n)`: what so many requests of n tokens take."""
    one, many = spend(1), spend(tokens)
    return HostWork(one / count, (many - one) / (count * (tokens - 1)))


def calls_of(folder: Path, slots: int, draft: Speculative, temperature: float, *, on_device: bool) -> HostWork:
    """CallCounter of our own functions."""
    with counting() as calls, load(folder, slots, draft, on_device=on_device) as engine:

        def spend(tokens: int) -> float:
            before = calls.count
            run(engine, slots, tokens, draft, temperature)
            return calls.count - before

        spend(2)
        return measured(spend, slots)


def seconds_of(folder: Path, slots: int, draft: Speculative, temperature: float, *, on_device: bool) -> HostWork:
    """CPU time of the engine's thread."""
    with load(folder, slots, draft, on_device=on_device) as engine:
        run(engine, slots, 2, draft, temperature)
        return measured(
            lambda tokens: min(run(engine, slots, tokens, draft, temperature) for _ in range(REPEATS)), slots
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", action="store_true", help="rounds of a GPU, without one")
    parser.add_argument("--slots", type=int, action="append", help="repeatable; default 1, 4, 16 and 64")
    parser.add_argument("--draft", action="append", help="off, auto or a number; repeatable; default off, 4 and auto")
    parser.add_argument("--temperature", type=float, action="append", help="repeatable; default 0 and 0.8")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'draft':<6}{'temperature':>12}{'slots':>7}{'us a request':>14}{'a token':>9}{'calls':>8}{'a token':>9}")
    with tempfile.TemporaryDirectory() as folder:
        tiny = write_tiny(Path(folder))
        for name in asked.draft or DRAFTS:
            draft: Speculative = name
            with suppress(ValueError):
                draft = int(name)
            for temperature in asked.temperature or (0.0, 0.8):
                for slots in asked.slots or SLOTS:
                    given = tiny, slots, draft, temperature
                    took = seconds_of(*given, on_device=asked.device)
                    calls = calls_of(*given, on_device=asked.device)
                    print(
                        f"{draft:<6}{temperature:>12.1f}{slots:>7}{took.request * 1e6:>14.0f}"
                        f"{took.token * 1e6:>9.1f}{calls.request:>8.0f}{calls.token:>9.1f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
