"""`specdec verify`: is it lossless on this pair?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.text import Text

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import loaded, reported, stdout
from specdec.cli.servers import PlainUrl, Url, only_beside_url, servers
from specdec.verify import verify as checks
from specdec.verify import verify_server
from specdec.verify.check import Check, Verdict

_STYLES: dict[Verdict, str] = {
    "pass": "green",
    "near-tie": "yellow",
    "inconclusive": "yellow",
    "fail": "bold red",
}
_SLOTS = 4


def verify(
    target: o.Target = "bundled",
    draft: o.Draft = "auto",
    url: Url = None,
    plain_url: PlainUrl = None,
    trials: Annotated[int, typer.Option(min=100, help="Samples for each test of the distribution.")] = 400,
    device: o.Device = "auto",
    dtype: o.DType = "auto",
    context: o.Context = None,
    accept_rule: o.Rule = "coupled",
    trust_remote_code: o.RemoteCode = False,
    json: o.Json = False,
) -> None:
    """Check on your own pair that speculation changes nothing but the speed. Exit code 1 if a check fails."""
    with reported():
        models = o.EngineOptions(
            target, draft, device, dtype, context, accept_rule, trust_remote_code, _SLOTS
        ).forgetful
        done: list[tuple[str, Check]] = []
        only_beside_url(url, plain_url)
        for drafters, check in _server_checks(url, plain_url, trials) if url else _all_checks(models, trials):
            if not json:
                _show(drafters if all(drafters != d for d, _ in done) else None, check)
            done.append((drafters, check))
        if json:
            print_json([{"drafters": drafters, **asdict(check)} for drafters, check in done])
    if any(check.verdict == "fail" for _, check in done):
        raise typer.Exit(1)


def _all_checks(models: o.EngineOptions, trials: int) -> Iterator[tuple[str, Check]]:
    """With everything that drafts, then with lookup alone, which a draft model would otherwise outbid."""
    with loaded(models) as engine:
        has_draft = engine.info.draft is not None
        for check in checks(engine, trials):
            yield ", ".join(engine.info.drafters), check
    if has_draft:
        with loaded(replace(models, draft="lookup")) as engine:
            for check in checks(engine, trials):
                yield ", ".join(engine.info.drafters), check


def _server_checks(url: str, plain_url: str | None, trials: int) -> Iterator[tuple[str, Check]]:
    with servers(url, plain_url, _SLOTS) as found:
        for check in verify_server(found.engine, found.plain, found.abilities, trials):
            yield found.engine.info.runner, check


def _show(drafters: str | None, check: Check) -> None:
    if drafters:
        stdout().print(f"drafting from {drafters}", style="bold")
    verdict = Text(f"{check.verdict:<13}", style=_STYLES[check.verdict])
    stdout().print(verdict + Text(f"{check.name:<34} ") + Text(check.detail, style="dim"))
