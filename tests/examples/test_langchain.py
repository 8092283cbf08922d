"""The LangChain examples, run as they are: what they print makes sense."""

from __future__ import annotations

import asyncio
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from langchain_specdec import ChatSpecDec
from tests.fakes import SCRIPT, ScriptedEngine

EXAMPLES = Path(__file__).parents[2] / "examples"


def _main(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / f"langchain_{name}.py"))["main"]()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("langchain_*.py")), ids=lambda path: path.stem)
def test_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60


def test_chain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _main("chain", monkeypatch, "--name", "Ben", "--thing", "kite")
    story, _, figures = capsys.readouterr().out.rpartition("\n\n")
    assert "Ben" in story
    assert "kite" in story
    assert "acceptance length" in figures


def test_agent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _main("agent", monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert "ai: get_weather({'city': 'Oslo'})" in lines
    assert "ai: calculate({'expression': '17 * 23'})" in lines
    assert "snowy" in lines[3]
    assert "391" in lines[-1]


def test_extraction(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _main("extraction", monkeypatch)
    assert capsys.readouterr().out == "Person(name='Anna Berg', age=34, job='teacher', city='Oslo')\n"


def test_csv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _main("csv", monkeypatch, str(EXAMPLES / "people.csv"), str(tmp_path / "facts.csv"))
    rows = (tmp_path / "facts.csv").read_text("utf-8").splitlines()
    assert rows[0] == "id,text,name,age,job,city"
    assert [row.rsplit(",", 4)[1:] for row in rows[1:]] == [
        ["Anna Berg", "34", "teacher", "Oslo"],
        ["Ben Hale", "41", "baker", "Bergen"],
        ["Mina Adeyemi", "29", "doctor", "Lima"],
        ["Joris Vale", "63", "farmer", "Ghent"],
    ]


async def test_batch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    await _main("batch", monkeypatch, "--slots", "4")
    *answers, last = capsys.readouterr().out.splitlines()
    assert len(answers) == 16
    assert all(": " in line and line.endswith(".") for line in answers)
    assert last.startswith("16 answers")


async def test_a_reader_that_leaves_stops_the_engine() -> None:
    engine = ScriptedEngine(SCRIPT, hold=2)
    app = runpy.run_path(str(EXAMPLES / "langchain_fastapi.py"))["make_app"](ChatSpecDec(engine=engine))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/story",
        "raw_path": b"/story",
        "query_string": b"about=a+fox",
        "headers": [],
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "root_path": "",
    }
    told = asyncio.Event()
    texts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await told.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message.get("body"):
            texts.append(message["body"])
            told.set()

    await asyncio.wait_for(app(scope, receive, send), 20)
    assert texts[0] == b"Once"
    assert engine.stats().cancelled == 1
    assert engine.stats().active == 0
