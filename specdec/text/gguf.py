"""The tokenizer that a GGUF file describes, as one of transformers.

The file names the rule by which text was cut before merges were learned (`tokenizer.ggml.pre`); the rules are those of
the models' own tokenizer.json. A rule that is not known here is refused: with another the same text has other tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from specdec.errors import CheckpointCorrupt, UnsupportedModel
from specdec.gguf import GgufFile

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+%s"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*%s"
)
_SLASHED = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_QWEN35 = (
    _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = _CASED.replace("%s", "") + r"|\p{N}" + _SLASHED
_GPT4O = _CASED.replace("%s", _CONTRACTIONS + "?") + r"|\p{N}{1,3}" + _SLASHED
_WORDS = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK3 = (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", _WORDS)
_DIGITS = (r"\p{N}",)
_RULES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "exaone4", "mellum", "gigachat"): (),
    ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"): _DIGITS,
    ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"): (_LLAMA3,),
    ("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"): (_LLAMA3,),
    ("qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "kormo"): (_QWEN2,),
    ("qwen35",): (_QWEN35,),
    ("tekken",): (_TEKKEN,),
    ("gpt-4o", "llama4", "kanana2"): (_GPT4O,),
    ("deepseek-v3", "hunyuan-dense"): _DEEPSEEK3,
}
"""How text is cut, one regular expression after another. Of none, and after single digits, GPT-2's own follows."""
_CUTS = {name: rules for names, rules in _RULES.items() for name in names}
_WHOLE_FIRST = frozenset({_LLAMA3, _TEKKEN})
"""With these rules a piece that is a token is that token, whatever its merges give."""
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_ENDS = frozenset(
    {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<end_of_turn>",
        "<turn|>",
        "<eos>",
        "</s>",
        "<EOT>",
        "[EOS]",
        "<|end_of_turn|>",
        "<｜end▁of▁sentence｜>",
    }
)
"""Tokens that end an answer wherever they are control tokens: a file names one to three of its own by id."""
_HARMONY = frozenset({"<|return|>", "<|call|>"})


def backing(file: GgufFile) -> Any:
    """A tokenizer of transformers. Raises UnsupportedModel for kinds that are not known here."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    kind, tokens = file.metadata.get("tokenizer.ggml.model"), _tokens(file)
    if kind == "gpt2":
        built = _byte_level(file, tokens)
    elif kind == "llama":
        built = _sentencepiece(file, tokens)
    else:
        raise UnsupportedModel(f"{file.path} has a tokenizer of the kind {kind!r}; expected 'gpt2' or 'llama'")
    kinds = file.metadata.get("tokenizer.ggml.token_type", ())
    for of, special in ((_CONTROL, True), (_UNKNOWN, True), (_USER_DEFINED, False)):  # these stand in texts as they are
        of_kind = (token for token, own in zip(tokens, kinds, strict=False) if own == of)
        added = [AddedToken(token, special=special, normalized=False) for token in of_kind]
        built.add_special_tokens(added) if special else built.add_tokens(added)
    _add_ends(built, file, tokens, bos_by_default=kind == "llama" or _rules(file) == (_LLAMA3,))
    named = {f"{name}_token": _named(file, tokens, key) for name, key in _SPECIAL.items()}
    template, named_so = file.metadata.get(_TEMPLATE), f"{_TEMPLATE}."
    others = {key.removeprefix(named_so): text for key, text in file.metadata.items() if key.startswith(named_so)}
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        clean_up_tokenization_spaces=False,
        **{name: token for name, token in named.items() if token is not None},
        chat_template={"default": template, **others} if others and template else template,
    )


_TEMPLATE = "tokenizer.chat_template"
_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def eos_ids(file: GgufFile) -> tuple[int, ...]:
    """All ids that end an answer: those that the file names, and control tokens that are known to."""
    named = [file.metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    tokens, kinds = _tokens(file), file.metadata.get("tokenizer.ggml.token_type", ())
    ends = {token: i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=False)) if kind == _CONTROL}
    found = {token: i for token, i in ends.items() if token in _ENDS}
    if found.keys() >= _HARMONY:  # where <|end|> is only the end of one message of several
        found.pop("<|end|>", None)
    return tuple(dict.fromkeys(i for i in (*named, *found.values()) if i is not None))


def _tokens(file: GgufFile) -> list[str]:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise CheckpointCorrupt(f"{file.path} holds no tokenizer; expected a GGUF file of a whole model")
    return tokens


def _rules(file: GgufFile) -> tuple[str, ...]:
    name = file.metadata.get("tokenizer.ggml.pre", "gpt-2")
    if name not in _CUTS and file.metadata.get("tokenizer.ggml.model") == "gpt2":
        raise UnsupportedModel(
            f"{file.path} cuts text as {name!r} (tokenizer.ggml.pre), which is not known here; expected one of "
            f"{', '.join(sorted(_CUTS))}, or the model's own folder"
        )
    return _CUTS.get(name, ())


def _byte_level(file: GgufFile, tokens: Sequence[str]) -> Any:
    """Merges over the letters that stand for bytes (GPT-2 and those after it)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    merges = [tuple(merge.split(" ", 1)) for merge in file.metadata.get("tokenizer.ggml.merges", ())]
    rules = _rules(file)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    built = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=bool(_WHOLE_FIRST & set(rules))))
    cuts = [pre_tokenizers.Split(Regex(rule), "isolated") for rule in rules]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rules in ((), _DIGITS))
    built.pre_tokenizer = pre_tokenizers.Sequence([*cuts, last])
    built.decoder = decoders.ByteLevel()
    return built


def _sentencepiece(file: GgufFile, tokens: Sequence[str]) -> Any:
    """Merges by the score of what they give, over letters, with bytes for those that have no token."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    vocabulary = {token: i for i, token in enumerate(tokens)}
    scores = file.metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise CheckpointCorrupt(f"{file.path} has no score for each of its {len(tokens)} tokens; fetch it again")
    unknown = _named(file, tokens, "unknown")
    found = []  # all pairs of tokens that give a token, those with the best score first
    for token, i in vocabulary.items():
        pairs = ((token[:at], token[at:]) for at in range(1, len(token)))
        parts = [(vocabulary[a], vocabulary[b], a, b) for a, b in pairs if a in vocabulary and b in vocabulary]
        found += [(-scores[i], *part) for part in sorted(parts)]
    merges = [(a, b) for _, _, _, a, b in sorted(found, key=lambda pair: pair[0])]
    built = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    spaces, prefix = normalizers.Replace(" ", "▁"), file.metadata.get("tokenizer.ggml.add_space_prefix", True)
    built.normalizer = normalizers.Sequence([*([normalizers.Prepend("▁")] if prefix else []), spaces])
    text = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    built.decoder = decoders.Sequence([*text, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return built


def _add_ends(built: Any, file: GgufFile, tokens: Sequence[str], *, bos_by_default: bool) -> None:
    """What is put before and after a raw prompt."""
    from tokenizers import processors

    first, last = (
        _named(file, tokens, name) if file.metadata.get(f"tokenizer.ggml.add_{name}_token", default) else None
        for name, default in (("bos", bos_by_default), ("eos", False))
    )
    around = [token for token in (first, last) if token is not None]
    single = [*([first] if first else []), "$A", *([last] if last else [])]
    pair = [*single, *([first] if first else []), "$B:1", *([last] if last else [])]
    special = [(token, built.token_to_id(token)) for token in dict.fromkeys(around)]
    built.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)


def _named(file: GgufFile, tokens: Sequence[str], name: str) -> str | None:
    i = file.metadata.get(f"tokenizer.ggml.{name}_token_id")
    return tokens[i] if isinstance(i, int) and 0 <= i < len(tokens) else None
