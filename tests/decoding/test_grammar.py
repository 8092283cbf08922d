"""Grammars through the whole engine: the answers match, speculation changes nothing, and bad grammars are refused."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from scipy import stats

from specdec.decoding.engine import LocalEngine
from specdec.errors import GrammarFailed, InvalidRequest
from specdec.grammars import check as compiling
from specdec.grammars import compiler as module
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.state import SamplerState
from specdec.text.tokenizer import Tokenizer
from specdec.types import MAX_GRAMMAR, AcceptRule, Grammar, SamplingParams
from tests.decoding.toy import EOS, ToyModel, byte_tokenizer, toy_engine
from tests.engine_contract import eventually
from tests.grammars import building as matchers

PROMPT = "tell me about a fox"
NESTED = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 1, "maxItems": 3},
        "place": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["name", "age", "tags", "place"],
    "additionalProperties": False,
}  # fmt: skip


def _nested(text: str) -> bool:
    value = json.loads(text)
    return (
        list(value) == ["name", "age", "tags", "place"] and isinstance(value["name"], str) and len(value["name"]) <= 6
        and isinstance(value["age"], int) and 0 <= value["age"] <= 120
        and 1 <= len(value["tags"]) <= 3 and set(value["tags"]) <= {"red", "green"}
        and value["place"] in (None, True, False)
        and not re.search(r"(?<![,:])\s", re.sub(r'"(\\.|[^"])*"', "", text))
    )  # fmt: skip


DATE, ROWS = r"[12][0-9]{3}-[01][0-9]-[0-3][0-9]", r"[ab]{3}( [ab]{3}){2,5}\."
NEST = 'start: "(" item ("," item)* ")"\nitem: /[a-c]{1,2}/ | start'
OPTIONS = ["yes", "yesterday", "no \U0001f98a", '"?"']
CASES: dict[str, tuple[Grammar, Callable[[str], object]]] = {
    "schema": (Grammar.json_schema(NESTED), _nested),
    "date": (Grammar.regex(DATE), lambda text: re.fullmatch(DATE, text)),
    "rows": (Grammar.regex(ROWS), lambda text: re.fullmatch(ROWS, text)),
    "lark": (Grammar.lark(NEST), lambda text: text[0] + text[-1] == "()" and text.count("(") == text.count(")")),
    "choice": (Grammar.choice(OPTIONS), lambda text: text in OPTIONS),
}  # fmt: skip
HEAT = (0.0, 0.8, 1.0)
DRAFTERS = [("grammar",), ("lookup",), ("prediction",), ("hostile",), ("near",),
            ("near", "grammar", "lookup", "prediction")]  # fmt: skip


def _options(name: str, heat: float, **more: Any) -> dict[str, Any]:
    return {"grammar": CASES[name][0], "temperature": heat, "seed": 7, "max_tokens": 120} | more


@pytest.fixture(scope="module")
def plain() -> dict[tuple[str, float], tuple[int, ...]]:
    with toy_engine() as engine:
        answers = {(n, t): engine.generate(PROMPT, **_options(n, t)) for n in CASES for t in HEAT}
    for (name, _), answer in answers.items():
        assert CASES[name][1](answer.text) or answer.finish_reason == "length", answer.text
    assert sum(a.finish_reason == "stop" for a in answers.values()) >= len(answers) - 3
    return {key: answer.token_ids for key, answer in answers.items()}


@pytest.mark.parametrize("kinds", DRAFTERS, ids="+".join)
def test_same_seed_same_text_with_every_drafter(
    kinds: tuple[str, ...], plain: dict[tuple[str, float], tuple[int, ...]]
) -> None:
    with toy_engine(*kinds) as engine:
        for (name, heat), tokens in plain.items():
            for k in ("off", "auto", 1, 3, 8):
                answer = engine.generate(PROMPT, **_options(name, heat, speculative=k, prediction='{"name":"a b'))
                assert answer.token_ids == tokens, (name, heat, k, answer.text)


@pytest.mark.parametrize("kinds", [(), ("near",), ("hostile",), ("near", "grammar", "lookup")], ids="+".join)
def test_rejection_keeps_to_the_grammar(
    kinds: tuple[str, ...], plain: dict[tuple[str, float], tuple[int, ...]]
) -> None:
    whole = 0
    with toy_engine(*kinds, accept_rule="rejection") as engine:
        for (name, heat), tokens in plain.items():
            for k in ("auto", 4):
                answer = engine.generate(PROMPT, **_options(name, heat, speculative=k))
                assert heat or answer.token_ids == tokens
                if answer.finish_reason != "length":
                    assert CASES[name][1](answer.text), answer.text
                    whole += 1
    assert whole >= 2 * len(plain) - 6, "answers that were not cut"


def test_many_seeds_always_match() -> None:
    with toy_engine("near", "grammar", slots=4) as engine, ThreadPoolExecutor(4) as pool:

        def ask(seed: int) -> str:
            return engine.generate(PROMPT, **_options("schema", 1.0, seed=seed, max_tokens=200)).text

        assert all(map(_nested, pool.map(ask, range(60))))


def test_rows_with_and_without_a_grammar_share_rounds(
    plain: dict[tuple[str, float], tuple[int, ...]],
) -> None:
    shapes = [_options(n, t) for n, t in plain] + [{"seed": s, "max_tokens": 40} for s in (1, 2, 3)]
    with toy_engine() as engine:
        free = [engine.generate(PROMPT, **s).token_ids for s in shapes[-3:]]
    with toy_engine("near", "grammar", "lookup", slots=3) as engine, ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(engine.generate, PROMPT, **s) for s in shapes + shapes]
        answers = [job.result().token_ids for job in jobs]
    assert answers == 2 * [*plain.values(), *free]


WORDS = ["ab", "ac", "bd", "cda", "cdb", "cdc"]


@pytest.mark.parametrize(("kind", "rule"), [("near", "coupled"), ("near", "rejection"), ("hostile", "rejection")])
def test_chi_square_of_whole_answers(rule: AcceptRule, kind: str) -> None:
    """Against the masked distribution of the toy, computed by hand. Coupled drafts of whatever kind give the same
    texts, seed by seed."""
    target, start, trials = ToyModel(sharpness=1.0), [65, 66], 800
    counts = dict.fromkeys(WORDS, 0)
    with toy_engine(kind, target=target, accept_rule=rule) as engine:
        for seed in range(trials):
            answer = engine.generate(start, seed=seed, temperature=0.9, speculative=3, grammar=Grammar.choice(WORDS))
            counts[answer.text] += 1
    wanted = [_chance(target, start, word) * trials for word in WORDS]
    assert sum(wanted) == pytest.approx(trials)
    assert stats.chisquare(list(counts.values()), wanted).pvalue > 1e-4


def _chance(target: ToyModel, start: list[int], word: str) -> float:
    tokens, chance = list(start), 1.0
    for i, letter in enumerate(word):
        allowed = sorted({matchers.ids(w[i])[0] for w in WORDS if w.startswith(word[:i])})
        token = matchers.ids(letter)[0]
        chance *= float((target.logits_after(tokens).double()[allowed] / 0.9).softmax(0)[allowed.index(token)])
        tokens.append(token)
    return chance


def test_forced_tokens_save_rounds() -> None:
    shape = _options("schema", 1.0, max_tokens=200)
    with toy_engine("grammar") as engine:
        plain, fast = (engine.generate(PROMPT, speculative=k, **shape) for k in ("off", 8))
        assert fast.token_ids == plain.token_ids
        assert fast.stats.acceptance_rate == 1
        assert fast.stats.rounds < 0.6 * plain.stats.rounds
        assert engine.generate(PROMPT, seed=1, max_tokens=20, speculative=8).stats.drafted == 0


def test_the_end_of_a_grammar() -> None:
    """Complete: stop, without eos. May end: the target's eos decides. Cut by max_tokens: length."""
    with toy_engine("near", "grammar") as engine:
        for k in ("off", 5):
            options: dict[str, Any] = {"seed": 3, "speculative": k}
            done = engine.generate(PROMPT, grammar=Grammar.regex("a{7}"), **options)
            assert (done.text, done.finish_reason, done.stop) == ("a" * 7, "stop", None)
            assert done.usage.completion_tokens == 7
            exact = engine.generate(PROMPT, grammar=Grammar.regex("a{7}"), max_tokens=7, **options)
            assert (exact.text, exact.finish_reason) == ("a" * 7, "stop")
            cut = engine.generate(PROMPT, grammar=Grammar.regex("a{9}"), max_tokens=5, **options)
            assert (cut.text, cut.finish_reason) == ("a" * 5, "length")
            free = engine.generate(PROMPT, grammar=Grammar.regex("a+"), logit_bias={EOS: 6.0}, **options)
            assert (free.finish_reason, free.stop) == ("stop", EOS)
            assert re.fullmatch("a+", free.text)
            more = engine.generate(PROMPT, grammar=Grammar.regex("a{1,30}"), ignore_eos=True, **options)
            assert (more.text, more.finish_reason) == ("a" * 30, "stop")
            late = engine.generate(PROMPT, grammar=Grammar.regex("a+"), min_tokens=9, logit_bias={EOS: 99.0}, **options)
            assert late.text == "a" * 9
            stop = engine.generate(PROMPT, grammar=Grammar.regex("abcdef"), stop="de", **options)
            assert (stop.text, stop.stop) == ("abc", "de")


def test_an_unbounded_grammar_ends_with_max_tokens_or_the_context() -> None:
    with toy_engine("near", target=ToyModel(context=64)) as engine:
        endless = Grammar.json_schema({"type": "array", "items": {"type": "string"}, "minItems": 500})
        assert engine.generate(PROMPT, grammar=endless, max_tokens=20).finish_reason == "length"
        assert engine.generate(PROMPT, grammar=endless).finish_reason == "length"


def test_logprobs_stay_the_targets_own() -> None:
    target = ToyModel()
    with toy_engine("near", "grammar", target=target) as engine:
        answer = engine.generate([9, 8], **_options("date", 0.7, logprobs=2, speculative=5))
    tokens = [9, 8]
    assert answer.tokens
    for token in answer.tokens:
        assert token.logprob == pytest.approx(float(target.logits_after(tokens).log_softmax(-1)[token.id]), abs=1e-5)
        tokens.append(token.id)


def test_a_grammar_that_the_vocabulary_cannot_write_fails_its_request_only() -> None:
    with toy_engine("near", "grammar") as engine:
        engine._admission.forms.grammars = module.GrammarCompiler(matchers.without("z"), 257, [255])
        for k in ("off", 4):
            with pytest.raises(GrammarFailed, match="after 2 tokens"):
                engine.generate(PROMPT, grammar=Grammar.regex("abzd"), speculative=k)
        assert engine.generate(PROMPT, grammar=Grammar.regex("abcd"), max_tokens=9).text
        assert engine.stats().active == 0


REFUSED: dict[str, tuple[Grammar, str]] = {
    "unknown keyword": (Grammar.json_schema({"not": {"type": "string"}}, strict=True), "not"),
    "unknown type": (Grammar.json_schema({"type": "foo"}), "foo"),
    "missing ref": (Grammar.json_schema({"$ref": "#/x"}), "/x"),
    "remote ref": (Grammar.json_schema({"$ref": "http://x.y/z"}), "x.y"),
    "no value": (Grammar.json_schema({"type": "integer", "minimum": 3, "maximum": 2}), "minimum"),
    "endless ref": (Grammar.json_schema({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}), "nothing"),
    "open group": (Grammar.regex("a(b"), "unclosed group"),
    "look-ahead": (Grammar.regex("(?=a)b"), "look-around"),
    "deep regex": (Grammar.regex("(" * 9000 + "a" + ")" * 9000), "regular expression"),
    "unknown rule": (Grammar.lark("start: foo"), "foo"),
    "no start": (Grammar.lark('other: "a"'), "start"),
    "deep lark": (Grammar.lark("start: " + "(" * 9000 + '"a"' + ")" * 9000), "nested"),
    "long chain": (
        Grammar.lark("start: r0\n" + "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(4000)) + '\nr4000: "a"'),
        "complex",
    ),
    "slow": (Grammar.json_schema({"type": "integer", "multipleOf": 99999999}), "complex"),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Any:
    with toy_engine("grammar") as engine:
        yield engine


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_compile_is_refused_by_name_and_soon(name: str, engine: LocalEngine) -> None:
    grammar, reason = REFUSED[name]
    engine.generate(PROMPT, grammar=Grammar.choice(["a"]))  # the compiling process is up
    start, busy = time.perf_counter(), time.process_time()
    with pytest.raises(InvalidRequest, match=r"(?s)^grammar is .*" + re.escape(reason)) as caught:
        engine.generate(PROMPT, grammar=grammar)
    assert time.process_time() - busy < 2
    assert time.perf_counter() - start < 30, "the process that compiles was not cut short"
    assert caught.value.field == "grammar"
    assert "\n" not in str(caught.value)
    assert engine.generate(PROMPT, grammar=Grammar.choice(["a"])).text == "a"


def _deep(depth: int) -> str:
    return '{"items":' * depth + "{}" + "}" * depth


@pytest.mark.parametrize(("make", "field"), [
    (lambda: Grammar("xml", "a"), "grammar.kind"),  # type: ignore[arg-type]
    (lambda: Grammar.regex(""), "grammar.text"),
    (lambda: Grammar("regex", 3), "grammar.text"),  # type: ignore[arg-type]
    (lambda: Grammar("json_object", "{}"), "grammar.text"),
    (lambda: Grammar.regex("a" * (MAX_GRAMMAR + 1)), "grammar.text"),
    (lambda: Grammar.regex("\ud800"), "grammar.text"),
    (lambda: Grammar.json_schema("{"), "grammar.text"),
    (lambda: Grammar.json_schema("[1]"), "grammar.text"),
    (lambda: Grammar.json_schema(_deep(200)), "grammar.text"),
    (lambda: Grammar.json_schema(_deep(10_000)), "grammar.text"),
    (lambda: Grammar.json_schema({"enum": [{1, 2}]}), "grammar.text"),
    (lambda: Grammar.choice([]), "grammar.text"),
    (lambda: Grammar.choice(["a", ""]), "grammar.text"),
    (lambda: Grammar("choice", '"a"'), "grammar.text"),
    (lambda: Grammar.choice("ab"), "grammar.text"),
    (lambda: SamplingParams(grammar="a+"), "grammar"),  # type: ignore[arg-type]
])  # fmt: skip
def test_what_is_no_grammar_is_refused_by_field(make: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make()
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_compiled_grammars_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def counting(text: str) -> str:
        compiled.append(text)
        return ""

    monkeypatch.setattr(module, "refusal", counting)
    cache = module.GrammarCompiler(Tokenizer(byte_tokenizer()), 257, [EOS])
    for i in (*range(40), 39, 39, 0):
        cache.matcher(Grammar.regex(f"a{i}"), ignore_eos=False)
    assert len(cache._kept) == 32
    assert len(compiled) == 41


def test_a_parser_that_runs_out_of_states_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a parser share what they may learn; a long answer, or many, must not use it up."""
    monkeypatch.setitem(compiling.LIMITS, "max_lexer_states", 400)
    pattern = "(.{0,40}x){2,9}"
    (x,) = byte_tokenizer().encode("x")
    options: dict[str, Any] = {
        "grammar": Grammar.regex(pattern),
        "max_tokens": 200,
        "logit_bias": {x: 2, EOS: 14},
    }
    with toy_engine("near", slots=1) as engine:
        for seed in range(3):
            fast, plain = (engine.generate(PROMPT, seed=seed, speculative=k, **options) for k in (4, "off"))
            assert fast.token_ids == plain.token_ids
            assert fast.finish_reason == "stop"
            assert re.fullmatch(pattern, fast.text)
            assert len(fast.tokens) > 60, "long enough to use up what one parser may learn"


def test_rows_without_a_grammar_are_not_edited() -> None:
    state = SamplerState(SamplingParams().with_defaults({}), 0, [0], frozenset({EOS}), 257, torch.device("cpu"))
    batch, drafted = SamplingBatch([state]), torch.zeros(1, 2, dtype=torch.long)
    assert batch.trivial
    assert batch.on_host(drafted) is drafted


async def test_compiling_does_not_block_the_loop(engine: LocalEngine) -> None:
    """A grammar that takes until the limit is refused by the stream; meanwhile the loop goes on."""
    grammar, _ = REFUSED["slow"]
    events = engine.astream(PROMPT, grammar=grammar)
    ticks, refused = 0, asyncio.ensure_future(events.__anext__())
    while not refused.done():
        await asyncio.sleep(0.001)
        ticks += 1
    with pytest.raises(InvalidRequest, match="complex"):
        await refused
    assert ticks > 100
    left = engine.astream(PROMPT, grammar=Grammar.regex("[a-z]{900}"))
    await left.aclose()
    await asyncio.to_thread(eventually, lambda: engine.stats().active + engine.stats().queued == 0)
