#!lua flags=allow-oom
-- Take a response away, for its principal: end it if it runs, then remove everything of it.
-- KEYS  the first five of common.lua
-- ARGV  1 id  2 principal  3 retention ms
-- reply 1 it is gone | 0 there is none of this principal
local status, principal = unpack(redis.call('HMGET', HASH, 'status', 'principal'))
if (principal or redis.call('HGET', STATE, 'principal')) ~= ARGV[2] then return 0 end
if status and not is_terminal(status) then
  end_now(ARGV[1], 'cancelled', 'cancelled', '', ARGV[3], clock())
end
redis.call('DEL', HASH, LOG, ATTACHED, STATE)
return 1
