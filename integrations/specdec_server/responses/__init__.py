"""/v1/responses: OpenAI's newer form of a chat, without storage."""
