"""SpecDec as a LlamaIndex embedding model.

    from llama_index.embeddings.specdec import SpecDecEmbedding

    Settings.embed_model = SpecDecEmbedding("BAAI/bge-small-en-v1.5")

`llama_index` and `llama_index.embeddings` have no `__init__`: they are namespaces shared with llama-index-core.
"""

from specdec.errors import extra

with extra("llama-index", "SpecDecEmbedding"):
    from llama_index.core.embeddings.loading import RECOGNIZED_EMBEDDINGS

    from llama_index.embeddings.specdec.base import SpecDecEmbedding

RECOGNIZED_EMBEDDINGS[SpecDecEmbedding.class_name()] = SpecDecEmbedding  # so that load_embed_model knows it

__all__ = ["SpecDecEmbedding"]
