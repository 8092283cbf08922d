"""A table of texts into one of facts: each row is an answer held to a schema, and rows share the engine's rounds.

python examples/langchain_csv.py examples/people.csv facts.csv
python examples/langchain_csv.py mine.csv facts.csv --column note --target ./my-model --slots 8
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from langchain_specdec import ChatSpecDec


class Person(BaseModel):
    name: str
    age: int
    job: str
    city: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--slots", type=int, default=4, help="rows at once")
    args = parser.parse_args()

    with args.table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    model = ChatSpecDec(model=args.target, draft=args.draft, slots=args.slots, temperature=0, max_tokens=200)
    order = "Return a JSON object that fits this schema:\n{schema}\n\n{text}"
    chain = ChatPromptTemplate.from_messages([("user", order)]) | model.with_structured_output(
        Person, method="json_schema"
    )
    keys = {name: {"type": field["type"]} for name, field in Person.model_json_schema()["properties"].items()}
    schema = json.dumps({"type": "object", "properties": keys, "required": list(keys)})
    people = chain.batch([{"schema": schema, "text": row[args.column]} for row in rows])
    with args.out.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [*rows[0], *keys])
        table.writeheader()
        table.writerows(row | person.model_dump() for row, person in zip(rows, people, strict=True))
    print(f"{len(people)} rows in {args.out}")


if __name__ == "__main__":
    main()
