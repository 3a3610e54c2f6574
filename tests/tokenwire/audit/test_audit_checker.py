from __future__ import annotations

from dataclasses import replace

import pytest
from gateway_logs import LogWriter
from histories import history_of, log_of, mark, seen_of, viewing_of

from shared.log import Entry, Kind, Reason, escape
from tokenwire.audit.checker import check
from tokenwire.audit.findings import Promise, Rules
from tokenwire.audit.history import History
from tokenwire.audit.transcript import DELTA, Ending, Seen, Stop
from tokenwire.audit.undisturbed import spoken

RULES = Rules()


def found(history: History, rules: Rules = RULES) -> set[tuple[Promise, str]]:
    return {(violation.promise, violation.kind) for violation in check(history, rules)}


@pytest.mark.parametrize("handed_after", [None, 0, 3, 9])
def test_an_undisturbed_and_a_handed_over_history_are_right(handed_after):
    assert found(history_of(log_of(10, handed_after))) == set()


def test_merged_events_that_name_their_first_number_are_right():
    log = log_of(6)
    seen = seen_of(log)
    merged = Seen(5, 7, seen[7].epoch, DELTA, "".join(each.text for each in seen[5:8]), 1.0, 0)
    viewing = viewing_of(log, doing="slow reader", seen=[*seen[:5], merged, *seen[8:]])
    assert found(history_of(log, viewing)) == set()


def test_a_merged_event_with_a_wrong_first_number_breaks_p8():
    log = log_of(6)
    seen = seen_of(log)
    merged = Seen(7, 7, seen[7].epoch, DELTA, "".join(each.text for each in seen[5:8]), 1.0, 0)
    viewing = viewing_of(log, doing="slow reader", seen=[*seen[:5], merged, *seen[8:]])
    assert (Promise.NEIGHBOURS, "lost") in found(history_of(log, viewing))


def test_a_lost_event_breaks_p1():
    log = log_of(6)
    seen = seen_of(log)
    assert (Promise.SAME_TEXT, "lost") in found(history_of(log, viewing_of(log, seen=seen[:6] + seen[7:])))


def test_a_doubled_event_breaks_p1():
    log = log_of(6)
    seen = seen_of(log)
    doubled = viewing_of(log, seen=[*seen[:6], seen[5], *seen[6:]])
    assert (Promise.SAME_TEXT, "doubled") in found(history_of(log, doubled))


def test_reordered_events_break_p1():
    log = log_of(6)
    seen = seen_of(log)
    swapped = viewing_of(log, seen=[*seen[:5], seen[6], seen[5], *seen[7:]])
    assert {(Promise.SAME_TEXT, "lost"), (Promise.SAME_TEXT, "reordered")} <= found(history_of(log, swapped))


def test_an_event_of_the_prologue_in_the_middle_breaks_p1():
    log = log_of(6)
    seen = seen_of(log)
    seen[6] = Seen(6, 6, seen[6].epoch, "response.in_progress", "", 1.0, 0)
    assert (Promise.SAME_TEXT, "reordered") in found(history_of(log, viewing_of(log, seen=seen)))


def test_other_words_than_the_logs_break_p1():
    log = log_of(6)
    seen = seen_of(log)
    seen[6] = Seen(6, 6, seen[6].epoch, DELTA, mark(9), 1.0, 0)
    assert (Promise.SAME_TEXT, "text is not the log's") in found(history_of(log, viewing_of(log, seen=seen)))


def test_an_event_under_another_epoch_than_the_logs_breaks_p1():
    log = log_of(6, handed_after=3)
    seen = seen_of(log)
    seen[8] = Seen(8, 8, seen[5].epoch, DELTA, seen[8].text, 1.0, 0)
    assert (Promise.SAME_TEXT, "text is not the log's") in found(history_of(log, viewing_of(log, seen=seen)))


def test_a_final_text_that_is_not_its_deltas_breaks_p1():
    log = log_of(6)
    ending = Ending("response.incomplete", "incomplete", "max_output_tokens", "other", 2, 6)
    assert (Promise.SAME_TEXT, "text is not its deltas") in found(
        history_of(log, viewing_of(log, ending=ending))
    )


def test_a_foreign_token_breaks_p1():
    log = with_text(log_of(6), 2, mark(2, tail="ffff"))
    assert (Promise.SAME_TEXT, "foreign token") in found(history_of(log))


def test_a_response_that_another_asker_sees_breaks_p1():
    log = log_of(6)
    history = history_of(log, viewing_of(log), viewing_of(log, key="1.1.0", viewer=1))
    assert (Promise.SAME_TEXT, "foreign response") in found(history)


def test_an_answer_cut_short_breaks_p1():
    log = log_of(6)
    assert (Promise.SAME_TEXT, "ended too early") in found(history_of(log, viewing_of(log, max_tokens=9)))


def test_a_hand_over_that_says_something_else_breaks_p3():
    log = with_text(log_of(6, handed_after=3), 3, mark(2))
    assert (Promise.PAUSE, "not what an undisturbed run says") in found(history_of(log))


def test_the_same_without_a_hand_over_breaks_p1():
    log = with_text(log_of(6), 3, mark(2))
    assert (Promise.SAME_TEXT, "not what an undisturbed run says") in found(history_of(log))


def test_a_hand_over_that_lost_ids_breaks_p3():
    log = LogWriter()
    log.claim()
    log.delta(mark(0), (0,), prompt_tokens=2)
    log.claim()
    log.delta(mark(2), (2,))
    log.end(Reason.LENGTH)
    assert (Promise.PAUSE, "not what an undisturbed run says") in found(history_of(log))


@pytest.mark.parametrize("code", ["resume_unavailable", "response_not_found", "starting_after_out_of_range"])
def test_a_refused_resume_breaks_p2(code):
    log = log_of(6)
    assert (Promise.ANY_GATEWAY, "resume refused") in found(history_of(log, viewing_of(log, errors=[code])))


def test_a_stop_that_came_too_late_is_no_violation():
    log = log_of(6)
    assert found(history_of(log, viewing_of(log, errors=["response_not_active"]))) == set()


def test_a_token_written_by_a_worker_that_does_not_own_the_epoch_breaks_p4():
    log = with_text(log_of(6), 4, mark(4, owner="zombie"))
    assert (Promise.NO_ZOMBIE, "zombie write") in found(history_of(log))


def test_an_entry_of_an_old_epoch_behind_a_newer_one_breaks_p4():
    log = log_of(6, handed_after=3)
    claim = next(n for n, entry in enumerate(log.entries) if entry.kind is Kind.HANDED)
    log.entries[claim + 1] = replace(log.entries[claim + 1], epoch=log.entries[claim - 1].epoch)
    assert (Promise.NO_ZOMBIE, "entry under a foreign epoch") in found(history_of(log))


@pytest.mark.parametrize(
    ("shift", "kind"), [(1, "position lost from the log"), (-1, "position doubled in the log")]
)
def test_a_log_with_a_hole_or_a_doubled_position_breaks_p4(shift, kind):
    log = log_of(6)
    log.entries[4] = replace(log.entries[4], upto=log.entries[4].upto + shift)
    assert (Promise.NO_ZOMBIE, kind) in found(history_of(log))


def test_a_viewer_without_an_ending_breaks_p5():
    log = log_of(6)
    viewing = viewing_of(log, seen=seen_of(log)[:7], ending=None, over="unfinished")
    assert (Promise.ONE_ENDING, "no ending") in found(history_of(log, viewing))


def test_a_log_without_an_ending_breaks_p5():
    log = log_of(6)
    log.entries.pop()
    assert (Promise.ONE_ENDING, "no ending") in found(history_of(log, viewing_of(log, seen=[], ending=None)))


def test_a_lost_log_breaks_p5():
    log = log_of(6)
    assert (Promise.ONE_ENDING, "log lost") in found(History("resp", [viewing_of(log)], []))


def test_two_endings_break_p5():
    log = log_of(6)
    seen = seen_of(log)
    again = Seen(14, 14, seen[-1].epoch, "response.failed", "", 1.0, 0)
    assert (Promise.ONE_ENDING, "two endings") in found(history_of(log, viewing_of(log, seen=[*seen, again])))
    log.entries.append(log.entries[-1])
    assert (Promise.ONE_ENDING, "two endings") in found(history_of(log, viewing_of(log_of(6))))


def test_endings_that_differ_between_viewers_break_p5():
    log = log_of(6)
    other = viewing_of(log, viewer=1)
    other.ending = Ending("response.incomplete", "incomplete", "time_limit", other.ending.text, 2, 6)
    history = history_of(log, viewing_of(log), other)
    assert (Promise.ONE_ENDING, "viewers saw different endings") in found(history)


def test_an_event_after_the_ending_breaks_p5():
    log = log_of(6)
    seen = seen_of(log)
    late = Seen(14, 14, seen[-1].epoch, DELTA, "x", 1.0, 0)
    history = history_of(log, viewing_of(log, seen=[*seen, late]))
    assert (Promise.ONE_ENDING, "events after the ending") in found(history)


@pytest.mark.parametrize(("counts", "kind"), [((2, 5), "usage is not the log's"), ((None, None), "no usage")])
def test_wrong_usage_breaks_p5(counts, kind):
    log = log_of(6)
    viewing = viewing_of(log)
    viewing.ending.input_tokens, viewing.ending.output_tokens = counts
    assert (Promise.ONE_ENDING, kind) in found(history_of(log, viewing))


def test_another_ending_than_the_logs_breaks_p5():
    log = log_of(6)
    viewing = viewing_of(log)
    viewing.ending.type = "response.completed"
    assert (Promise.ONE_ENDING, "ending is not the log's") in found(history_of(log, viewing))


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.LOG_LOST, Reason.QUEUE_TIMEOUT])
def test_an_ending_without_a_cause_breaks_p5(reason):
    log = log_of(6, reason=reason)
    assert (Promise.ONE_ENDING, f"ended by {reason}") in found(history_of(log))


def test_a_delta_after_the_ending_breaks_p6():
    log = log_of(6)
    ending = log.entries[-1]
    log.entries.append(Entry(ending.epoch, ending.upto + 1, Kind.DELTA, 1, text=escape(mark(6)), ids=(6,)))
    assert (Promise.STOP, "tokens after the ending") in found(history_of(log, viewing_of(log_of(6))))


def test_a_cancel_that_nobody_asked_for_breaks_p6():
    log = log_of(6, reason=Reason.CANCELLED)
    assert (Promise.STOP, "cancelled by nobody") in found(history_of(log))
    asked = viewing_of(log, stops=[Stop(100.1, "same", 0, said=True)])
    assert found(history_of(log, asked)) == set()


def test_a_neighbour_that_fails_with_the_poison_breaks_p8():
    log = log_of(6, reason=Reason.WORKER_LOST)
    viewing = viewing_of(log)
    viewing.ending.type = "response.failed"
    assert (Promise.NEIGHBOURS, "failed with its neighbour's poison") in found(history_of(log, viewing))


def test_poison_fails_and_nothing_else():
    log = log_of(6)
    history = history_of(log, viewing_of(log, doing="poison"))
    assert (Promise.NEIGHBOURS, "poison ended by max_output_tokens") in found(history)


def test_without_the_store_viewers_are_compared_with_each_other():
    log = log_of(6)
    history = History("resp", [viewing_of(log), viewing_of(log, viewer=1)], None)
    assert found(history) == set()


def test_the_words_of_an_undisturbed_run_follow_from_the_prompt():
    log = log_of(0)
    viewing = viewing_of(log, prompt="one two three", max_tokens=7)
    assert spoken(viewing, 5) == ("one two three one two ", False)
    stopped = viewing_of(log, prompt="one two three", max_tokens=7, stop_strings=("three one",))
    assert spoken(stopped, 5) == ("one two ", True)
    assert spoken(stopped, 3) == ("one two ", False)  # what may begin the stop string is held back


def with_text(log: LogWriter, position: int, text: str) -> LogWriter:
    """Have the log say something else at a position."""
    at = next(n for n, entry in enumerate(log.entries) if entry.ids == (position,))
    log.entries[at] = replace(log.entries[at], text=escape(text))
    return log


LOSSY = Rules(lossy=True)


def told(log: LogWriter, seen: list[Seen]):
    return viewing_of(log, seen=seen, ending=None, over="lost", errors=["resume_unavailable"])


def test_who_is_told_of_a_loss_may_have_seen_what_the_log_has_no_more():
    lost, left = log_of(9), log_of(4, handed_after=2)
    history = history_of(left, told(left, seen_of(lost)[:10]))
    assert found(history, LOSSY) == set()
    assert (Promise.ANY_GATEWAY, "resume refused") in found(history)


def ended_twice(tokens: int, again: int, kept: int):
    """A response whose end the server lost after it was seen: what its viewer saw, and the log of its second run."""
    left = log_of(again, handed_after=kept)
    return history_of(left, viewing_of(log_of(tokens), max_tokens=again))


def test_an_ending_that_is_lost_after_it_was_seen_may_come_again_where_servers_lose_things():
    history = ended_twice(9, again=9, kept=4)
    assert found(history, LOSSY) == set()
    assert (Promise.SAME_TEXT, "text is not the log's") in found(history)


def test_the_second_ending_may_come_at_another_place_but_not_with_other_words():
    assert found(ended_twice(9, again=6, kept=4), LOSSY) == set()
    history = ended_twice(9, again=9, kept=4)
    seen = history.viewings[0].seen
    seen[7] = Seen(7, 7, seen[7].epoch, DELTA, mark(5), 1.0, 0)
    assert (Promise.SAME_TEXT, "text is not the log's") in found(history, LOSSY)


def test_who_was_shown_other_words_before_being_told_breaks_p1():
    log = log_of(9)
    seen = seen_of(log)[:8]
    seen[6] = Seen(6, 6, seen[6].epoch, DELTA, mark(4), 1.0, 0)
    assert (Promise.SAME_TEXT, "other words under old numbers") in found(
        history_of(log, told(log, seen)), LOSSY
    )


def test_who_is_shown_another_lineage_to_its_end_breaks_p1_also_where_servers_may_lose():
    lost, left = log_of(9), log_of(9, handed_after=3)
    mixed = [*seen_of(lost)[:10], *seen_of(left)[10:]]
    assert (Promise.SAME_TEXT, "text is not the log's") in found(
        history_of(left, viewing_of(left, seen=mixed)), LOSSY
    )


def test_a_log_that_is_gone_is_excused_only_where_all_were_told():
    log = log_of(5)
    gone = History(history_of(log).response_id, [told(log, seen_of(log)[:6])], [])
    assert found(gone, LOSSY) == set()
    untold = History(gone.response_id, [*gone.viewings, viewing_of(log, viewer=1)], [])
    assert (Promise.ONE_ENDING, "log lost") in found(untold, LOSSY)


def test_an_open_failure_for_want_of_memory_is_right_where_the_memory_may_be_full():
    log = LogWriter()
    log.claim()
    log.delta(mark(0), (0,), prompt_tokens=2)
    log.end(Reason.ERROR, "storage_full: the server's memory is full")
    kinds = {kind for _, kind in found(history_of(log), Rules(full=True))}
    assert not any("ended by" in kind for kind in kinds)
    assert any("ended by" in kind for _, kind in found(history_of(log)))
