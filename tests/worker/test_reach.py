from __future__ import annotations

import io
import json

from shared.observe import make_logger
from shared.store.contract import StoreUnavailable
from worker.reach import Reach


def test_an_outage_is_two_lines_however_often_the_store_was_asked():
    lines = io.StringIO()
    reach = Reach(make_logger("worker", lines))

    reach.told(None)
    for problem in ("it hangs", "it is gone"):
        reach.told(StoreUnavailable(problem))
    for _ in range(2):
        reach.told(None)

    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(line["level"], line["event"], line.get("problem")) for line in said] == [
        ("warning", "store_unavailable", "it hangs"),
        ("info", "store_answers", None),
    ]
