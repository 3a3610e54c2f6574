#!lua flags=allow-oom
-- Make a worker or a gateway known for a lease; also when memory is full, for it still ends what it runs.
-- KEYS  1 workers or gateways
-- ARGV  1 name  2 announcement (JSON)  3 lease ms  4 time to live of the whole hash, ms
-- reply 1
local t = redis.call('TIME')
local until_seconds = tonumber(t[1]) + tonumber(t[2]) / 1e6 + tonumber(ARGV[3]) / 1000
redis.call('HSET', KEYS[1], ARGV[1], '[' .. string.format('%.3f', until_seconds) .. ',' .. ARGV[2] .. ']')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
