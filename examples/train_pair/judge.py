"""Look at a pair honestly: its answers to fixed prompts, and how often the draft is right.

Contract: reads two model folders and `prompts.jsonl` (prompts that the generator never made); prints every answer, and
the acceptance at each draft position at temperature 0 and 0.8, by a plain speculative loop with rejection sampling.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent


@dataclass
class Tally:
    """Rounds in which a position was reached, and in which its draft was accepted."""

    reached: list[int]
    accepted: list[int]
    rounds: int = 0
    tokens: int = 0

    def line(self) -> str:
        """Acceptance per position given that it was reached, and tokens a round."""
        shares = [f"{a / max(1, r):.3f}" for a, r in zip(self.accepted, self.reached, strict=True)]
        return f"{' '.join(shares)}  tokens a round {self.tokens / max(1, self.rounds):.2f}"


@dataclass
class Pair:
    """Two models with one tokenizer."""

    target: Any
    draft: Any
    tokenizer: Any
    stops: set[int]
    noise: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def chances(self, model: Any, ids: list[int], last: int, temperature: float) -> Tensor:
        """The distributions after the last few tokens; at temperature 0 all on the best."""
        logits: Tensor = model(torch.tensor([ids])).logits[0, -last:].float()
        if temperature == 0:
            return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        return (logits / temperature).softmax(-1)

    def pick(self, chances: Tensor) -> int:
        """One token from a distribution."""
        return int(torch.multinomial(chances, 1, generator=self.noise))


def one_round(pair: Pair, ids: list[int], k: int, temperature: float, tally: Tally) -> list[int]:
    """Draft k tokens, verify them, and give what is kept with the target's own next token."""
    drafted: list[int] = []
    guesses: list[Tensor] = []
    for _ in range(k):
        guesses.append(pair.chances(pair.draft, ids + drafted, 1, temperature)[0])
        drafted.append(pair.pick(guesses[-1]))
    truth = pair.chances(pair.target, ids + drafted, k + 1, temperature)
    for at, token in enumerate(drafted):
        tally.reached[at] += 1
        p, q = truth[at], guesses[at]
        if float(torch.rand((), generator=pair.noise)) >= float(p[token] / q[token]):
            rest = (p - q).clamp(min=0)
            return [*drafted[:at], pair.pick(rest / rest.sum())]
        tally.accepted[at] += 1
        if token in pair.stops:
            return drafted[: at + 1]
    return [*drafted, pair.pick(truth[k])]


@torch.inference_mode()
def answer(pair: Pair, ids: list[int], room: int, k: int, temperature: float, tally: Tally) -> list[int]:
    """A whole answer."""
    made: list[int] = []
    while len(made) < room and not set(made) & pair.stops:
        new = one_round(pair, ids + made, k, temperature, tally)
        tally.rounds, tally.tokens = tally.rounds + 1, tally.tokens + len(new)
        made += new
    return made


def prompt_ids(pair: Pair, record: dict[str, Any]) -> list[int]:
    """The tokens of a prompt, ready for the assistant to go on."""
    text = pair.tokenizer.apply_chat_template(
        record["messages"], tools=record.get("tools"), tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = pair.tokenizer(text, add_special_tokens=False).input_ids
    return ids


def load(target: Path, draft: Path) -> Pair:
    """The pair, as Transformers loads it, in float32 so that a CPU is exact."""
    tokenizer = AutoTokenizer.from_pretrained(target)
    models = [AutoModelForCausalLM.from_pretrained(p, dtype=torch.float32).eval() for p in (target, draft)]
    return Pair(models[0], models[1], tokenizer, set(models[0].generation_config.eos_token_id))


def main() -> None:
    """Print answers and acceptance."""
    args = argparse.ArgumentParser(description=main.__doc__)
    args.add_argument("--target", type=Path, default=Path("specdec/bundled/target"))
    args.add_argument("--draft", type=Path, default=Path("specdec/bundled/draft"))
    args.add_argument("--prompts", type=Path, default=HERE / "prompts.jsonl")
    args.add_argument("--room", type=int, default=220)
    args.add_argument("-k", type=int, default=5)
    args.add_argument("--quiet", action="store_true", help="only the figures")
    given = args.parse_args()
    pair = load(given.target, given.draft)
    for temperature in (0.0, 0.8):
        tally = Tally([0] * given.k, [0] * given.k)
        for line in given.prompts.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            made = answer(pair, prompt_ids(pair, record), given.room, given.k, temperature, tally)
            if not given.quiet and temperature == 0:
                print(f"--- {record['kind']}: {record['messages'][-1]['content']}\n>>> {pair.tokenizer.decode(made)}\n")
        print(f"temperature {temperature}: acceptance per position {tally.line()}")


if __name__ == "__main__":
    main()
