"""How fast a pair of real sizes decodes on this GPU, beside what its memory allows and beside transformers.

    python -m benchmarks.gpu --sizes 8b --json gpu.json
    python -m benchmarks.gpu --sizes tiny --device cpu        # the same at sizes that a CPU can bear

Builds the pair (`benchmarks.shapes`; nothing is fetched), checks that its function is that of the small models, then
measures everything in one run. Tokens are counted by id; a speed is that of decoding, after the first token.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch

from benchmarks.shapes import PAIRS, Embedded, Size
from specdec.bench.prompts import built_in
from specdec.bundled import path as bundled
from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.drafters.model import DraftModelDrafter
from specdec.engine import Progress
from specdec.models import families
from specdec.models.base import Batch, Model, ModelOptions
from specdec.models.eager import model as eager
from specdec.models.loading import load_model, with_kernels
from specdec.models.triton.model import TritonModel
from specdec.models.weights.layers import ModelWeights, Quantization
from specdec.text.tokenizer import Tokenizer
from specdec.types import Completion, LoadOptions, RequestOptions, SpecStats, Speculative
from specdec.types.load import Quantize

CONTEXT = 2048
LENGTHS = (1, 2, 3, 4, 5, 6, 8)
CALLS = 8
_BETWEEN = 1.0
"""Seconds after an answer that warms up."""


@dataclass(frozen=True, slots=True)
class Work:
    """What every system is given: prompts, and how many tokens to answer each with."""

    prompts: Sequence[list[int]]
    tokens: int


@dataclass(frozen=True, slots=True)
class Row:
    """One measured system, means over all prompts."""

    system: str
    temperature: float
    tokens_per_second: float
    acceptance_length: float = 1.0
    draft_ms: float = 0.0
    verify_ms: float = 0.0
    same_text: bool | None = None
    """Whether every text was that of plain decoding."""

    @property
    def of_possible(self) -> float:
        """Of what acceptance and measured times of drafting and verifying allow."""
        milliseconds = self.draft_ms + self.verify_ms
        return self.tokens_per_second * milliseconds / 1000 / self.acceptance_length if milliseconds else 0.0


def load_pair(
    name: str, device: torch.device, dtype: torch.dtype, slots: int, quantize: Quantize | None = None
) -> tuple[Model, Model]:
    target, draft = PAIRS[name]
    return (
        load(target, "target", device, dtype, slots, quantize=quantize),
        load(draft, "draft", device, dtype, slots, quantize=quantize),
    )


def shaped(name: str, slots: int, *, progress: Progress) -> LocalEngine:  # noqa: ARG001  (a process's factory)
    """An engine over such a pair on the GPU, for a process of its own."""
    target, draft = load_pair(name, torch.device("cuda"), torch.bfloat16, slots)
    tokenizer, drafter = Tokenizer.load(bundled("target")), DraftModelDrafter.over(draft, target)
    return assemble(LoadOptions(PAIRS[name][0].like, remember=0), target, drafter, tokenizer, eos_ids=frozenset())


def load(
    size: Size,
    role: str,
    device: torch.device,
    dtype: torch.dtype,
    slots: int,
    *,
    context: int = CONTEXT,
    hostile: bool = False,
    quantize: Quantize | None = None,
    quantize_head: bool = False,
) -> Model:
    """A model of such a size, by kernels where there is a GPU. With `quantize_head` the head has 8 bits."""
    source = Embedded(bundled(role), size, device, hostile=hostile)  # type: ignore[arg-type]
    if cuda := device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # as for every model that is loaded
    family = families.describe(source.config)
    assert family is not None
    options = ModelOptions(name=size.like, device=device, dtype=dtype, context=context, slots=slots)
    model = eager.load(source, family, Quantization(to=quantize, head=quantize_head), **options)
    return with_kernels(model) if cuda else model


def equal_share(model: Model, role: str, prompts: Sequence[list[int]]) -> float:
    """How often the large model's most likely token is that of the small one, over all positions of the prompts."""
    small = load_model(bundled(role), device=model.info.device, dtype=model.info.dtype, context=CONTEXT)  # type: ignore[arg-type]
    equal = []
    for ids in prompts:
        tokens = torch.tensor([ids], device=model.info.device)
        large, true = (r.run(Batch(tokens, [0], [0], len(ids))).logits.argmax(-1) for r in (model, small))
        equal.append((large == true).float().mean().item())
    return statistics.mean(equal)


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second, read and written, of a large copy."""
    size = (1 << 30) if device.type == "cuda" else (1 << 27)
    a = torch.empty(size // 4, dtype=torch.float32, device=device)
    b = torch.empty_like(a)
    return 2 * size / median(lambda: b.copy_(a), device)


def median(run: Callable[[], object], device: torch.device, repeats: int = 9) -> float:
    """Seconds that `run` takes."""
    seconds = []
    for _ in range(repeats + 2):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def read_bytes(model: Model) -> int:
    """Of weights, for one pass: all of them but the embedding, of which a row is read."""
    return model.info.weight_bytes - _weights(model).embedding.nbytes


def _weights(model: Model) -> ModelWeights:
    inner: Any = getattr(model, "inner", model)
    return cast("ModelWeights", inner.weights)


def pass_ms(model: Model, rows: int, sequences: int = 1, held: int = 400) -> float:
    """One pass over `rows` tokens of each of some sequences, behind those that are `held`; on a GPU the graph alone."""
    tokens = torch.randint(3, 8000, (sequences, rows), device=model.info.device)
    batch = Batch(tokens, list(range(sequences)), [held] * sequences, rows)
    graphs: Any = getattr(model, "graphs", None)
    model.run(batch)
    while model.prepare():  # the graph that it missed
        pass
    model.run(batch)
    shape = model.shape_of(batch) if isinstance(model, TritonModel) else None

    def once() -> object:
        if shape is None:
            return model.run(batch).logits
        assert shape in graphs
        return graphs.run(shape, lambda: None)  # with the inputs that it was last given

    repeats = 20 if graphs else 1
    return median(lambda: [once() for _ in range(repeats)], model.info.device) / repeats * 1000


def measure(
    engine: LocalEngine,
    work: Work,
    system: str,
    temperature: float,
    speculative: Speculative,
    plain: Sequence[Completion] | None,
) -> tuple[Row, list[Completion]]:
    options: RequestOptions = {"temperature": temperature, "seed": 11, "speculative": speculative}
    options |= {"max_tokens": work.tokens, "ignore_eos": True}
    for ids in work.prompts:  # `auto` needs graphs of many lengths, and they are made between answers
        engine.generate(ids, **options)
        time.sleep(_BETWEEN)
    streams = [list(engine.stream(ids, **options)) for ids in work.prompts]
    rounds = [e.round for events in streams for e in events if e.round]
    found = [Completion.of(events) for events in streams]
    row = Row(
        system,
        temperature,
        _speed(found),
        SpecStats.of_all(a.stats for a in found).acceptance_length or 1.0,
        statistics.mean(r.draft_seconds for r in rounds) * 1000,
        statistics.mean(r.verify_seconds for r in rounds) * 1000,
        None if plain is None else [a.token_ids for a in found] == [a.token_ids for a in plain],
    )
    return row, found


def _speed(found: Sequence[Completion]) -> float:
    tokens = sum(len(a.tokens) - 1 for a in found)
    return tokens / sum(a.timing.total - a.timing.ttft for a in found)


def ours(engine: LocalEngine, work: Work, lengths: Sequence[int]) -> Iterator[Row]:
    for temperature in (0.0, 0.8):
        plain, texts = measure(engine, work, "plain", temperature, "off", None)
        yield plain
        for k in lengths:
            yield measure(engine, work, f"speculative, k={k}", temperature, k, texts)[0]
        yield measure(engine, work, "speculative, auto", temperature, "auto", texts)[0]


def together(engine: LocalEngine, work: Work, count: int) -> tuple[float, float]:
    """Tokens per second of `count` plain answers at once: while all are being written, and from the first prompt on."""

    def one(index: int) -> list[float]:
        ids, times = work.prompts[index % len(work.prompts)], []
        for event in engine.stream(ids, max_tokens=work.tokens, ignore_eos=True, temperature=0.0, speculative="off"):
            times += [time.perf_counter()] * len(event.tokens)
        return times

    for _ in range(2):  # the first makes the graphs
        start = time.perf_counter()
        with ThreadPoolExecutor(count) as pool:
            times = list(pool.map(one, range(count)))
    begun, ended = max(t[0] for t in times), min(t[-1] for t in times)
    shared = sum(begun < moment <= ended for t in times for moment in t)
    return shared / (ended - begun), sum(map(len, times)) / (max(t[-1] for t in times) - start)


def hostile(target: Model, name: str, tokenizer: Tokenizer, work: Work) -> Iterator[Row]:
    """The same target under a draft of random weights: `auto` must not be slower than plain."""
    size = PAIRS[name][1]
    draft = load(size, "draft", target.info.device, target.info.dtype, target.info.slots, hostile=True)
    options = LoadOptions("target", "none", prefix_cache_bytes=0)  # the draft model alone
    with assemble(options, target, DraftModelDrafter.over(draft, target), tokenizer, eos_ids=frozenset()) as engine:
        plain, texts = measure(engine, work, "hostile draft, plain", 0.0, "off", None)
        yield plain
        yield measure(engine, work, "hostile draft, auto", 0.0, "auto", texts)[0]


def transformers_rows(name: str, device: torch.device, dtype: torch.dtype, work: Work) -> Iterator[Row]:
    """transformers' own generate: plain, with a static cache and torch.compile, and assisted."""
    models = [
        in_transformers(size, role, device, dtype) for size, role in zip(PAIRS[name], ("target", "draft"), strict=True)
    ]
    target, draft = models
    few = min(64, work.tokens)
    yield Row("transformers, plain", 0.0, _generate(target, work.prompts, few))
    yield Row("transformers, assisted", 0.0, _generate(target, work.prompts, few, assistant_model=draft))
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    for k in (3, 5):
        draft.generation_config.num_assistant_tokens = k
        yield Row(f"transformers, assisted, k={k}", 0.0, _generate(target, work.prompts, few, assistant_model=draft))
    yield Row(
        "transformers, static and compiled",
        0.0,
        _generate(target, work.prompts, few, cache_implementation="static"),
    )


def in_transformers(size: Size, role: str, device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' own model of such a size."""
    from transformers import LlamaForCausalLM

    source = Embedded(bundled(role), size, device)  # type: ignore[arg-type]
    with torch.device("meta"):
        model = LlamaForCausalLM(source.config)
    tensors = {key: source.get(key, tuple(t.shape)).to(dtype) for key, t in model.state_dict().items()}
    model.load_state_dict(tensors, assign=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(config=source.config, device=device)
    return model.eval().requires_grad_(False)


def _generate(model: Any, prompts: Sequence[list[int]], count: int, **options: Any) -> float:
    """Tokens per second after the first token: the time of a whole answer less that of one token."""
    seconds = 0.0
    for warm in (True, False):
        seconds = 0.0
        for ids in prompts[:2] if warm else prompts:
            for tokens in (1, count):
                took = _timed_generate(model, ids, tokens, options)
                seconds += took if tokens == count else -took
    return len(prompts) * (count - 1) / seconds


@torch.inference_mode()
def _timed_generate(model: Any, ids: list[int], tokens: int, options: dict[str, Any]) -> float:
    given = torch.tensor([ids], device=model.device)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    options |= {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens}
    model.generate(given, attention_mask=torch.ones_like(given), **options)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def show(rows: Sequence[Row], floor_ms: float) -> None:
    names = ("T", "tokens/s", "length", "draft ms", "verify ms", "possible", "same")
    print(f"\n{'system':36s}" + "".join(f"{name:>10s}" for name in names))
    for r in rows:
        same = "" if r.same_text is None else "yes" if r.same_text else "NO"
        possible = f"{r.of_possible:.1%}" if r.of_possible else ""
        speed = f"{r.temperature:.1f}", f"{r.tokens_per_second:.1f}", f"{r.acceptance_length:.2f}"
        figures = *speed, f"{r.draft_ms:.3f}", f"{r.verify_ms:.3f}", possible, same
        print(f"{r.system:36s}" + "".join(f"{figure:>10s}" for figure in figures))
    best = rows[0].tokens_per_second * floor_ms / 1000
    print(f"plain decoding is {best:.1%} of what reading the weights once a token allows")


def prompts_of(tokenizer: Tokenizer, count: int) -> list[list[int]]:
    """Half stories to write, half texts to edit."""
    kinds = [[p for p in built_in() if p.category == kind] for kind in ("story", "copy")]
    mixed = [kinds[i % 2][i // 2] for i in range(count)]
    return [tokenizer.chat(p.messages).tokens for p in mixed]


@torch.inference_mode()
def run(arguments: argparse.Namespace) -> dict[str, Any]:
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    tokenizer = Tokenizer.load(bundled("target"))
    work = Work(prompts_of(tokenizer, arguments.prompts), arguments.tokens)
    bandwidth = copy_bandwidth(device)
    target, draft = load_pair(arguments.sizes, device, dtype, CALLS, arguments.quantize)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    floors = [read_bytes(r) / bandwidth * 1000 for r in (target, draft)]
    print(f"{where}, {arguments.dtype}; copies move {bandwidth / 1e12:.2f} TB/s")
    facts: dict[str, Any] = {"device": where, "bandwidth": bandwidth, "floor_ms": floors}
    for role, model, floor in zip(("target", "draft"), (target, draft), floors, strict=True):
        share = equal_share(model, role, work.prompts)
        facts[role] = {
            "like": model.info.name,
            "equal": share,
            "pass_ms": {m: pass_ms(model, m) for m in (1, 2, 6, 16)},
        }
        times = ", ".join(f"{m}: {ms:.3f}" for m, ms in facts[role]["pass_ms"].items())
        print(
            f"{role} like {model.info.name}: floor {floor:.3f} ms; ms a pass by rows {times}; same argmax as the "
            f"small model {share:.1%}",
            flush=True,
        )
    facts["pass_ms_8_sequences"] = pass_ms(target, 1, CALLS)
    rows: list[Row] = []
    with assemble(
        LoadOptions("target", prefix_cache_bytes=0, remember=0),
        target,
        DraftModelDrafter.over(draft, target),
        tokenizer,
        eos_ids=frozenset(),
    ) as engine:
        rows += ours(engine, work, arguments.lengths)
        show(rows, floors[0])
        facts["eight_at_once"] = together(engine, work, CALLS)
        decoding, whole = facts["eight_at_once"]
        print(f"{CALLS} plain answers at once: {decoding:.0f} tokens/s, with their prompts {whole:.0f}", flush=True)
    rows += hostile(target, arguments.sizes, tokenizer, work)
    del target, draft, engine
    gc.collect()
    if arguments.peers:
        rows += transformers_rows(arguments.sizes, device, dtype, work)
    show(rows, floors[0])
    return {**facts, "rows": [{**asdict(r), "of_possible": r.of_possible} for r in rows]}


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=sorted(PAIRS), default="8b" if cuda else "tiny")
    parser.add_argument("--device", default="cuda:0" if cuda else "cpu")
    parser.add_argument("--dtype", default="bfloat16" if cuda else "float32")
    parser.add_argument("--quantize", choices=get_args(Quantize), help="what both models are rounded to")
    parser.add_argument("--prompts", type=int, default=4, help="how many")
    parser.add_argument("--tokens", type=int, default=192, help="of each answer")
    parser.add_argument("--lengths", type=int, nargs="*", default=LENGTHS, help="numbers of drafted tokens to try")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="transformers too")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    return parser.parse_args(given)


def main() -> None:
    arguments = parsed()
    facts = run(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
