"""Tokenwire's own client comes back by itself: cut the network while it writes, and the text goes on where it was.

python resume.py "Why is the sky blue?", and Ctrl-C is Stop: the GPU is free at once, and what was written stays.
"""

import os
import signal
import sys

from tokenwire.client import stream

answer = stream(
    " ".join(sys.argv[1:]) or "Why is the sky blue?",
    base_url=os.environ.get("TOKENWIRE_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("TOKENWIRE_KEY"),
    max_output_tokens=400,
)
signal.signal(signal.SIGINT, lambda *_: answer.cancel())

for piece in answer:
    print(piece, end="", flush=True)
print()
print(f"-- {answer.response['status']}, resumed {answer.resumes} times", file=sys.stderr)
