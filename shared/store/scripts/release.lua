#!lua flags=allow-oom
-- Hand over: the entry is takeable now, and the claim does not count as an attempt.
-- KEYS  the eight of common.lua, 9 bell
-- ARGV  1 nonce  2 queue id  3 lease ms
-- reply 1 released | 0 not ours any more
if redis.call('HGET', HASH, 'owner') ~= ARGV[1] or is_terminal(redis.call('HGET', HASH, 'status')) then return 0 end
redis.call('HSET', HASH, 'owner', '')
redis.call('HINCRBY', HASH, 'attempts', -1)
redis.call('HINCRBY', HASH, 'deaths', -1)
redis.call('XCLAIM', QUEUE, GROUP, '-', 0, ARGV[2], 'IDLE', tonumber(ARGV[3]) + 1, 'JUSTID')
redis.call('SPUBLISH', KEYS[9], '')
return 1
