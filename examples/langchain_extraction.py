"""A text into an object: the answer is held to the schema of a pydantic model while it is written.

python examples/langchain_extraction.py
python examples/langchain_extraction.py --target ./my-model --text "Ben, 41, is a baker in Bergen."
"""

from __future__ import annotations

import argparse
import json

from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from langchain_specdec import ChatSpecDec

TEXT = "Anna Berg is a teacher. She is 34 years old and lives in Oslo. Her favourite food is soup."


class Person(BaseModel):
    name: str
    age: int
    job: str
    city: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--text", default=TEXT)
    args = parser.parse_args()

    model = ChatSpecDec(model=args.target, draft=args.draft, temperature=0, max_tokens=200)
    order = "Return a JSON object that fits this schema:\n{schema}\n\n{text}"
    chain = ChatPromptTemplate.from_messages([("user", order)]) | model.with_structured_output(
        Person, method="json_schema"
    )
    keys = {name: {"type": field["type"]} for name, field in Person.model_json_schema()["properties"].items()}
    schema = json.dumps({"type": "object", "properties": keys, "required": list(keys)})
    person = chain.invoke({"schema": schema, "text": args.text})
    print(repr(person))


if __name__ == "__main__":
    main()
