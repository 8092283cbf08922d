"""A chain that streams: a prompt, the model, and its text as it comes; then what speculation did for it.

python examples/langchain_chain.py --name Mia --thing bell
python examples/langchain_chain.py --target ./my-model --draft ./my-small-model
"""

from __future__ import annotations

import argparse

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_specdec import ChatSpecDec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--name", default="Mia")
    parser.add_argument("--thing", default="bell")
    args = parser.parse_args()

    model = ChatSpecDec(model=args.target, draft=args.draft, temperature=0.7, seed=7, max_tokens=200)
    prompt = ChatPromptTemplate.from_messages([("user", "Tell me a story about {name} and a {thing}.")])
    chain = prompt | model | StrOutputParser()
    usage = UsageMetadataCallbackHandler()
    for text in chain.stream({"name": args.name, "thing": args.thing}, {"callbacks": [usage]}):
        print(text, end="", flush=True)
    print(f"\n\n{usage.usage_metadata[args.target]['output_tokens']} tokens")

    figures = (prompt | model).invoke({"name": args.name, "thing": args.thing}).response_metadata
    print(
        f"{figures['timing']['tokens_per_second']:.0f} tokens/s, "
        f"acceptance length {figures['speculative']['acceptance_length']:.1f}"
    )


if __name__ == "__main__":
    main()
