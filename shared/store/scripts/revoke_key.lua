#!lua flags=allow-oom
-- Forget an API key and tell all gateways.
-- KEYS  1 keys  2 control channel
-- ARGV  1 key id  2 message
-- reply 1 forgotten | 0 there was none
local gone = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SPUBLISH', KEYS[2], ARGV[2])
return gone
