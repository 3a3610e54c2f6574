"""What only the whole run can tell: whom each strike hit, how long pauses were, how fast a stop was; pure."""

from __future__ import annotations

from collections.abc import Sequence

from tokenwire.audit.asks import Doing
from tokenwire.audit.evidence import Evidence
from tokenwire.audit.facts import Fact, Owned, Stopped, Struck, Watched
from tokenwire.audit.findings import Promise, Rules, Violation, hits
from tokenwire.audit.occupancy import Occupancy
from tokenwire.audit.schedule import Fault
from tokenwire.audit.transcript import Stall
from tokenwire.audit.troubles import Troubles

_LETHAL = frozenset(
    {
        Fault.KILL_WORKER,
        Fault.FREEZE_WORKER,
        Fault.HOLD_WORKER_LINK,
        Fault.DRAIN_WORKER,
        Fault.POISON,
        Fault.LOSE_TAIL,
    }
)
"""Strikes after which another worker must go on."""

_SETTLING = 1.5
"""Seconds after a fault on the way in which what it held up is still worked off."""


class Whole:
    """All facts of a run, asked for what happened when."""

    def __init__(
        self, facts: Sequence[Fact], struck: Sequence[Struck], stalls: Sequence[Stall], rules: Rules
    ) -> None:
        self._facts = facts
        self._struck = struck
        self._troubles = Troubles(struck, stalls)
        self._rules = rules
        self._occupancy = Occupancy(facts, struck, rules.slots)
        self.evidence = Evidence()
        self.violations: list[Violation] = []

    def weigh(self) -> None:
        """Fill evidence and violations."""
        evidence = self.evidence
        evidence.stalled = self._troubles.stalled_in_all
        for strike in self._struck:
            evidence.strikes[strike.fault] = evidence.strikes.get(strike.fault, 0) + 1
            evidence.hits[strike.fault] = evidence.hits.get(strike.fault, 0) + self._hit(strike)
        for each in self._facts:
            evidence.resumes += each.resumes
            evidence.elsewhere += each.elsewhere
            evidence.merged += each.merged
            evidence.slow += each.doing == Doing.SLOW
            evidence.poisons += each.doing == Doing.POISON
            evidence.told_lost += each.told_lost
            evidence.lost_endings += each.lost_endings
            self._weigh_pauses(each)
            self._weigh_stop(each)
            self._weigh_leaving(each)
            self._weigh_left(each)
        self._weigh_drains()
        self._weigh_outages()

    def _hit(self, strike: Struck) -> int:
        """Count the running responses that a strike hit."""
        if strike.fault.on_server:
            return sum(1 for f in self._facts if _ran(f, strike))
        if strike.fault.on_worker or strike.fault is Fault.POISON:
            owned = (o for f in self._facts for o in f.owned if o.owner == strike.target)
            return sum(1 for each in owned if _at(each, strike))
        if strike.fault.on_gateway:
            return sum(1 for f in self._facts if any(_served(w, strike) for w in f.watched))
        return sum(1 for f in self._facts if _began(f, strike))

    # ---- outages of servers ----

    def _weigh_outages(self) -> None:
        """Find answers that stood still for longer than an outage, and what may follow one, accounts for."""
        rules = self._rules
        for strike in self._struck:
            if not strike.fault.on_server or strike.fault is Fault.FILL_MEMORY:
                continue  # a full memory ends what runs
            # On a new link a lease is trusted once it could have been renewed, and then it must have run out.
            limit = strike.end - strike.begin + 2 * rules.lease + rules.pause_slack
            for each in self._facts:
                pause = _still(each, strike) if _ran(each, strike) else 0.0
                if pause:
                    self.evidence.pauses.setdefault(strike.fault, []).append(pause)
                if pause > limit + self._troubles.stalled(
                    strike.begin, strike.begin + pause, _on_the_way(each)
                ):
                    detail = f"{pause:.2f} s from {strike.fault} on, allowed {limit:.2f} s"
                    self.violations.append(
                        Violation(Promise.PAUSE, "pause too long", each.response_id, detail)
                    )

    # ---- pauses ----

    def _weigh_pauses(self, each: Fact) -> None:
        for owned in each.owned:
            strike = self._cause(owned)
            if strike is not None:
                self._weigh_pause(strike, each, owned)

    def _cause(self, owned: Owned) -> Struck | None:
        """Return why a response was handed over: the first strike that ended its owner, else the last other."""
        hit = [strike for strike in self._struck if strike.target == owned.owner and _at(owned, strike)]
        lethal = [strike for strike in hit if strike.fault in _LETHAL]
        if lethal:
            return min(lethal, key=lambda strike: strike.begin)
        return max(hit, key=lambda strike: strike.begin, default=None)

    def _weigh_pause(self, strike: Struck, each: Fact, owned: Owned) -> None:
        if not owned.handed or each.doing == Doing.POISON:
            return
        pause = owned.seen - strike.begin
        rules, fault = self._rules, strike.fault
        free = self._occupancy.free(strike.begin, owned.seen)
        limit = rules.drain_pause if fault is Fault.DRAIN_WORKER else rules.lease + rules.pause_slack
        excused = self._troubles.stalled(strike.begin, owned.seen, _on_the_way(each, owned))
        if not free or (
            pause > limit and (pause <= limit + excused or self._troubles.others(strike, owned.seen))
        ):
            self.evidence.crowded_pauses.append(pause)
            return
        if fault.on_server:
            return  # how long that took is weighed with its outage
        self.evidence.pauses.setdefault(fault, []).append(pause)
        if pause > limit and fault in (Fault.KILL_WORKER, Fault.FREEZE_WORKER, Fault.DRAIN_WORKER):
            promise = Promise.DEPLOYS if fault is Fault.DRAIN_WORKER else Promise.PAUSE
            detail = f"{pause:.2f} s after {fault}, allowed {limit:g} s with a free slot"
            self.violations.append(Violation(promise, "pause too long", each.response_id, detail))

    # ---- stops and leavers ----

    def _weigh_stop(self, each: Fact) -> None:
        stop = each.stopped
        if stop is None or not stop.seen:
            return
        evidence, rules = self.evidence, self._rules
        evidence.stopped_queued += stop.queued
        evidence.after_stop.append(stop.tokens)
        delay = stop.seen - stop.at
        excused = (
            rules.stop_seconds
            < delay
            <= rules.stop_seconds + self._troubles.stalled(stop.at, stop.seen, stop.gateways)
        )
        if (
            excused
            or not stop.one_socket
            or self._troubles.struck(stop.at - _SETTLING, stop.seen, gateways=True)
        ):
            evidence.troubled_stops.append(delay)
        else:
            evidence.stop_delays.append(delay)
            if delay > rules.stop_seconds:
                detail = f"the ending came {delay:.2f} s after the stop"
                self.violations.append(Violation(Promise.STOP, "late stop", each.response_id, detail))
        self._weigh_slot(each, stop)

    def _weigh_slot(self, each: Fact, stop: Stopped) -> None:
        if not stop.freed or self._troubles.struck(stop.ended - 6.0, stop.freed, gateways=False):
            return
        seconds = max(0.0, stop.freed - stop.ended)
        if seconds > self._rules.stop_seconds + 0.1 + self._troubles.stalled(
            stop.ended, stop.freed, (stop.owner,)
        ):
            detail = f"{seconds:.2f} s after its ending"
            self.violations.append(Violation(Promise.STOP, "slot freed late", each.response_id, detail))
        self.evidence.freed.append(seconds)

    def _weigh_leaving(self, each: Fact) -> None:
        """Find responses that went on unwatched for longer than ``keep``, a lapsed lease and a death may take."""
        if not each.left_at or not each.ended or each.ended <= each.left_at:
            return
        rules = self._rules
        ran = each.ended - each.left_at
        self.evidence.orphans.append(ran)
        limit = rules.keep + rules.attachment + 2 * rules.lease + 2.0
        # After an outage nobody is judged before viewers could come back.
        limit += sum(
            strike.end - strike.begin + rules.keep + rules.attachment
            for strike in self._struck
            if strike.fault.on_server and strike.begin < each.ended and strike.end > each.left_at
        )
        if ran > limit + self._troubles.stalled(each.left_at, each.ended, _on_the_way(each)):
            detail = f"ran {ran:.1f} s after everybody had left, and ended by {each.reason}"
            self.violations.append(Violation(Promise.STOP, "orphan not stopped", each.response_id, detail))

    def _weigh_left(self, each: Fact) -> None:
        """Find responses that were ended as left while somebody watched.

        A socket that came back to a gateway which was struck just then is not known to anybody yet: the
        gateway, or its link, stood still before it could say so.
        """
        for gateway, opened in each.watching:
            struck = any(
                strike.begin < each.ended and strike.end > opened and strike.target == gateway
                for strike in self._struck
                if strike.fault.on_gateway
            )
            if not struck and opened < each.ended - 0.5 - self._troubles.stalled(
                opened, each.ended, (gateway,)
            ):
                self.violations.append(
                    Violation(Promise.STOP, "ended as left while watched", each.response_id, f"at {gateway}")
                )

    # ---- deploys ----

    def _weigh_drains(self) -> None:
        for each in self._facts:
            for watched in each.watched:
                self._weigh_close(each, watched)
                self._weigh_silence(each, watched)
        for strike in self._struck:
            if strike.fault in (Fault.DRAIN_WORKER, Fault.DRAIN_GATEWAY):
                self.evidence.drain_exits.append(strike.exit_seconds)
                slow = strike.exit_seconds > self._rules.drain_exit + self._troubles.stalled(
                    strike.begin, strike.end, (strike.target,)
                )
                if slow or strike.exit_code != 0:
                    detail = f"exit {strike.exit_code} after {strike.exit_seconds:.1f} s"
                    self.violations.append(
                        Violation(Promise.DEPLOYS, f"{strike.fault} ended badly", strike.target, detail)
                    )

    def _weigh_silence(self, each: Fact, watched: Watched) -> None:
        """Find sockets that stood on after the ending and never brought it, longer than their gateway was out."""
        begin = watched.end - watched.unseen
        out = sum(
            min(strike.end, watched.end) - max(strike.begin, begin)
            for strike in self._struck
            if strike.target == watched.gateway or strike.fault.on_server
            if strike.begin < watched.end and strike.end > begin
        )
        if watched.unseen > self._rules.silence + out + self._troubles.stalled(
            begin, watched.end, (watched.gateway,)
        ):
            detail = f"a socket stood {watched.unseen:.1f} s after the ending and did not bring it"
            self.violations.append(Violation(Promise.ONE_ENDING, "ending not told", each.response_id, detail))

    def _weigh_close(self, each: Fact, watched: Watched) -> None:
        if watched.ours or not watched.code:
            return
        draining = any(
            strike.fault is Fault.DRAIN_GATEWAY
            and strike.target == watched.gateway
            and strike.begin - 0.1 <= watched.end <= strike.begin + strike.exit_seconds + 0.5
            for strike in self._struck
        )
        self.evidence.restarts += draining and watched.code == 1012
        if watched.code == 1000:
            detail = "closed 1000 with the response in flight"
            self.violations.append(Violation(Promise.DEPLOYS, "closed as done", each.response_id, detail))
        elif draining and watched.code not in (1012, 1001) and not watched.slow:
            detail = f"closed {watched.code} by a draining gateway"
            self.violations.append(Violation(Promise.DEPLOYS, "cut by a drain", each.response_id, detail))


def _on_the_way(each: Fact, given_up: Owned | None = None) -> set[str]:
    """Return who could hold a response up: its gateways, and whoever took over, or all that ever owned it."""
    workers = {owned.owner for owned in each.owned if given_up is None or owned.begin >= given_up.end}
    return workers | {watched.gateway for watched in each.watched}


def _at(owned: Owned, strike: Struck) -> bool:
    return owned.begin <= strike.begin < owned.end


def _served(watched: Watched, strike: Struck) -> bool:
    end = strike.end if strike.fault in (Fault.DROP_LIVE, Fault.DELAY_GATEWAY_LINK) else strike.begin
    return watched.gateway == strike.target and watched.begin <= end and watched.end > strike.begin


def _ran(each: Fact, strike: Struck) -> bool:
    """Whether a response ran when the servers that hold it were struck."""
    if not hits(strike.target, each.response_id):
        return False
    return any(owned.begin < strike.begin < owned.end for owned in each.owned)


def _still(each: Fact, strike: Struck) -> float:
    """Return for how long a response stood still over a strike, from the strike on."""
    over = ((begin, end) for begin, end in each.silences if begin < strike.end and end > strike.begin)
    return max((end - max(begin, strike.begin) for begin, end in over), default=0.0)


def _began(each: Fact, strike: Struck) -> bool:
    begins = [watched.begin for watched in each.watched]
    return bool(begins) and 0 <= min(begins) - strike.begin < 1.0
