#!lua flags=no-writes,allow-oom
-- Say how each claim stands: after a refusal, and before the first append on a new link.
-- KEYS  hash, log of each sequence
-- ARGV  nonce of each
-- reply per sequence: upto >= 1, ours | -1 gone | -2 ended | -3 fenced
local reply = {}
for i = 1, #ARGV do
  local status, owner = unpack(redis.call('HMGET', KEYS[2 * i - 1], 'status', 'owner'))
  local last = redis.call('XREVRANGE', KEYS[2 * i], '+', '-', 'COUNT', 1)
  if not status or #last == 0 then
    reply[i] = -1
  elseif status ~= 'queued' and status ~= 'running' then
    reply[i] = -2
  elseif owner ~= ARGV[i] then
    reply[i] = -3
  else
    reply[i] = tonumber(string.match(last[1][1], '%-(%d+)'))
  end
end
return reply
