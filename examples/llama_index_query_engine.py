"""Questions over a folder of Markdown files: BM25 finds the section, the answer streams, and its source is quoted.

It needs llama-index-retrievers-bm25. Another model over other files:

    python examples/llama_index_query_engine.py --target ./my-model --docs ./notes --question "When is the fair?"
"""

import argparse
import re
from pathlib import Path

from llama_index.core import PromptTemplate, SimpleDirectoryReader
from llama_index.core.node_parser import MarkdownNodeParser
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.retrievers.bm25 import BM25Retriever

from llama_index.llms.specdec import SpecDec

DOCS = Path(__file__).with_name("llama_index_docs")
FERRY, FAIR = "When does ferry GH-204 leave?", "How much is a ticket for the science fair?"
SHOP, MARTEN = "Who does the Black Bookshop belong to?", "What is the enemy of the silver marten?"
PROMPT = PromptTemplate("{context_str}\n\nQuestion: {query_str}")


def engine_over(folder: Path, llm: SpecDec) -> RetrieverQueryEngine:
    documents = SimpleDirectoryReader(str(folder), required_exts=[".md"]).load_data()
    nodes = MarkdownNodeParser().get_nodes_from_documents(documents)
    for node in nodes:
        node.excluded_llm_metadata_keys = list(node.metadata)  # the model needs the text, not where it lies
    retriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=1)
    return RetrieverQueryEngine.from_args(retriever, llm=llm, text_qa_template=PROMPT, streaming=True)


def quoted(text: str, question: str, answer: str) -> str:
    """The sentence that has most words in common with what the answer adds to the question."""
    told = {*re.findall(r"\w+", answer)} - {*re.findall(r"\w+", question)}
    return max(re.split(r"(?<=\.)\s+|\n\n", text), key=lambda part: len(told & {*re.findall(r"\w+", part)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="bundled", help="a folder, a hub id or a server's URL")
    parser.add_argument("--draft", default="auto")
    parser.add_argument("--docs", type=Path, default=DOCS)
    parser.add_argument("--question", action="append")
    args = parser.parse_args()
    engine = engine_over(args.docs, SpecDec(args.target, args.draft, temperature=0, max_tokens=200))
    for question in args.question or [FERRY, FAIR, SHOP, MARTEN]:
        print(f"\n> {question}")
        response, answer = engine.query(question), ""
        for text in response.response_gen:
            print(text, end="", flush=True)
            answer += text
        source = response.source_nodes[0]
        print(f'\n  {source.metadata["file_name"]}: "{quoted(source.text, question, answer)}"')


if __name__ == "__main__":
    main()
