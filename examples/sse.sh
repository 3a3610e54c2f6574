#!/bin/sh
# Server-sent events with nothing but curl: read a part, hang up, and go on behind the last number.
set -eu

url=${TOKENWIRE_URL:-http://127.0.0.1:8080}/v1
ask='{"input": "Why is the sky blue?", "max_output_tokens": 200, "stream": true, "background": true}'
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

get() { curl -sSN --fail-with-body -H "Authorization: Bearer ${TOKENWIRE_KEY:-any}" "$@"; }
deltas() { sed -n 's/^data: {"type":"response.output_text.delta".*"delta":"\(.*\)","logprobs".*/\1/p' "$1"; }

# "background" lets the response go on although its only reader hangs up: here, behind some lines of the stream.
# curl then says that it cannot write on (23).
get "$url/responses" -H "Content-Type: application/json" -d "$ask" | head -n 40 > "$folder/first"
id=$(sed -n 's/.*"response":{"id":"\(resp_[0-9a-z]*\)".*/\1/p;' "$folder/first" | head -n 1)
number=$(sed -n 's/^id: //p' "$folder/first" | tail -n 1)
deltas "$folder/first"
echo "-- hung up behind event $number of $id; going on" >&2
get "$url/responses/$id?stream=true&starting_after=$number" > "$folder/rest"
deltas "$folder/rest"
