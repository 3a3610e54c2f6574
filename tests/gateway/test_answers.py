"""What answers where no handler does."""

import pytest
from starlette.responses import Response

from gateway.answers import error_answer
from gateway.errors import TABLE, Code, WireError


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/responses", "GET, HEAD, OPTIONS, POST"),
        ("/v1/responses/resp_x", "DELETE, GET, HEAD, OPTIONS"),
        ("/v1/chat/completions", "OPTIONS, POST"),
    ],
)
async def test_a_path_says_which_methods_it_takes(bench, path, allow):
    async with bench.http() as client:
        told = await client.options(path)
        assert (told.status_code, told.headers["allow"]) == (204, allow)
        for method in ("PUT", "PATCH", "BREW"):
            refused = await client.request(method, path)
            assert (refused.status_code, refused.headers["allow"]) == (405, allow)
            assert refused.json()["error"]["code"] == "method_not_allowed"
        assert (await client.options("/v1/nothing")).status_code == 404


@pytest.mark.parametrize("code", Code)
def test_every_error_can_be_an_answer(code):
    answer = error_answer(WireError(code), {"Allow": "GET"})
    assert isinstance(answer, Response)
    assert (answer.status_code, answer.headers["allow"]) == (TABLE[code].status, "GET")
    assert code.value.encode() in answer.body


def test_a_connection_whose_body_was_not_read_is_not_used_again():
    for code in (Code.MESSAGE_TOO_LARGE, Code.REQUEST_TIMEOUT):
        assert error_answer(WireError(code)).headers["connection"] == "close"
    assert "connection" not in error_answer(WireError(Code.INVALID_JSON)).headers
