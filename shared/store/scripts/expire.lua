#!lua flags=allow-oom
-- End a response whose deadline has passed or whose last viewer has left; the sweep asks it of candidates.
-- KEYS  the first five of common.lua
-- ARGV  1 id  2 attachment ms  3 retention ms
-- reply 1 ended now | 0 not due
local now = clock()
local status = redis.call('HGET', HASH, 'status')
if not status or is_terminal(status) then
  redis.call('ZREM', DEADLINES, ARGV[1])
  redis.call('ZREM', WAITING, ARGV[1])
  return 0
end
local how, reason = due(ARGV[1], tonumber(ARGV[2]), now)
if not how then return 0 end
end_now(ARGV[1], how, reason, '', ARGV[3], now)
return 1
