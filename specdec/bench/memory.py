"""Peak memory of one run, in a process of its own: `python -m specdec.bench.memory TARGET DRAFT SPECULATIVE`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from specdec.loading import load
from specdec.types import Message, Speculative


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run took, in bytes."""

    peak: int
    weights: int
    cache: int


def measure(target: str, draft: str, speculative: Speculative) -> Memory:
    """Load the pair in a fresh process, answer once, and read the peak."""
    command = [sys.executable, "-m", "specdec.bench.memory", target, draft, str(speculative)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - itself
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def main(target: str, draft: str, speculative: str) -> None:
    """Answer once in this process, and print what it took."""
    with load(target, draft, slots=1) as engine:
        prompt = "Tell me a story about a dog."
        content = (Message("user", prompt),) if engine.info.chat_template else prompt
        wanted: Speculative = "auto" if speculative == "auto" else "off"
        engine.generate(content, temperature=0.0, max_tokens=128, speculative=wanted)
        # getrusage also counts what the parent held when it forked, so /proc comes first
        status = Path("/proc/self/status")
        if status.exists():
            line = next(li for li in status.read_text().splitlines() if li.startswith("VmHWM"))
            peak = int(line.split()[1]) * 1024
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        took = Memory(peak, engine.info.weight_bytes, engine.info.cache_bytes)
    print(json.dumps(asdict(took)))  # noqa: T201


if __name__ == "__main__":
    import resource  # which Windows has not

    main(*sys.argv[1:4])
