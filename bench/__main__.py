"""`make bench`: all benchmarks, or those that are named: `python -m bench emit relay path`."""

from __future__ import annotations

import sys

from bench import emit, engine, page, path, relay, serve, sockets

_ALL = {
    "emit": emit.run,
    "relay": relay.run,
    "path": path.run,
    "sockets": sockets.run,
    "engine": engine.run,
    "serve": serve.run,
    "page": page.run,
}


def main(names: list[str]) -> int:
    """Run the benchmarks; 2 if there is none of a name."""
    unknown = [name for name in names if name not in _ALL]
    if unknown:
        sys.stderr.write(f"There is no benchmark {unknown[0]!r}; there are {', '.join(_ALL)}.\n")
        return 2
    for name in names or _ALL:
        _ALL[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
