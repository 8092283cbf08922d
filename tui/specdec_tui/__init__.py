"""The terminal chat: `specdec chat`. Shows an answer as it comes, how fast, and why it is that fast.

    core/      what the chat does, without a screen
    widgets/   what the screen is made of
    screens/   the chat itself, and what opens over it
    commands   what the slash commands do to the chat's screen
    app        ChatApp: engine, sessions and commands around the chat's screen; run begins it, serve is for browsers

Imports go one way: app, commands, screens, widgets, core. What happens in a widget goes up as Textual's messages and
actions. The engine runs in a process of its own, or at a URL; this one never imports torch.
"""
