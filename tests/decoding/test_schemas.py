"""Two hundred random JSON schemas on a model that has learnt nothing, at temperature 1: every answer is valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import specdec
from specdec.engine import Engine
from specdec.types import Grammar
from tests.random_weights import make_random_target

Schema = dict[str, Any]
NAMES = ("name", "größe", "名前", "emoji 🦊", "a b", 'quo"te', "back\\slash", "x-1")
DEPTH = 3


def random_schema(rng: Random) -> Schema:
    """An object of anything; a third of them can hold themselves."""
    schema = _object(rng, DEPTH)
    if rng.random() < 0.33:
        schema["properties"]["child"] = {"anyOf": [{"type": "null"}, {"$ref": "#"}]}
    return schema


def _object(rng: Random, depth: int) -> Schema:
    names = rng.sample(NAMES, rng.randint(1, 4))
    required = rng.sample(names, rng.randint(0, len(names)))
    properties = {name: _any(rng, depth - 1) for name in names}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _any(rng: Random, depth: int) -> Schema:
    kinds = [_string, _number, _integer, _choice, _constant]
    if depth > 0:
        kinds += [_object, _array, _either]
    return rng.choice(kinds)(rng, depth)


def _string(rng: Random, depth: int) -> Schema:
    longest = rng.randint(1, 12)
    patterned = {"type": "string", "pattern": "^[a-f]{2,4}-[0-9]{3}$"}
    return patterned if rng.random() < 0.3 else {"type": "string", "minLength": 1, "maxLength": longest}


def _integer(rng: Random, depth: int) -> Schema:
    low = rng.randint(-1000, 1000)
    return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 500)}


def _number(rng: Random, depth: int) -> Schema:
    low = rng.randint(-50, 50)
    return {"type": "number", "exclusiveMinimum": low, "maximum": low + rng.randint(1, 9)}


def _choice(rng: Random, depth: int) -> Schema:
    return {"enum": rng.sample(["é", "日本", "🦊", 'a"b', 3, 2.5, None, True, "line\nbreak"], rng.randint(1, 4))}


def _constant(rng: Random, depth: int) -> Schema:
    return {"const": rng.choice(["ja", 7, False])}


def _array(rng: Random, depth: int) -> Schema:
    least = rng.randint(0, 2)
    return {
        "type": "array",
        "items": _any(rng, depth - 1),
        "minItems": least,
        "maxItems": least + rng.randint(0, 2),
    }


def _either(rng: Random, depth: int) -> Schema:
    return {"anyOf": [{"type": "boolean"}, _array(rng, depth - 1)]}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = make_random_target(tmp_path_factory.mktemp("random-target"))
    with specdec.load(str(folder), slots=4) as engine:
        yield engine


@pytest.mark.slow
def test_two_hundred_schemas(engine: Engine) -> None:
    assert _valid(engine, range(200)) == 200


def test_some_schemas(engine: Engine) -> None:
    assert _valid(engine, range(1000, 1020)) == 20


def _valid(engine: Engine, seeds: range) -> int:
    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(lambda seed: _one(engine, seed), seeds))


def _one(engine: Engine, seed: int) -> bool:
    schema = random_schema(Random(seed))
    answer = engine.generate("x", grammar=Grammar.json_schema(schema), temperature=1.0, seed=seed, max_tokens=1500)
    assert answer.finish_reason == "stop", (seed, answer.text)
    Draft202012Validator(schema).validate(json.loads(answer.text))
    return True
