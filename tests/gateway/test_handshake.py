import http
import json

from websockets.http11 import Response

from gateway.handshake import SUBPROTOCOL, answer, choose_subprotocol, reject, wants_socket

UPGRADE = b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade"


def test_only_an_upgrade_of_the_sockets_path_is_kept():
    assert wants_socket(UPGRADE)
    assert wants_socket(UPGRADE.replace(b"/v1/responses", b"/v1/responses?response_id=x"))
    assert not wants_socket(UPGRADE.replace(b"/v1/responses", b"/v1/responses/x"))
    assert not wants_socket(UPGRADE.replace(b"GET", b"POST"))
    assert not wants_socket(UPGRADE.replace(b"WebSocket", b"h2c"))
    assert not wants_socket(b"GET /v1/responses HTTP/1.1\r\nHost: x")
    assert not wants_socket(b"")


def test_a_header_block_that_cannot_be_read_is_left_to_the_http_side_to_answer():
    assert not wants_socket(UPGRADE + b"\r\nno field at all")
    assert not wants_socket(UPGRADE + b"\r\n folded: x")


def test_our_subprotocol_is_taken_and_others_are_no_reason_to_refuse():
    assert choose_subprotocol(None, ["other", SUBPROTOCOL]) == SUBPROTOCOL
    assert choose_subprotocol(None, ["other"]) is None
    assert choose_subprotocol(None, None) is None


def test_a_refusal_tells_its_length_and_that_the_connection_ends():
    refused = answer(503, "Service Unavailable", b"{}", {"Retry-After": "5"})
    assert (refused.status_code, refused.reason_phrase, refused.body) == (503, "Service Unavailable", b"{}")
    assert (refused.headers["Content-Length"], refused.headers["Connection"]) == ("2", "close")
    assert (refused.headers["Content-Type"], refused.headers["Retry-After"]) == ("application/json", "5")


def test_what_the_library_refuses_gets_our_body_with_its_first_line():
    def plain(status, text):
        return Response(status, http.HTTPStatus(status).phrase, {}, text.encode())

    refused = reject(plain, 426, "No version is named.\nMore that nobody needs.")
    assert (refused.status_code, refused.reason_phrase) == (426, "Upgrade Required")
    assert refused.headers["Sec-WebSocket-Version"] == "13"
    error = json.loads(refused.body)["error"]
    assert (error["code"], error["message"]) == ("upgrade_required", "No version is named.")
