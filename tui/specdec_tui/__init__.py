"""The terminal chat: `specdec chat`. Shows an answer as it comes, how fast, and why it is that fast.

    core/      what the chat does, without a screen
    widgets/   what the screen is made of
    screens/   what opens over it
    app        ChatApp joins them; answering runs an answer, desk looks after the engine, dials keeps the gauge,
               doing has the slash commands, serve is for browsers

The engine runs in a process of its own, or at a URL; this one never imports torch.
"""
