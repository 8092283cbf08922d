"""SpecDec as a LlamaIndex LLM.

    from llama_index.llms.specdec import SpecDec

    llm = SpecDec()                                  # the bundled pair
    llm = SpecDec("./my-model", "./my-small-model")  # a target, and what drafts for it

`llama_index` and `llama_index.llms` have no `__init__`: they are namespaces shared with llama-index-core.
"""

from specdec.errors import extra

with extra("llama-index", "SpecDec"):
    from llama_index.core.llms.loading import RECOGNIZED_LLMS

    from llama_index.llms.specdec.base import SpecDec

RECOGNIZED_LLMS[SpecDec.class_name()] = SpecDec  # so that load_llm makes one of what to_dict() has written

__all__ = ["SpecDec"]
