#!lua
-- Take from the allowances of a principal or an address: a place among the running, and of each bucket; all
-- of it or nothing.
-- KEYS  1 running  2... buckets
-- ARGV  1 response id ('' = no place)  2 most running (0 = no bound)  3 ms after which none can still run
--       then per bucket  allowance of a minute, cost
-- reply {which refused (0 = none, 1 = running, 2... = that bucket), ms to wait, then per bucket left, ms until it is full}
--
-- A bucket is a moment, that at which all will have been paid back (GCRA, ITU-T I.371): one number, one expiry, and
-- no window at whose edge twice as much passes.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
local id, most = ARGV[1], tonumber(ARGV[2])

if id ~= '' and most > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
  if not redis.call('ZSCORE', KEYS[1], id) and redis.call('ZCARD', KEYS[1]) >= most then return {1, 0} end
end

local refused, wait, full, told = 0, 0, {}, {}
for i = 2, #KEYS do
  local limit = tonumber(ARGV[2 * i])
  local cost = math.min(tonumber(ARGV[2 * i + 1]), limit)
  local before = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
  full[i] = before + cost * 60000 / limit
  local over = full[i] - now - 60000
  if over > 0.001 and over > wait then
    refused, wait = i, over
    full[i] = before
  end
  told[i] = limit
end

local reply = {refused, math.ceil(wait)}
for i = 2, #KEYS do
  if refused == 0 then
    redis.call('SET', KEYS[i], string.format('%.3f', full[i]), 'PX', math.ceil(full[i] - now) + 1000)
  else
    full[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
  end
  reply[#reply + 1] = math.floor((60000 - (full[i] - now)) * told[i] / 60000 + 0.001)
  reply[#reply + 1] = math.ceil(full[i] - now)
end
if refused == 0 and id ~= '' and most > 0 then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), id)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return reply
