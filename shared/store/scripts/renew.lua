#!lua flags=allow-oom
-- Extend one lease if the claim is still ours; the owner is compared first, for a bare XCLAIM steals.
-- KEYS  the eight of common.lua
-- ARGV  1 worker  2 nonce  3 queue id  4 attachment ms  5 least time to live ms
-- reply 1 ours | 0 left by its last viewer | -1 gone | -2 ended | -3 fenced
local status, owner = unpack(redis.call('HMGET', HASH, 'status', 'owner'))
if not status or redis.call('EXISTS', LOG) == 0 then return -1 end
if is_terminal(status) then return -2 end
if owner ~= ARGV[2] then return -3 end
redis.call('XCLAIM', QUEUE, GROUP, ARGV[1], 0, ARGV[3], 'JUSTID')
for _, key in ipairs({HASH, LOG, ATTACHED}) do redis.call('PEXPIRE', key, ARGV[5], 'GT') end
if is_left(tonumber(ARGV[4]), clock()) then return 0 end
return 1
