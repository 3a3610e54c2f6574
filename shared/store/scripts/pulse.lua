-- Shared by the verbs that know, or ask, since when viewers could renew their leases without a break.  The
-- loader puts it before a script's body (and before common.lua).  Not a verb itself.
--
-- `{pK}pulse` of a partition: `last` says when a gateway last reached it, `since` from when on one did without
-- a gap.  A server's uptime does not tell it: one that a failover promotes was up all the time.
--
-- Server time in milliseconds: the only clock that stored times are compared with.
local function clock()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- Lua 5.1 writes large numbers as 1.8e+12; Redis wants all digits.
local function int(x)
  return string.format('%.0f', x)
end

local function pulse_of(key)
  return string.match(key, '^({p%d+})') .. 'pulse'
end

-- Whether leases of so many ms may have run out since `last` because nobody could renew them.  They are renewed
-- with more than half of them left, so a shorter gap harms none.  A clock that was moved is one as well.
local function is_gap(last, attachment, now)
  return math.abs(now - last) > attachment / 2
end

-- A gateway reached the partition of `key`.
local function beat(key, attachment, now)
  local pulse = pulse_of(key)
  local last = tonumber(redis.call('HGET', pulse, 'last'))
  if last and now >= last and now - last < attachment / 16 then return end
  if not last or is_gap(last, attachment, now) then redis.call('HSET', pulse, 'since', int(now)) end
  redis.call('HSET', pulse, 'last', int(now))
  redis.call('PEXPIRE', pulse, 86400000)
end

-- For how many ms viewers could renew their leases without a break.  Where no gateway has ever said so (one of
-- an older version) the server's own uptime, which is right as long as there is no failover.
local function served(key, attachment, now)
  local up = 1000 * tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
  local last, since = unpack(redis.call('HMGET', pulse_of(key), 'last', 'since'))
  if not last then return up end
  if is_gap(tonumber(last), attachment, now) then return 0 end
  return math.min(up, now - tonumber(since))
end
