#!lua flags=allow-oom
-- Take a response away, for its principal: end it if it runs, then remove everything of it.
-- KEYS  the first five of common.lua
-- ARGV  1 id  2 principal  3 retention ms  4 ms for which its viewers may still read how it ended
-- reply 1 it is gone | 0 there is none of this principal
--
-- Who watches one that runs is owed its ending, so it stays for a moment: without a principal, so that no verb
-- finds it, but for follow.lua by who was attached before.
local now = clock()
local status, principal = unpack(redis.call('HMGET', HASH, 'status', 'principal'))
if (principal or redis.call('HGET', STATE, 'principal')) ~= ARGV[2] then return 0 end
local latest = redis.call('ZREVRANGE', ATTACHED, 0, 0, 'WITHSCORES')
local runs = status and not is_terminal(status)
if runs then end_now(ARGV[1], 'cancelled', 'cancelled', '', ARGV[3], now) end
redis.call('DEL', STATE)
if runs and #latest > 0 and tonumber(latest[2]) > now then
  redis.call('HDEL', HASH, 'principal')
  redis.call('HSET', HASH, 'deleted', ARGV[2])
  for _, key in ipairs({HASH, LOG, ATTACHED}) do redis.call('PEXPIRE', key, ARGV[4]) end
else
  redis.call('DEL', HASH, LOG, ATTACHED)
end
return 1
