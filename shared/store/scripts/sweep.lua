#!lua flags=allow-oom
-- Become the sweeper for a moment and list the responses to look at; forget workers that left long ago.
-- Who asks is a gateway: that it could is noted in any case (pulse.lua).
-- KEYS  1 sweeper  2 deadlines  3 waiting  4 queue
-- ARGV  1 who  2 term ms  3 most candidates  4 ms after which an idle consumer without entries is forgotten
--       5 attachment ms
-- reply {response id, ...}, empty if another process sweeps
local now = clock()
beat(KEYS[2], tonumber(ARGV[5]), now)
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('EXISTS', KEYS[4]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[4])) do
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[4], group[2])) do
      if consumer[4] == 0 and consumer[6] > tonumber(ARGV[4]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[4], group[2], consumer[2])
      end
    end
  end
end
local found = redis.call('ZRANGE', KEYS[2], '-inf', int(now), 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, tonumber(ARGV[3]) - 1)) do found[#found + 1] = id end
return found
