#!lua flags=no-writes,allow-oom
-- Say whether there may be something to take, so that many partitions are looked at in one round trip.
-- KEYS  1 queue
-- ARGV  1 lease ms
-- reply {1 if an entry was handed over or its lease ran out, 1 if an entry was never delivered}
local queue = KEYS[1]
if redis.call('EXISTS', queue) == 0 then return {0, 0} end
local group = redis.call('XINFO', 'GROUPS', queue)[1]
if not group then return {0, 1} end  -- the take that follows makes it
local fields = {}
for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
local again = #redis.call('XPENDING', queue, 'w', '-', '+', 1, '-') > 0
  or #redis.call('XPENDING', queue, 'w', 'IDLE', ARGV[1], '-', '+', 1) > 0
local fresh = #redis.call('XRANGE', queue, '(' .. fields['last-delivered-id'], '+', 'COUNT', 1) > 0
return {again and 1 or 0, fresh and 1 or 0}
