import pytest
from msgspec import UNSET

from gateway.errors import RefusedError
from gateway.items import Paging, input_items, page_of
from shared.request import Message, Request, Sampling

SAID = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))


def items(messages=SAID, **changes):
    return input_items(Request("resp_" + "0" * 35, "m", "p", messages, Sampling(1, 1), **changes))


def texts(page):
    return [item["content"][0]["text"] for item in page["data"]]


def test_every_message_is_an_item_with_the_part_of_its_role():
    asked, said, _ = items()
    assert (asked["role"], asked["content"]) == ("user", [{"type": "input_text", "text": "a"}])
    assert (said["role"], said["content"][0]["type"]) == ("assistant", "output_text")
    assert len({item["id"] for item in items()}) == 3


def test_instructions_are_no_item():
    listed = items((Message("system", "Be kind."), *SAID), echo={"instructions": "Be kind."})
    assert [item["role"] for item in listed] == ["user", "assistant", "user"]


def test_the_newest_comes_first_unless_asked_otherwise():
    assert texts(page_of(items(), Paging())) == ["c", "b", "a"]
    assert texts(page_of(items(), Paging(order="asc"))) == ["a", "b", "c"]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_follow_each_other_to_the_end(order, limit):
    whole = page_of(items(), Paging(limit=100, order=order))
    found, after, more = [], UNSET, True
    while more:
        page = page_of(items(), Paging(limit=limit, order=order, after=after))
        found += page["data"]
        after, more = page["last_id"], page["has_more"]
    assert found == whole["data"]


def test_an_empty_page_has_no_ends():
    page = page_of(items(()), Paging())
    assert (page["data"], page["first_id"], page["last_id"], page["has_more"]) == ([], None, None, False)


def test_an_item_that_is_not_there_is_refused():
    with pytest.raises(RefusedError) as refused:
        page_of(items(), Paging(after="msg_x"))
    assert refused.value.error.param == "after"
