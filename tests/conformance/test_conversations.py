"""Conversation state, what a response was given to read, and taking it away."""

from conformance_kit import NOBODY, PROMPT, TERMINAL, described, id_of, orderly


async def texts_read(target, response_id):
    async with target.http() as http:
        listed = (await http.get(f"/v1/responses/{response_id}/input_items?order=asc")).json()
    described("input_items", listed)
    return [item["content"][0]["text"] for item in listed["data"]]


async def test_a_conversation_goes_on_over_both_doors(target):
    async with target.http() as http:
        first = (await http.post("/v1/responses", json=target.asked | {"instructions": "Be kind."})).json()
    answer = first["output"][0]["content"][0]["text"]
    async with target.socket() as socket:
        events = await socket.whole(4, input="eight nine", previous_response_id=first["id"])
    orderly(events)
    assert events[-1]["response"]["previous_response_id"] == first["id"]
    assert await texts_read(target, id_of(events)) == [PROMPT, answer, "eight nine"]
    async with target.http() as http:
        body = target.asked | {"input": "ten", "previous_response_id": id_of(events)}
        third = (await http.post("/v1/responses", json=body)).json()
    assert len(await texts_read(target, third["id"])) == 5


async def test_what_is_not_stored_can_be_gone_on_from_while_its_log_is_kept(target):
    async with target.http() as http:
        first = (await http.post("/v1/responses", json=target.asked | {"store": False})).json()
        body = target.asked | {"previous_response_id": first["id"]}
        assert (await http.post("/v1/responses", json=body)).status_code == 200


async def test_a_previous_response_that_is_not_there_or_runs_is_refused(target):
    async with target.socket() as socket:
        await socket.create(2_000, stream_id="runs")
        running = id_of(await socket.until("response.in_progress", lane="runs"))
        for previous in (NOBODY, "resp_x", running):
            error = (await socket.whole(2, previous_response_id=previous))[-1]["error"]
            assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
        await socket.send("response.cancel", stream_id="runs")
        await socket.until(*TERMINAL, lane="runs")


async def test_a_deleted_response_is_not_found_any_more(target):
    async with target.http() as http:
        response = (await http.post("/v1/responses", json=target.asked)).json()
        path = f"/v1/responses/{response['id']}"
        gone = await http.delete(path)
        assert gone.status_code == 200
        described("deleted", gone.json())
        for answer in (await http.get(path), await http.delete(path), await http.get(f"{path}/input_items")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")
        again = await http.post("/v1/responses", json=target.asked | {"previous_response_id": response["id"]})
        assert again.json()["error"]["code"] == "previous_response_not_found"


async def test_deleting_ends_a_response_that_runs(target):
    async with target.http() as http, target.socket() as socket:
        await socket.create(2_000)
        response_id = id_of(await socket.until("response.output_text.delta"))
        assert (await http.delete(f"/v1/responses/{response_id}")).status_code == 200
        ending = (await socket.until("response.incomplete"))[-1]
        assert (ending["response"]["id"], ending["response"]["status"]) == (response_id, "cancelled")
        assert (await http.get(f"/v1/responses/{response_id}")).status_code == 404
        orderly(await socket.whole(2))


async def test_input_items_come_in_pages(target):
    body = target.asked | {"input": [{"role": "user", "content": PROMPT}] * 3}
    async with target.http() as http:
        response = (await http.post("/v1/responses", json=body)).json()
        path = f"/v1/responses/{response['id']}/input_items?limit=2"
        first = (await http.get(path)).json()
        second = (await http.get(f"{path}&after={first['last_id']}")).json()
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert len(first["data"]) + len(second["data"]) == 3
