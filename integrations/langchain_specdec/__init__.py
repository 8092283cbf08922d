"""LangChain's classes over SpecDec: a chat model, a completion model, embeddings. Importing this does not import torch.

from langchain_specdec import ChatSpecDec

ChatSpecDec().invoke("Tell me a story about a fox.")
"""

from specdec.errors import extra

with extra("langchain", "ChatSpecDec"):
    from langchain_specdec.chat_models import ChatSpecDec
    from langchain_specdec.embeddings import SpecDecEmbeddings
    from langchain_specdec.errors import InputTooLong, InvalidInput
    from langchain_specdec.llms import SpecDecLLM
    from langchain_specdec.providers import register

__all__ = ["ChatSpecDec", "InputTooLong", "InvalidInput", "SpecDecEmbeddings", "SpecDecLLM", "register"]
