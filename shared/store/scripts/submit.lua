#!lua
-- Check the bound, write request and log, enqueue, ring the bell: one atomic step.
-- KEYS  the eight of common.lua, 9 bell, 10 idempotency key (optional)
-- ARGV  1 id  2 body  3 principal  4 bound  5 watcher ('' = none)  6 attachment ms  7 keep ms (-1 = always)
--       8 queue ms  9 run ms  10 retention ms  11 model
--       12 ms for which what it leaves to later requests is kept after its ending, 0 for nothing
-- reply {'ok', created, place} | {'duplicate', id, created, place} | {'overloaded', waiting, run times...}
local id, now = ARGV[1], clock()

local function duplicate(other, hash)
  return {'duplicate', other, redis.call('HGET', hash, 'created'), redis.call('ZRANK', WAITING, other) or 0}
end

if KEYS[10] then
  local other = redis.call('GET', KEYS[10])
  if other then
    local hash = string.sub(HASH, 1, -#id - 1) .. other
    if redis.call('HEXISTS', hash, 'principal') == 1 then return duplicate(other, hash) end -- else it was deleted
  end
end
if redis.call('EXISTS', HASH) == 1 then return duplicate(id, HASH) end
local waiting = redis.call('ZCARD', WAITING)
if waiting >= tonumber(ARGV[4]) then
  local reply = {'overloaded', waiting}
  for _, ms in ipairs(redis.call('LRANGE', TIMES, 0, -1)) do reply[#reply + 1] = ms end
  return reply
end

local ttl = tonumber(ARGV[8]) + tonumber(ARGV[9]) + tonumber(ARGV[10])
local queue_id = redis.call('XADD', QUEUE, '*', 'id', id)
redis.call('HSET', HASH, 'body', ARGV[2], 'model', ARGV[11], 'principal', ARGV[3], 'status', 'queued', 'created', int(now),
  'keep', ARGV[7], 'run', ARGV[9], 'queue_id', queue_id, 'epoch', '0', 'owner', '', 'attempts', '0',
  'deaths', '0', 'claims', '0', 'claimed_at', '1', 'stored', ARGV[12])
redis.call('XADD', LOG, '0-1', 'k', 'q', 'at', int(now))
redis.call('ZADD', ATTACHED, int(now), '-')
if ARGV[5] ~= '' then redis.call('ZADD', ATTACHED, int(now + tonumber(ARGV[6])), ARGV[5]) end
for _, key in ipairs({HASH, LOG, ATTACHED}) do redis.call('PEXPIRE', key, int(ttl)) end
if KEYS[10] then redis.call('SET', KEYS[10], id, 'PX', int(ttl)) end
redis.call('ZADD', WAITING, int(now), id)
redis.call('ZADD', DEADLINES, int(now + tonumber(ARGV[8])), id)
redis.call('SPUBLISH', KEYS[9], '')
return {'ok', int(now), waiting}
