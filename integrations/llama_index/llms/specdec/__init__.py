"""SpecDec as a LlamaIndex LLM.

    from llama_index.llms.specdec import SpecDec

    llm = SpecDec()                                  # the bundled pair
    llm = SpecDec("./my-model", "./my-small-model")  # a target, and what drafts for it

`llama_index` and `llama_index.llms` have no `__init__`: they are namespaces shared with llama-index-core.
"""

from specdec.errors import extra

with extra("llama-index", "SpecDec"):
    from llama_index.llms.specdec.base import SpecDec

__all__ = ["SpecDec"]
