#!lua
-- Take from the allowances of a principal or an address: a place among the running, and of each bucket; all
-- of it or nothing.
-- KEYS  1 running  2 reserved  3... buckets
-- ARGV  1 response id ('' = no place)  2 most running (0 = no bound)  3 ms after which none can still run
--       then per bucket  allowance of a minute, cost, '1' if it is reserved: `settle` gives back what was not used
-- reply {which refused (0 = none, 1 = running, 2... = that bucket), ms to wait, then per bucket left, ms until it is full}
--
-- A bucket is a moment, that at which all will have been paid back (GCRA, ITU-T I.371): one number, one expiry, and
-- no window at whose edge twice as much passes.  What is reserved is a span of that time, remembered by its end.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
local id, most = ARGV[1], tonumber(ARGV[2])

if id ~= '' and most > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
  if not redis.call('ZSCORE', KEYS[1], id) and redis.call('ZCARD', KEYS[1]) >= most then return {1, 0} end
end

local refused, wait, full, costs, told = 0, 0, {}, {}, {}
for i = 3, #KEYS do
  local limit = tonumber(ARGV[3 * i - 5])
  local cost = math.min(tonumber(ARGV[3 * i - 4]), limit)
  if ARGV[3 * i - 3] == '1' and redis.call('HEXISTS', KEYS[2], id) == 1 then cost = 0 end -- a lost reply's repeat
  local before = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
  full[i] = before + cost * 60000 / limit
  local over = full[i] - now - 60000
  if cost > 0 and over > 0.001 and over > wait then
    refused, wait = i - 1, over
    full[i] = before
  end
  costs[i], told[i] = cost, limit
end

local reply = {refused, math.ceil(wait)}
for i = 3, #KEYS do
  if refused == 0 then
    redis.call('SET', KEYS[i], string.format('%.3f', full[i]), 'PX', math.ceil(full[i] - now) + 1000)
    if ARGV[3 * i - 3] == '1' and costs[i] > 0 then
      redis.call('HSET', KEYS[2], id, string.format('%.0f %.3f %d %d', now, full[i], costs[i], told[i]))
      redis.call('PEXPIRE', KEYS[2], ARGV[3])
    end
  else
    full[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or '0'), now)
  end
  reply[#reply + 1] = math.max(0, math.floor((60000 - (full[i] - now)) * told[i] / 60000 + 0.001))
  reply[#reply + 1] = math.ceil(full[i] - now)
end
if refused == 0 and id ~= '' and most > 0 then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), id)
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return reply
