"""The official OpenAI package, unchanged: python openai_sdk.py "Why is the sky blue?"."""

import os
import sys

from openai import OpenAI

prompt = " ".join(sys.argv[1:]) or "Why is the sky blue?"
client = OpenAI(
    base_url=os.environ.get("TOKENWIRE_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("TOKENWIRE_KEY", "any"),
)
model = client.models.list().data[0].id

with client.responses.stream(model=model, input=prompt, max_output_tokens=200) as events:
    for event in events:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
print()
