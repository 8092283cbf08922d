"""The same Engine in a child process, so that a busy parent cannot slow decoding.

    from specdec.process import ProcessEngine

    with ProcessEngine.load() as engine:
        print(engine.generate("Tell me a story about a fox.").text)

    ProcessEngine (engine)   the Engine contract, and restart()
    ChildProcess (child)     one child, seen from the parent: its pipes, its requests, its end
    main (worker)            what runs in the child: loads the engine, answers over the pipe
    messages, errors         what crosses the pipe

The child is a fresh interpreter, reached over its standard input and output; nothing is forked, nothing shared,
and the parent's main script is not run again, so no
`if __name__ == "__main__"` is asked for. The parent never imports torch.
The child lives as long as its standard input is open: a parent that dies, however it dies, closes it.
"""

from __future__ import annotations

from specdec.process.engine import ProcessEngine as ProcessEngine
from specdec.process.messages import Factory as Factory
