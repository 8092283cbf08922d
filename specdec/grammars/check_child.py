"""The child of `check`: reads grammars, one JSON text a line, and says of each why it is refused, or "".

Runs as a file, with llguidance and nothing of specdec.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

_STACK = 1 << 20
"""Less than any thread of the engine has, so that what does not overflow here does not there."""


def refusal(bytes_only: LLTokenizer, grammar: str, limits: dict[str, Any]) -> str:
    """llguidance's own words. A first byte is looked for, too: without one a grammar matches nothing. There are no
    tokens here but bytes, so one of these stands for every token that is named by its id."""
    grammar = re.sub(r"<\[\d+\]>", "<[0]>", grammar)
    parser = LLMatcher(bytes_only, grammar, log_level=0, limits=LLParserLimits(**limits))
    if not parser.is_error():
        parser.compute_bitmask()
    return parser.get_error() if parser.is_error() else ""


def _serve() -> None:
    bytes_only, limits = LLTokenizer("byte"), json.loads(sys.argv[1])
    print("ready", flush=True)  # noqa: T201  the pipe
    for line in sys.stdin:
        print(json.dumps(refusal(bytes_only, json.loads(line), limits)), flush=True)  # noqa: T201


if __name__ == "__main__":
    threading.stack_size(_STACK)
    server = threading.Thread(target=_serve, daemon=True)
    server.start()
    server.join()
