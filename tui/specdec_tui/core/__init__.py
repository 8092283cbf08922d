"""What the chat does, apart from any screen: conversations and their store, settings, commands, figures, frames.

Nothing here imports Textual, and everything can be tried without a terminal.
"""
