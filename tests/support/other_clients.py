"""Client programs that nobody here wrote, each run as its users run it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

PATIENCE = 90

MODELS = """
- model_id: chat
  model_name: echo
  api_base: {base}
  api_key_name: gateway
- model_id: text
  model_name: echo
  api_base: {base}
  api_key_name: gateway
  completion: true
- model_id: absent
  model_name: no-such-model
  api_base: {base}
  api_key_name: gateway
"""


async def run(program: Path | str, *arguments: str, **options: object) -> tuple[int, str, str]:
    """Return exit code, output and what was said of errors."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **options,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode(), err.decode()


async def node(folder: Path, url: str, scene: str, key: str = "any") -> dict:
    """Play a scene of the official package for Node against a gateway."""
    _, out, err = await run("node", "runner.mjs", scene, f"{url}/v1", key, cwd=folder)
    assert out, err
    return json.loads(out)


async def llm(home: Path, url: str, *arguments: str, key: str = "any") -> tuple[int, str, str]:
    """Run `llm` with its data in ``home``."""
    (home / "extra-openai-models.yaml").write_text(MODELS.format(base=f"{url}/v1"))
    (home / "keys.json").write_text(json.dumps({"gateway": key}))
    # The package of the small model's weights is a plugin of this client; it cannot run here.
    env = {**os.environ, "LLM_USER_PATH": str(home), "LLM_LOAD_PLUGINS": ""}
    return await run(Path(sys.executable).with_name("llm"), *arguments, env=env)
