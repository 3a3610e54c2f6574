#!lua
-- Log and publish one step's deltas.  Nothing but XADD and SPUBLISH per token: the stream's own refusal of ids
-- that do not grow is the whole check.
-- KEYS  log, channel of each sequence
-- ARGV  per sequence: id '<epoch>-<upto>', head of the live message, escaped text, token ids 'a,b,c',
--       '<prompt> <cached>' tokens with the first delta, else ''
-- reply per sequence: receivers >= 0 | -1 no log | -2 refused
local reply = {}
for i = 1, #KEYS / 2 do
  local a = (i - 1) * 5
  local text, added = ARGV[a + 3], nil
  if ARGV[a + 5] == '' then
    added = redis.pcall('XADD', KEYS[2 * i - 1], 'NOMKSTREAM', ARGV[a + 1], 'k', 'd', 't', text, 'i', ARGV[a + 4])
  else
    added = redis.pcall('XADD', KEYS[2 * i - 1], 'NOMKSTREAM', ARGV[a + 1], 'k', 'd', 't', text, 'i', ARGV[a + 4],
      'p', ARGV[a + 5])
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
