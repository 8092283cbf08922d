"""Real clients against a real server on the bundled pair, each in an environment of its own: they need other versions
of the same packages than each other.

`python -m pytest -m slow tests/specdec_server/clients` makes the environments (in `out/clients`, once) and runs all.
The programs here are what runs inside; each takes the server's URL and fails like any program does.
"""
