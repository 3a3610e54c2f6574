"""Try Tokenwire on the cluster that kubectl points at: python k8s/smoke.py [OVERLAY].

It applies an overlay (dev without one), asks for a long answer, replaces every gateway and worker while it is being
written, and compares the text.  It also looks whether the cluster enforces the network policies.  Images must be there:
``kind load docker-image tokenwire-gateway:0.1.0 tokenwire-worker:0.1.0``, or a registry that the overlay names.
``TOKENWIRE_KEY`` is the API key where one is asked for.  Everything stays as it is at the end; ``kubectl delete namespace tokenwire`` takes it away.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tokenwire.client import Stream, StreamError, stream

NAMESPACE = "tokenwire"
PROMPT = "one two three four five "
TOKENS = 3000
"""A minute of the echo engine's 50 tokens per second; a real model may end sooner by itself."""
ROLLOUT_SECONDS = 900


class Failed(Exception):
    """What did not hold, as a sentence."""


def main(overlay: str = "dev") -> int:
    """Run all steps; 0 if everything held."""
    folder = Path(__file__).parent / "overlays" / overlay
    try:
        admitted(folder)
        applied(folder)
        survives_a_rollout()
        policies_hold()
    except (Failed, StreamError, subprocess.SubprocessError) as problem:
        print(f"FAILED: {problem}")
        return 1
    print("Everything held.")
    return 0


def kubectl(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run kubectl in the namespace."""
    command = ["kubectl", "-n", NAMESPACE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


def admitted(folder: Path) -> None:
    """Let the API server judge every object, which no offline check replaces."""
    print("-- asking the API server what it thinks of the objects")
    kubectl("apply", "-f", str(folder.parents[1] / "base/namespace-tokenwire.yaml"))
    said = kubectl("apply", "-k", str(folder), "--dry-run=server").stderr
    if "would violate PodSecurity" in said:
        raise Failed(said)


def applied(folder: Path) -> None:
    """Apply the overlay and wait until its pods are ready."""
    print(f"-- applying {folder}")
    kubectl("apply", "-k", str(folder))
    for deployment in ("gateway", "worker"):
        kubectl("rollout", "status", f"deployment/{deployment}", f"--timeout={ROLLOUT_SECONDS}s")


def survives_a_rollout() -> None:
    """Replace all pods under an answer, and compare its text with what the log holds at the end."""
    print("-- replacing every gateway and worker while an answer is being written")
    with _forwarded() as url:
        key = os.environ.get("TOKENWIRE_KEY")
        answer = stream(PROMPT, base_url=f"{url}/v1", api_key=key, max_output_tokens=TOKENS, temperature=0)
        text = "".join(_struck(answer))
        told = answer.response or {}
    stored = "".join(part["text"] for item in told["output"] for part in item["content"])
    if text != stored:
        raise Failed(f"the client read {len(text)} characters, the log holds {len(stored)} others")
    print(f"   {len(text)} characters, resumed {answer.resumes} times, status {told['status']}")
    if not answer.resumes:
        raise Failed("the answer was over before its gateway was replaced: ask for a longer one")


def _struck(answer: Stream) -> Iterator[str]:
    """Read an answer; once it has begun, restart both tiers."""
    restarted: threading.Thread | None = None
    for piece in answer:
        if restarted is None:
            restarted = threading.Thread(target=_restart)
            restarted.start()
        yield piece
    if restarted is not None:
        restarted.join()


def _restart() -> None:
    for deployment in ("gateway", "worker"):
        kubectl("rollout", "restart", f"deployment/{deployment}")
        kubectl("rollout", "status", f"deployment/{deployment}", f"--timeout={ROLLOUT_SECONDS}s", check=False)


@contextlib.contextmanager
def _forwarded() -> Iterator[str]:
    """Forward a port of this machine to a gateway, and to another one when that is gone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    over = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def forward() -> None:
        while not over.is_set():
            command = ["kubectl", "-n", NAMESPACE, "port-forward", "service/gateway", f"{port}:8080"]
            running[:] = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]
            running[0].wait()
            time.sleep(0.5)

    forwarding = threading.Thread(target=forward)
    forwarding.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        over.set()
        while forwarding.is_alive():  # one may just have been started
            for each in running:
                each.terminate()
            forwarding.join(0.2)


def policies_hold() -> None:
    """See whether the cluster enforces network policies: a gateway must not reach a worker's probes."""
    print("-- looking whether network policies are enforced")
    pods = kubectl(
        "get", "pods", "-l", "app.kubernetes.io/component=worker", "-o", "jsonpath={.items[0].status.podIP}"
    )
    dial = f"import socket; socket.create_connection(('{pods.stdout}', 9102), timeout=5)"
    reached = kubectl("exec", "deployment/gateway", "--", "python", "-c", dial, check=False)
    if reached.returncode == 0:
        raise Failed(
            "a gateway reached a worker: this cluster's network plugin does not enforce NetworkPolicies, so use one "
            "that does (Calico, Cilium) before others share the cluster."
        )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
