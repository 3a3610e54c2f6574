#!lua flags=allow-oom
-- Say that a watcher left.  It is not removed: the highest score says when the last one left.
-- KEYS  the first five of common.lua
-- ARGV  1 id  2 watcher  3 attachment ms  4 retention ms
-- reply 1 if that ended the response | 0
local now = clock()
if redis.call('ZSCORE', ATTACHED, ARGV[2]) then redis.call('ZADD', ATTACHED, 'XX', int(now), ARGV[2]) end
local status = redis.call('HGET', HASH, 'status')
if not status or is_terminal(status) or redis.call('HGET', HASH, 'keep') ~= '0' then return 0 end
-- `keep` 0 means at once: nobody may still be attached now.
local latest = redis.call('ZREVRANGE', ATTACHED, 0, 0, 'WITHSCORES')
if #latest > 0 and tonumber(latest[2]) > now then return 0 end
end_now(ARGV[1], 'cancelled', 'left', '', ARGV[4], now)
return 1
