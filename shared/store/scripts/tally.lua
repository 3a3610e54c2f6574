#!lua flags=allow-oom
-- Say how many sockets a gateway has of a principal or an address, unless that is too many with those elsewhere.
-- KEYS  1 gateway -> '<count> <until ms>'
-- ARGV  1 gateway  2 count  3 most on all gateways (0 = no bound)  4 lease ms
-- reply 1 noted | 0 too many; nothing was changed
--
-- A count, not a step: repeating it does nothing, and the counts of a gateway that was killed end with its lease.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local count, most, others = tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local theirs, lease = string.match(all[i + 1], '(%d+) (%d+)')
  if tonumber(lease) < now then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    others = others + tonumber(theirs)
  end
end
if most > 0 and others + count > most then return 0 end
if count == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f', count, now + tonumber(ARGV[4])))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
