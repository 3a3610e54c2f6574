"""The overlay vllm: a worker with its variables, and with what its image has, in front of a server of that kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import upstream
from compose_checks import Dockerfile, of_dockerfile
from manifests import ROOT, containers, environment, first_key, named, overlay
from pods import started

from shared.store.link import Link
from tokenwire.client import stream

DOCKERFILE = ROOT / "deploy/upstream/Dockerfile"


async def test_an_answer_comes_from_the_upstream(valkey, tmp_path):
    link = Link.to(valkey)
    await link.command("FLUSHALL")
    await link.close()
    objects = overlay("vllm")
    async with (
        upstream.serving() as vllm,
        started(objects, "worker", valkey, tmp_path, UPSTREAM=vllm.url, WORKER_NAME="worker-0") as worker,
        started(objects, "gateway", valkey, tmp_path) as gateway,
    ):
        assert (await worker.says("ready"))["model"] == "parrot"  # the upstream's own name
        port = (await gateway.says("listening"))["port"]
        await gateway.says("ready")
        answer = stream(
            "one two three ", base_url=f"http://127.0.0.1:{port}/v1", api_key=first_key(), max_output_tokens=6
        )
        text = "".join([piece async for piece in answer])
        assert text
        assert len(vllm.asked) == 1
        assert answer.usage["output_tokens"] == 6


def test_the_policy_leads_to_the_port_of_the_upstream():
    objects = overlay("vllm")
    given = environment(objects, containers(named(objects, "Deployment", "worker"))[0])
    (rule,) = named(objects, "NetworkPolicy", "worker-upstream")["spec"]["egress"]
    namespace = rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert given["UPSTREAM"] == f"http://vllm.{namespace}.svc:{rule['ports'][0]['port']}/v1"


def test_the_image_is_made_as_the_others_are():
    assert list(of_dockerfile(Dockerfile(DOCKERFILE.read_text()))) == []


def test_the_worker_needs_nothing_that_the_image_lacks():
    # What the image has of others is the core and the extra upstream; torch and the rest must not be asked for.
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'tokenizers', 'starlette', 'websockets'): sys.modules[name] = None\n"
        "import worker.app, worker.engines.openai.engine, worker.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(ROOT), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
