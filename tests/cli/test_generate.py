"""`specdec generate` over a scripted engine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from specdec.cli.demo import STORY
from specdec.cli.jsonable import completion_json, print_json
from specdec.errors import CheckpointNotFound
from specdec.types import LoadOptions, Message, SamplingParams, Token, TokenLogprob
from tests.cli.conftest import Loader, Run
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine

ANSWER = "".join(SCRIPT)


def test_answer_on_stdout_and_figures_on_stderr(run: Run) -> None:
    done = run("generate", "Hello")
    assert (done.exit_code, done.stdout) == (0, ANSWER + "\n")
    assert done.stderr.splitlines() == [
        "14 tokens · 650 tokens/s · TTFT 10 ms · accepted 100% of 8 drafted · acceptance length 2.60 · seed 1000"
    ]


def test_prompt_is_a_user_turn(run: Run, loader: Loader) -> None:
    run("generate", "Hello", "--system", "Be kind.")
    assert loader.engine.requests[0].prompt == (Message("system", "Be kind."), Message("user", "Hello"))


def test_raw_prompt_is_text(run: Run, loader: Loader) -> None:
    run("generate", "Hello", "--raw")
    assert loader.engine.requests[0].prompt == "Hello"


def test_prompt_is_text_without_a_chat_template(run: Run, loader: Loader) -> None:
    loader.engine = ScriptedEngine(info=replace(SCRIPTED_INFO, chat_template=False))
    run("generate", "Hello")
    assert loader.engine.requests[0].prompt == "Hello"
    refused = run("generate", "Hello", "--system", "Be kind.")
    assert refused.exit_code == 2
    assert "--system is 'Be kind.'; expected a target with a chat template" in refused.stderr


def test_prompt_from_stdin(run: Run, loader: Loader) -> None:
    run("generate", "-", stdin="two\nlines\n")
    assert loader.engine.requests[0].prompt == (Message("user", "two\nlines"),)


def test_no_prompt_takes_the_demo(run: Run, loader: Loader) -> None:
    done = run("generate")
    assert loader.engine.requests[0].prompt == (Message("user", STORY),)
    assert STORY in done.stderr


def test_every_option_arrives(run: Run, loader: Loader) -> None:
    sampling = (
        "--temperature 0.7 --top-k 5 --top-p 0.9 --min-p 0.1 --repetition-penalty 1.1 --presence-penalty 0.2 "
        "--frequency-penalty -0.3 --logit-bias 4=-7 --logit-bias 9=2.5 --max-tokens 9 --min-tokens 2 --stop x "
        "--stop yy --stop-token-id 3 --ignore-eos --seed 12 --logprobs 2"
    )
    models = "--target t --draft d --device cpu --dtype float32 --context 99 --accept-rule rejection"
    run("generate", "Hello", *sampling.split(), *models.split(), "--speculative", "3", "--prediction", "Hi")
    request = loader.engine.requests[0]
    assert request.sampling == SamplingParams(
        0.7, 5, 0.9, 0.1, 1.1, 0.2, -0.3, {4: -7.0, 9: 2.5}, 9, 2, ("x", "yy"), (3,), True, 12, 2
    )
    assert (request.speculative, request.prediction) == (3, "Hi")
    assert loader.calls == [
        LoadOptions("t", "d", "cpu", "float32", 99, 1, "rejection", prefix_cache_bytes=0, remember=0)
    ]


def test_speculation_off_says_why(run: Run, loader: Loader) -> None:
    assert "speculation off: as the request asked" in run("generate", "Hi", "--speculative", "off").stderr
    loader.engine = ScriptedEngine(width=1, off_reason="drafting costs more than it saves")
    assert "speculation off: drafting costs more than it saves" in run("generate", "Hi").stderr


def test_json_is_one_object_with_everything(run: Run) -> None:
    done = run("generate", "Hello", "--json", "--seed", "4")
    answer = json.loads(done.stdout)
    assert (answer["text"], answer["seed"], answer["finish_reason"]) == (ANSWER, 4, "stop")
    assert answer["usage"]["completion_tokens"] == len(answer["tokens"]) == len(SCRIPT)
    assert answer["stats"]["acceptance_length"] == pytest.approx(2.6)
    assert answer["info"]["target"] == "scripted"
    assert done.stderr == ""


def test_bytes_of_tokens_are_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    likely = TokenLogprob(7, r"\xf0", -2.0, b"\xf0")
    scored = Token(8, "é", "plain", -0.5, (likely,), b"\xa9")
    print_json(completion_json(replace(ScriptedEngine().generate("Hello"), tokens=(scored,))))
    (token,) = json.loads(capsys.readouterr().out)["tokens"]
    assert (token["bytes"], token["top_logprobs"][0]["bytes"]) == ([0xA9], [0xF0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--temperature", "nan"], "--temperature is nan; expected a number from 0 to 100"),
        (["--top-p", "0"], "--top-p is 0.0; expected a number above 0, up to 1"),
        (["--speculative", "99"], "--speculative is 99; expected auto, off or a whole number from 0 to 16"),
        (["--speculative", "much"], "--speculative is 'much'; expected auto, off or a whole number"),
        (["--logit-bias", "five"], "--logit-bias is 'five'; expected ID=BIAS, such as 42=-5"),
        (["--raw", "--system", "x"], "--system is 'x'; expected no --raw"),
    ],
)
def test_wrong_values_are_one_line(run: Run, arguments: list[str], said: str) -> None:
    done = run("generate", "Hello", *arguments)
    assert (done.exit_code, done.stderr) == (2, f"error: {said}\n")


def test_nothing_is_loaded_for_a_wrong_value(run: Run, loader: Loader) -> None:
    run("generate", "", "--max-tokens", "3")
    run("generate", "Hello", "--max-tokens", "0")
    assert loader.calls == []


def test_load_errors_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointNotFound("no such folder:\nnowhere")

    monkeypatch.setattr("specdec.cli.screen.load_engine", refuse)
    done = run("generate", "Hello", "--target", "nowhere")
    assert (done.exit_code, done.stderr) == (2, "error: no such folder: nowhere\n")


def test_the_engine_is_closed(run: Run, loader: Loader) -> None:
    run("generate", "Hello")
    assert loader.engine.closed
