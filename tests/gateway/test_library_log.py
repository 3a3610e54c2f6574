import io
import json
import logging

import pytest

from gateway.library_log import LibraryLog, quiet_libraries
from shared.observe import make_logger

LIBRARIES = ("websockets", "uvicorn", "uvicorn.error", "uvicorn.access")


@pytest.fixture
def lines():
    """Our lines while the libraries are quiet; their loggers are as before afterwards."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(each, each.handlers, each.level, each.propagate) for each in loggers]
    written = io.StringIO()
    quiet_libraries(LibraryLog(make_logger("gateway", written)))
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_librarys_warning_is_one_line_of_ours_and_its_chatter_none(lines, name):
    logger = logging.getLogger(name)
    logger.info("chatter")
    logger.warning("It said %s.", "a secret of a client")
    (line,) = lines()
    assert (line["event"], line["message"], line["exception"]) == ("library", "It said %s.", None)
    assert line["library"] == name
    assert "secret" not in json.dumps(line)


def test_a_failure_is_told_by_its_kind_and_place_without_its_text(lines):
    try:
        int("what a client sent")
    except ValueError:
        logging.getLogger("websockets.server").exception("connection handler failed")
    (line,) = lines()
    assert (line["exception"], line["library"]) == ("ValueError", "websockets.server")
    assert [place.rpartition(":")[0] for place in line["where"]] == [__file__]
    assert "what a client sent" not in json.dumps(line)


def test_a_stream_that_we_cut_ourselves_is_no_failure(lines):
    logging.getLogger("uvicorn.error").error("ASGI callable returned without completing response.")
    logging.getLogger("uvicorn.error").error("Another one.")
    assert [line["message"] for line in lines()] == ["Another one."]
