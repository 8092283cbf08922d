"""/v1/embeddings: texts as vectors, by an encoder beside the models."""
