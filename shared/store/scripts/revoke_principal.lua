#!lua flags=allow-oom
-- Remember that no token issued to a principal up to now is valid, and tell all gateways.
-- KEYS  1 revoked  2 control channel
-- ARGV  1 seconds to remember it  2 message
-- reply 1
local t = redis.call('TIME')
redis.call('SET', KEYS[1], t[1] .. '.' .. string.format('%06d', tonumber(t[2])), 'EX', ARGV[1])
redis.call('SPUBLISH', KEYS[2], ARGV[2])
return 1
