"""`specdec chat`: what it begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from specdec.types import Grammar, LoadOptions, SamplingParams
from specdec_tui.core.config import Config
from tests.cli.conftest import Run


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Config]:
    """What the screen was begun with; nobody's own config file is read."""
    begun: list[Config] = []

    def run(config: Config, *, database: Path | None, resume: str | None, question: str) -> tuple[int, int]:
        begun.append(config)
        assert question in ("", "Why?")
        return 0, 0

    monkeypatch.setattr("specdec_tui.run.run", run)
    monkeypatch.setattr("specdec.cli.chat._on_screen", lambda: True)
    monkeypatch.setattr("specdec.cli.chat._piped", lambda: "")
    monkeypatch.setattr("specdec_tui.run.config_path", lambda: tmp_path / "none.toml")
    return begun


def test_the_command_line_goes_before_the_preset_and_the_config_file(
    run: Run, begun: list[Config], tmp_path: Path
) -> None:
    file = tmp_path / "chat.toml"
    file.write_text('[engine]\ndraft = "none"\ncontext = 99\n[sampling]\nseed = 3\n[screen]\nsystem = "s"\n')
    words = "--draft auto --preset creative --temperature 0 --stop a --stop b --logit-bias 4=-7 --theme light --unsaved"
    done = run("chat", "--config", str(file), *words.split(), "--speculative", "3")
    assert done.exit_code == 0, done.output
    (config,) = begun
    assert config.engine == LoadOptions(context=99), "a default that is named goes before the file, too"
    sampling = SamplingParams(temperature=0.0, min_p=0.05, stop=("a", "b"), logit_bias={4: -7.0})
    assert (config.settings.sampling, config.settings.speculative) == (sampling, 3)
    assert (config.settings.system, config.screen.theme) == ("s", "light")


def test_a_url_is_the_target(run: Run, begun: list[Config]) -> None:
    run("chat", "--url", "http://localhost:1/v1", "--unsaved")
    assert begun[0].engine.target == "http://localhost:1/v1"


def test_what_the_command_line_says_of_the_first_answer(run: Run, begun: list[Config], tmp_path: Path) -> None:
    tools, schema = tmp_path / "tools.json", tmp_path / "schema.json"
    tools.write_text('[{"type": "function", "function": {"name": "look"}}]')
    schema.write_text('{"type": "object"}')
    files = ("--tools", str(tools), "--schema", str(schema))
    done = run("chat", "Why?", *files, "--reasoning", "low", "--url", "http://localhost:1/v1", "--api-key", "k")
    assert done.exit_code == 0, done.output
    settings = begun[0].settings
    assert settings.tools == ({"type": "function", "function": {"name": "look"}},)
    assert settings.sampling.grammar == Grammar.json_schema('{"type": "object"}')
    assert (settings.reasoning, begun[0].engine.api_key) == ("low", "k")
    run("chat", "--tools", "files")
    assert [config.read_folder for config in begun] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tools", "nowhere.json"), "--tools is 'nowhere.json'; expected a file of text"),
        (("--reasoning", "loud"), "--reasoning is 'loud'; expected"),
        (("--config", "nowhere.toml"), "--config is 'nowhere.toml'; expected a file"),
        (("--preset", "wild"), "--preset is 'wild'; expected one of default, precise, balanced, creative"),
        (("--temperature", "-1"), "--temperature is -1.0; expected a number from 0 to 100"),
    ],
)
def test_wrong_values_are_one_line(run: Run, begun: list[Config], arguments: tuple[str, ...], said: str) -> None:
    done = run("chat", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {said}") and done.stderr.count("\n") == 1
    assert not begun


def test_without_a_terminal_there_is_no_chat(run: Run) -> None:
    done = run("chat")
    assert (done.exit_code, done.stdout) == (2, "")
    assert (
        done.stderr == "error: terminal is None; expected one to chat in; specdec generate answers a prompt without\n"
    )
