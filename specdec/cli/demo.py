"""Three kinds of answers, plain and speculative: what a newcomer is shown."""

from __future__ import annotations

from dataclasses import replace

from rich.table import Table
from rich.text import Text

from specdec.cli.compare import compared, number
from specdec.cli.screen import stdout
from specdec.engine import Engine
from specdec.types import Message, Request
from specdec.verify.comparison import Comparison

STORY = "Tell me a story about a shy fox who finds a silver bell."
_EDIT = """\
Replace Marlon with Quentin in this text:

Every summer, Marlon went to the old boat house with his sister. Marlon carried the oars, and she carried the lunch. \
One day the wind took Marlon's hat and dropped it far out on the lake. "Leave it," said his sister. But Marlon jumped \
into the boat and rowed after it. A duck sat in the hat when he got there. Marlon laughed so much that he nearly \
fell into the water."""
_QUESTION = """\
The harbour museum stands at the end of Pelican Street. It opens at 9:15 every morning and closes at 16:45. A ticket \
costs 7 euros, and children under six pay nothing.

Questions:
1. When does the museum open?
2. How much is a ticket?"""
_SHOWN = {
    "a story": (STORY, "much of a story is easy to guess"),
    "an edit": (_EDIT, "the answer repeats what it was given"),
    "a question over a text": (_QUESTION, "the answer stands in the text"),
}
_NEXT = """\
Next:
  specdec chat                    the same in a chat; F3 lists your models
  specdec generate --target ...   your own model: a hub id, a folder or a GGUF file
  specdec plan ...                would it fit my GPU, and how fast would it be?
  specdec serve                   an OpenAI-compatible endpoint for your tools
  specdec verify                  check that nothing changes but the speed"""


def print_demo(engine: Engine, request: Request) -> None:
    """Each prompt with both answers and why one of them came sooner; then all figures, and what to do next."""
    console, table = stdout(), Table(box=None, pad_edge=False)
    for name in ("", "plain", "speculative", "speed-up", "identical"):
        table.add_column(name, justify="right" if name else "left")
    for kind, (prompt, reason) in _SHOWN.items():
        console.print(Text(f"▌ {kind}", style="bold cyan"))
        console.print(Text(f"{prompt}\n", style="dim"))
        content = (Message("user", prompt),) if engine.info.chat_template else prompt
        result = compared(engine, replace(request, prompt=content), console)
        console.print(Text(_why(result, reason), style="yellow"))
        console.print()
        rates = (number(c.tokens_per_second or None, "{:.0f} tokens/s") for c in (result.plain, result.speculative))
        table.add_row(kind, *rates, number(result.speed_up, "{:.2f}x"), "yes" if result.identical else result.verdict)
    console.print(table)
    console.print(Text(f"\n{_NEXT}"))


def _why(result: Comparison, reason: str) -> str:
    stats, tokens = result.speculative.stats, result.speculative.usage.completion_tokens
    if stats.unknown:
        return f"Why: {stats.unknown}."
    if not stats.accepted:
        return f"Not sooner: {stats.off_reason or 'no draft was accepted'}."
    drafters = ", ".join(one.drafter for one in stats.drafters)
    passes = f" in {stats.rounds} passes" if stats.rounds else ""
    return f"Why: {reason} ({drafters}): {number(tokens, '{}')} tokens{passes}"
