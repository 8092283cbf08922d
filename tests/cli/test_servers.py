"""`bench --url` and `verify --url` over scripted servers, from the command line to the table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from typer.testing import CliRunner, Result

from specdec.cli import app
from tests.remote.scripted import ScriptedServer, untold


def _run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture
def servers() -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    """One that speculates and one that does not."""
    with ExitStack() as stack:
        drafting = stack.enter_context(ScriptedServer(speculates=True, pace=0.0))
        yield drafting, stack.enter_context(ScriptedServer(pace=0.0))


def test_generate_takes_a_url(servers: tuple[ScriptedServer, ScriptedServer]) -> None:
    shown = _run("generate", "Once", "--target", servers[0].url, "--max-tokens", "3", "--temperature", "0")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == " w0 w1 w2\n"
    assert "3 tokens" in shown.stderr
    told = _run("info", "--target", servers[0].url)
    assert f"vLLM 0.32.0 at {servers[0].url}" in told.output
    assert "parameters" not in told.output


def test_bench_of_two_servers(servers: tuple[ScriptedServer, ScriptedServer]) -> None:
    drafting, plain = servers
    words = ("bench", "--url", drafting.url, "--plain-url", plain.url, "--category", "copy", "--limit", "1")
    shown = _run(*words, "--repeats", "1", "--temperature", "0", "--json")
    assert shown.exit_code == 0, shown.output
    report = json.loads(shown.stdout)
    (row,) = report["rows"]
    assert row["acceptance_length"] == pytest.approx(3.0, abs=0.1)
    assert row["identical"] == row["answers"] == 1
    assert report["info"]["backend"] == f"vLLM 0.32.0 at {drafting.url}"
    assert "by the server's own count, for all its clients: acceptance length" in shown.stderr


def test_bench_needs_something_to_compare_with(servers: tuple[ScriptedServer, ScriptedServer]) -> None:
    refused = _run("bench", "--url", servers[0].url)
    assert refused.exit_code == 2
    assert "--plain-url is None; expected a server with the same target and no speculation" in refused.output
    alone = _run("bench", "--plain-url", servers[1].url)
    assert alone.exit_code == 2
    assert "expected a --url beside it" in alone.output


def test_bench_leaves_out_tools_unless_asked(servers: tuple[ScriptedServer, ScriptedServer]) -> None:
    with ScriptedServer("ours", speculates=True, pace=0.0) as ours:
        shown = _run("bench", "--url", ours.url, "--repeats", "1", "--temperature", "0", "--max-tokens", "3")
        assert shown.exit_code == 0, shown.output
        assert "story" in shown.output
        assert not [x for x in ours.seen if "tools" in x.body]


def test_what_a_server_does_not_say_is_unknown() -> None:
    silent = {"kind": "unknown", "models": [{"id": "story"}], "pace": 0.0}
    with ScriptedServer(**silent) as server, ScriptedServer(**silent) as plain:  # type: ignore[arg-type]
        assert "unknown; 8192 tokens assumed" in _run("info", "--target", server.url).output
        server.answers.extend([untold, untold])
        told = json.loads(_run("generate", "Once", "--target", server.url, "--json").stdout)
        assert (told["text"], told["tokens_per_second"], told["timing"]["queued"]) == ("two words", None, None)
        assert set(told["usage"].values()) == {None}
        figures = ("rounds", "drafted", "accepted", "acceptance_rate", "acceptance_length", "acceptance_per_position")
        assert {told["stats"][name] for name in figures} == {None}
        line = _run("generate", "Once", "--target", server.url).stderr
        assert "tokens unknown · TTFT" in line and "speculation unknown: the server at" in line
        words = ["bench", "--url", server.url, "--plain-url", plain.url, "--category", "copy", "--limit", "1"]
        words += ["--repeats", "1", "--temperature", "0", "--max-tokens", "3"]
        (row,) = json.loads(_run(*words, "--json").stdout)["rows"]
        assert row["acceptance_length"] is None
        shown = _run(*words).stdout.splitlines()[-1].split()
        assert shown[-3:] == ["–", "–", "1/1"], "acceptance length, acceptance per position, identical"
        server.answers.extend([untold] * 9)
        assert "an answer without a count of its tokens" in _run(*words).stderr


def _verdicts(shown: Result) -> dict[str, str]:
    return {check["name"].partition(" (")[0]: check["verdict"] for check in json.loads(shown.stdout)["checks"]}


def test_verify_of_two_servers(servers: tuple[ScriptedServer, ScriptedServer]) -> None:
    drafting, plain = servers
    shown = _run("verify", "--url", drafting.url, "--plain-url", plain.url, "--trials", "100", "--json")
    verdicts = _verdicts(shown)
    assert verdicts.pop("stop strings never leak") == "fail", "the scripted server knows no stop strings"
    assert shown.exit_code == 1
    sampled = {name for name in verdicts if name.startswith("distribution")}
    assert {verdicts[name] for name in sampled} == {"not shown"}, "the scripted server samples nothing"
    assert {verdicts[name] for name in verdicts.keys() - sampled} == {"pass"}
    assert {
        "greedy text, k=auto",
        "seeded text, asked twice",
        "tokens are counted as sent",
        "distribution at T=1",
    } <= set(verdicts)
    assert json.loads(shown.stdout)["summary"].startswith("not lossless: 1 of ")


def test_verify_of_one_server_says_what_it_cannot_see(servers: tuple[ScriptedServer, ScriptedServer]) -> None:
    verdicts = _verdicts(_run("verify", "--url", servers[0].url, "--json"))
    assert verdicts["greedy text against plain"] == verdicts["distribution against plain"] == "not shown"
    assert verdicts["greedy text, asked twice"] == "pass"


def test_verify_of_a_server_that_can_be_switched() -> None:
    with ScriptedServer("ours", speculates=True, pace=0.0) as server:
        verdicts = _verdicts(_run("verify", "--url", server.url, "--trials", "100", "--json"))
    assert verdicts["greedy text, k=3"] == verdicts["greedy text, wrong prediction"] == "pass"


def test_verify_sees_a_server_that_changes_its_text(servers: tuple[ScriptedServer, ScriptedServer]) -> None:
    drafting, plain = servers
    drafting.word = "x"
    shown = _run("verify", "--url", drafting.url, "--plain-url", plain.url, "--trials", "100", "--json")
    assert _verdicts(shown)["greedy text, k=auto"] == "fail"
