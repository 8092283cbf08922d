"""The tokenizer of the pair: byte-level BPE, digits one by one, words with their leading space.

Contract: `learn(texts, size)` returns a fast tokenizer with the chat template set; `save(tokenizer, folder)` writes it
the way Transformers reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from .chat import END, END_OF_TEXT, SPECIAL, TEMPLATE, VISIBLE, document
from .seasoning import load
from .world.mix import stream

# Words take at most a leading space, never a quote: the same word is then one of two tokens wherever it is copied from.
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"


def learn(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of `size` tokens from texts."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(VISIBLE),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(t, special=False, normalized=False) for t in VISIBLE])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=END_OF_TEXT,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = TEMPLATE
    return made


def save(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    tokenizer.save_pretrained(folder)


def _texts(seasoning: Path | None, count: int) -> Iterator[str]:
    """A sample of the mix, real text weighing more than in training so that common words get tokens."""
    rng = Random(0)
    real = load(seasoning) if seasoning else None
    for sample in islice(stream(7, real.passages if real else ()), count):
        yield document(sample)
        if real and rng.random() < 0.6:
            yield document(real.sample(rng))


def main() -> None:
    """Learn the tokenizer of the pair."""
    args = argparse.ArgumentParser(description=main.__doc__)
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--seasoning", type=Path)
    args.add_argument("--samples", type=int, default=40_000)
    args.add_argument("--size", type=int, default=8192)
    given = args.parse_args()
    save(learn(_texts(given.seasoning, given.samples), given.size), given.out)


if __name__ == "__main__":
    main()
