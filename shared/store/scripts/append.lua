#!lua
-- Log and publish one step's deltas.  Nothing but XADD and SPUBLISH per token: the stream's own refusal of ids
-- that do not grow is the whole check.
-- KEYS  log, channel of each sequence
-- ARGV  per sequence: id '<epoch>-<upto>', head of the live message, escaped text, token ids 'a,b,c',
--       '<prompt> <cached>' tokens with the first delta, else ''; where there are logprobs (the head says kind l),
--       they follow between line feeds
-- reply per sequence: receivers >= 0 | -1 no log | -2 refused
local reply = {}
for i = 1, #KEYS / 2 do
  local a = (i - 1) * 5
  local text, more, added = ARGV[a + 3], ARGV[a + 5], nil
  if more == '' then
    added = redis.pcall('XADD', KEYS[2 * i - 1], 'NOMKSTREAM', ARGV[a + 1], 'k', 'd', 't', text, 'i', ARGV[a + 4])
  elseif not string.find(more, '\n', 1, true) then
    added = redis.pcall('XADD', KEYS[2 * i - 1], 'NOMKSTREAM', ARGV[a + 1], 'k', 'd', 't', text, 'i', ARGV[a + 4],
      'p', more)
  else
    local usage, logprobs = string.match(more, '^([^\n]*)\n(.*)\n$')
    local fields = {'k', 'd', 't', text, 'i', ARGV[a + 4], 'l', logprobs}
    if usage ~= '' then fields[9], fields[10] = 'p', usage end
    added = redis.pcall('XADD', KEYS[2 * i - 1], 'NOMKSTREAM', ARGV[a + 1], unpack(fields))
    text = text .. '\n' .. logprobs .. '\n'
  end
  if not added then
    reply[i] = -1
  elseif type(added) == 'table' and added.err then
    reply[i] = -2
  else
    reply[i] = redis.call('SPUBLISH', KEYS[2 * i], ARGV[a + 2] .. text)
  end
end
return reply
