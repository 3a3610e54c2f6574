#!lua flags=allow-oom
-- End a response at once, whatever its state, for its principal.
-- KEYS  the first five of common.lua
-- ARGV  1 id  2 principal  3 retention ms
-- reply {'ended', status} | {'already', status} | {'unknown'}
local status, principal = unpack(redis.call('HMGET', HASH, 'status', 'principal'))
if not status or principal ~= ARGV[2] then return {'unknown'} end
if is_terminal(status) then return {'already', status} end
end_now(ARGV[1], 'cancelled', 'cancelled', '', ARGV[3], clock())
return {'ended', redis.call('HGET', HASH, 'status')}
