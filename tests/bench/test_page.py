from __future__ import annotations

import re

import pytest

from bench import page
from worker.engines.echo import words


@pytest.fixture
def _provided():
    if page._CHROMIUM is None or not page._PAGE.is_file():
        pytest.skip("there is no chromium (make debian) or no built page (make setup)")


def test_the_text_has_every_kind_of_block_and_its_length():
    text = page.answer(10_000)

    assert 10_000 <= len(text) < 12_000
    for block in (
        r"^# ",
        r"^## ",
        r"^- ",
        r"^    - ",
        r"^1\. ",
        r"^> ",
        r"^```python$",
        r"^\|---",
        r"\*\*\w+\*\*",
    ):
        assert re.search(block, text, re.MULTILINE), block


def test_the_echo_engine_says_the_text_as_it_is_with_as_many_tokens_as_words():
    text = page.answer(2_000)

    said = words(text)
    assert "".join(said).rstrip() == text
    assert len(said) == len(text.split())


def test_without_a_browser_nothing_is_measured_and_a_sentence_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page, "_CHROMIUM", None)

    page.run()

    assert re.search("not measured, for there is no chromium: make debian", capsys.readouterr().out)


@pytest.mark.browser
@pytest.mark.usefixtures("_provided")
def test_both_pages_show_the_answer_and_are_watched_while_it_comes():
    text = page.answer(1_200)
    with page.stack(text, rate=100) as url, page.chromium() as browser:
        measured = [way(browser, url, text) for way in page.WAYS.values()]

    assert len(measured) == 2
    tokens = len(text.split())
    for each in measured:
        assert each.seconds >= (tokens - 1) / 100 * 0.9, "the engine is no faster than its pace"
        assert each.frames > 10
        assert each.main["TaskDuration"] >= each.main["ScriptDuration"] > 0
        assert all(task >= 50 for task in each.long_tasks)


@pytest.mark.browser
@pytest.mark.usefixtures("_provided")
def test_a_page_that_shows_nothing_is_no_measurement():
    text = page.answer(300)
    with (
        page.stack(text, rate=0) as url,
        page.chromium() as browser,
        page._opened(browser, f"{url}/peer/") as peer,
    ):
        broken = "() => { document.getElementById('answer').append = () => {}; }"

        def ask() -> None:
            peer.evaluate(broken)
            peer.evaluate("(text) => ask(text)", text)

        with pytest.raises(RuntimeError, match="shows 0 characters of the answer only"):
            page._measured(peer, ask, "#answer", text)
