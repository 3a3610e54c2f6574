#!lua flags=allow-oom
-- Refresh one attachment and say where the log ends: the cheap look of a reader that hears nothing.
-- KEYS  1 hash  2 log  3 attachments
-- ARGV  1 watcher  2 attachment ms
-- reply {status, last, epoch} | {}
local status, epoch = unpack(redis.call('HMGET', KEYS[1], 'status', 'epoch'))
local tail = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
if not status or #tail == 0 then return {} end
local now = clock()
beat(KEYS[1], tonumber(ARGV[2]), now)
redis.call('ZADD', KEYS[3], int(now + tonumber(ARGV[2])), ARGV[1])
return {status, tonumber(string.match(tail[1][1], '%-(%d+)')), epoch}
