"""`specdec verify`: is it lossless on this pair?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.text import Text

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import loaded, stdout
from specdec.cli.servers import PlainUrl, Url, only_beside_url, servers
from specdec.cli.time_left import TimeLeft
from specdec.engine import Progress
from specdec.errors import InvalidRequest
from specdec.types import LoadOptions
from specdec.verify import LEFT_OUT, verify_server
from specdec.verify import verify as verify_engine
from specdec.verify.check import Check, Verdict, exit_code, summary

_STYLES: dict[Verdict, str] = {"pass": "green", "near-tie": "yellow", "not shown": "yellow", "fail": "bold red"}
_SLOTS = 4
_LOADING = replace(o.FORGETFUL, slots=_SLOTS)
Checks = Iterator[tuple[str, Check]]
"""What drafted, and a check."""


@o.command
def verify(
    loading: LoadOptions = _LOADING,
    url: Url = None,
    plain_url: PlainUrl = None,
    trials: Annotated[int, typer.Option(min=100, help="Samples for each test of the distribution.")] = 400,
    quick: Annotated[
        bool, typer.Option("--quick", help="Texts alone, greedy and with seeds: a tenth of the time.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Check on your own pair that speculation changes nothing but the speed.

    Exit code 0: every check was made and held. 1: one failed. 2: an error.
    3: none failed, but some could not be made: "not shown", and why.
    """
    only_beside_url(url, plain_url)
    if quick and url:
        raise InvalidRequest("quick", quick, "no --url beside it: a server is asked everything that it takes")
    left, heading = TimeLeft(), ""
    checks: list[Check] = []
    try:
        for drafters, check in _checks(loading, url, plain_url, trials, left, quick=quick):
            checks.append(replace(check, name=f"{check.name} ({drafters})"))
            if json:
                continue
            left.close()
            if drafters != heading:
                heading = drafters
                stdout().print(f"drafting from {drafters}", style="bold")
            verdict = Text(f"{check.verdict:<11}", style=_STYLES[check.verdict])
            stdout().print(verdict + Text(f"{check.name:<34} ") + Text(check.detail, style="dim"))
    finally:
        left.close()
    whole = summary(checks) + (f"; --quick left out {LEFT_OUT}" if quick else "")
    if json:
        print_json({"checks": [asdict(check) for check in checks], "summary": whole})
    else:
        stdout().print(Text(whole, style="bold"))
    raise typer.Exit(exit_code(checks))


def _checks(
    loading: LoadOptions, url: str | None, plain_url: str | None, trials: int, left: TimeLeft, *, quick: bool
) -> Checks:
    """Of a server; or with everything that drafts, then with lookup alone, which a draft model would otherwise
    outbid."""
    if url:
        with servers(url, plain_url, _SLOTS) as found:
            for check in verify_server(found.engine, found.plain, found.abilities, trials, left):
                yield found.engine.info.backend, check
            left.close()
        return
    with loaded(loading) as engine:
        both = engine.info.draft is not None and not quick
        for check in verify_engine(engine, trials, _part(left, 0, 1 + both), quick=quick):
            yield ", ".join(engine.info.drafters), check
    if both:
        left.close()
        with loaded(replace(loading, draft="lookup")) as engine:
            for check in verify_engine(engine, trials, _part(left, 1, 2)):
                yield ", ".join(engine.info.drafters), check


def _part(whole: Progress, part: int, parts: int) -> Progress:
    """For one of several parts of the work."""
    return lambda stage, fraction: whole(stage, (part + fraction) / parts)
