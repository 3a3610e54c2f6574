"""Takes one guard out of the fleet's processes: Python imports this first where PYTHONPATH names this folder.

``BREAKAGE`` names what is broken.  It is a test's means alone; nothing of it can be switched on in the product.
A patch is applied when its module has been imported, so that a process which never uses it pays nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.abc
import importlib.util
import os
import sys


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, patches):
        self._patches = dict(patches)

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002 - the signature is importlib's
        patch = self._patches.pop(name, None)
        if patch is None:
            return None
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_patch(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = execute_and_patch
        return spec


def script(verb, old, new):
    """Change the source of one verb; raises KeyError if the script is not what the patch expects."""

    def patch(module):
        load = module.load_scripts

        def load_scripts():
            scripts = load()
            source = scripts[verb].source
            if old not in source:
                raise KeyError(f"{verb} has no {old!r}")
            source = source.replace(old, new)
            sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            scripts[verb] = dataclasses.replace(scripts[verb], source=source, sha=sha)
            return scripts

        module.load_scripts = load_scripts

    return patch


def scripts(verbs, old, new):
    def patch(module):
        for verb in verbs:
            script(verb, old, new)(module)

    return patch


# ---- in the gateway ----


def no_duplicate_drop(module):
    accept = module.Follower.accept

    def broken(self, message):
        verdict = accept(self, message)
        live = self.state is module.State.LIVE and message.kind == b"d"
        return module.Verdict.DELIVER if verdict is module.Verdict.DUPLICATE and live else verdict

    module.Follower.accept = broken


def no_gap_repair(module):
    accept = module.Follower.accept

    def broken(self, message):
        if self.state is module.State.LIVE and message.kind == b"d" and message.epoch == self.epoch:
            self.next = max(self.next, message.upto - message.covers)
        return accept(self, message)

    module.Follower.accept = broken


def no_lineage(module):
    module.Follower._is_our_lineage = lambda _self, _entries: True


def no_recheck(module):
    async def broken(_self, _batch):
        pass

    module.Hub._attend = broken


def no_merge_numbers(module):
    def broken(self, _first, last, text):
        return self.one(last, text)

    module.DeltaFrame.merged = broken


def closes_as_done(module):
    module.CloseCode = type(
        "CloseCode", (), {**module.CloseCode.__members__, "RESTART": module.CloseCode.DONE}
    )


def only_its_own(module):
    store = module.RedisGatewayStore
    submit, follow = store.submit, store.follow

    async def broken_submit(self, request, watcher, bound):
        mine = self.__dict__.setdefault("mine", set())
        reply = await submit(self, request, watcher, bound)
        mine.add(getattr(reply, "response_id", ""))
        return reply

    async def broken_follow(self, response_id, *rest):
        if response_id not in self.__dict__.setdefault("mine", set()):
            return module.Refused.UNKNOWN
        return await follow(self, response_id, *rest)

    store.submit, store.follow = broken_submit, broken_follow


def no_usage(module):
    usage = module.usage
    module.usage = lambda told: usage(dataclasses.replace(told, generated_tokens=0))


def no_time_of_the_table(module):
    module.WireError.__post_init__ = lambda _: None


def no_retry_time(module):
    overloaded = module.overloaded
    module.overloaded = lambda *given: dataclasses.replace(overloaded(*given), retry_after=None)


# ---- in the worker ----


def no_held_back(module):
    resume = module.Sequence.resume

    def broken(self):
        events = resume(self)
        self._text._stops._held = ""
        return events

    module.Sequence.resume = broken


def no_tail_repair(module):
    repair = module.Journal.repair

    def broken(self, last, link):
        whole = repair(self, last, link)
        self._sending = []
        return whole

    module.Journal.repair = broken


def no_drain(module):
    async def broken(self, _seconds):
        self._draining = True

    module.Intake.drain = broken


# ---- in the crowds: more of what shows it ----


def slow_readers(module):
    module._WEIGHTS[module.Doing.SLOW] = 40


def quick_clients(module):
    """No client that takes long, so that a run is over soon."""
    for doing in (module.Doing.SLOW, module.Doing.LEAVE):
        module._WEIGHTS[doing] = 0


def many_poisons(module):
    module._EVERY[module.Fault.POISON] = 3.0


CLAIM_ENTRY = """redis.call('XADD', LOG, 'NOMKSTREAM', epoch .. '-' .. int(upto),
  'k', kind, 'at', int(now), 'w', worker, 'x', marked)"""
ASKS = "tokenwire.audit.asks"
SCHEDULE = "tokenwire.audit.schedule"
SCRIPTS = "shared.store.scripts"

BREAKAGES = {
    "claimed entry": {
        SCRIPTS: script("claim", CLAIM_ENTRY, f"if kind == 's' then {CLAIM_ENTRY} end"),
        ASKS: quick_clients,
    },
    "duplicate drop": {"gateway.follower": no_duplicate_drop, ASKS: quick_clients},
    "gap repair": {"gateway.follower": no_gap_repair, ASKS: quick_clients},
    "cursor epoch": {
        SCRIPTS: script("follow", "local cursor = tonumber(ARGV[6])", "local cursor = nil"),
        "gateway.follower": no_lineage,
    },
    "ending re-check": {"gateway.hub": no_recheck, ASKS: quick_clients},
    "merge numbering": {"gateway.render": no_merge_numbers, ASKS: slow_readers},
    "restart code": {"gateway.session": closes_as_done, ASKS: quick_clients},
    "any gateway": {"shared.store.gateway": only_its_own, ASKS: quick_clients},
    "usage": {"gateway.response": no_usage, ASKS: quick_clients},
    "retry time": {
        "gateway.errors": no_time_of_the_table,
        "gateway.models": no_retry_time,
        ASKS: quick_clients,
    },
    "held-back state": {"worker.sequence": no_held_back, ASKS: quick_clients},
    "tail repair": {"worker.journal": no_tail_repair, ASKS: quick_clients},
    "drain": {"worker.intake": no_drain, ASKS: quick_clients},
    "orphan rule": {
        SCRIPTS: scripts(
            ("claim", "renew", "expire"),
            "local function is_left(attachment, now)",
            "local function is_left(attachment, now) do return false end",
        )
    },
    "suspect rule": {
        SCRIPTS: script("claim", "if attempts > 0 and ARGV[5] ~= '1'", "if false"),
        ASKS: quick_clients,
        SCHEDULE: many_poisons,
    },
    "bound": {
        SCRIPTS: script("submit", "if waiting >= tonumber(ARGV[4]) then", "if false then"),
        ASKS: quick_clients,
    },
    "expiry": {
        SCRIPTS: scripts(
            ("submit", "renew", "finish", "cancel"), "redis.call('PEXPIRE', key", "redis.call('EXISTS', key"
        ),
        ASKS: quick_clients,
    },
}
if os.environ.get("BREAKAGE"):
    sys.meta_path.insert(0, _Finder(BREAKAGES[os.environ["BREAKAGE"]]))
