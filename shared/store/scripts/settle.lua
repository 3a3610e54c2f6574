#!lua flags=allow-oom
-- Free the places of responses that have ended, and set what each has reserved of a bucket to what it has used.
-- KEYS  1 running  2 reserved  3 the bucket that is reserved of
-- ARGV  per response  its id, the tokens it has used ('' = nobody knows: what it reserved stays taken)
-- reply how many of them held a place or a reservation
--
-- Whoever takes a reservation out settles it, so each is settled once, whoever asks and how often.  A reservation is
-- a span of the bucket's time.  Of what was not used, that part is given back which lies ahead: the rest has been paid
-- back already, by time.  So a bucket is never fuller than full, and never pays the same twice.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000

-- Move what was reserved behind a span that has become shorter.
local function move(behind, shift)
  local all = redis.call('HGETALL', KEYS[2])
  for at = 1, #all, 2 do
    local since, last, rest = string.match(all[at + 1], '^(%S+) (%S+) (.+)$')
    if tonumber(last) > behind then
      redis.call('HSET', KEYS[2], all[at], string.format('%s %.3f %s', since, tonumber(last) - shift, rest))
    end
  end
end

local function set_right(reservation, used)
  local _, last, reserved, limit = string.match(reservation, '^(%S+) (%S+) (%S+) (%S+)$')
  last, reserved, limit = tonumber(last), tonumber(reserved), tonumber(limit)
  local unused = (reserved - math.min(used, limit)) * 60000 / limit
  local full = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), now)
  local shift = unused
  if unused > 0 then
    shift = math.min(last - math.max(now, last - unused), full - now)
    if shift <= 0 then return end
    move(last, shift)
  end
  full = full - shift
  redis.call('SET', KEYS[3], string.format('%.3f', full), 'PX', math.ceil(full - now) + 1000)
end

local settled = 0
for at = 1, #ARGV, 2 do
  local id, used = ARGV[at], tonumber(ARGV[at + 1])
  local reservation = redis.call('HGET', KEYS[2], id)
  if reservation then
    redis.call('HDEL', KEYS[2], id)
    if used then set_right(reservation, used) end
  end
  if redis.call('ZREM', KEYS[1], id) == 1 or reservation then settled = settled + 1 end
end
return settled
