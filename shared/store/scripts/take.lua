#!lua
-- Make up to `count` queue entries pending for this worker: handed-over ones first, then those whose lease
-- ran out; or new ones.  A claim of each must follow.
-- KEYS  1 queue
-- ARGV  1 worker  2 lease ms  3 count  4 'all' | 'handed' (idle times are not to be trusted) | 'new'
-- reply {queue id, response id, ...}
--
-- Idle time runs while the server is down, so after a new link every lease looks expired: for one lease only
-- what was handed over on purpose (owned by consumer '-') is taken.
local queue, worker, lease, count = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local taken = {}

local function add(entries)
  for _, entry in ipairs(entries) do
    if entry and entry[2] then
      taken[#taken + 1] = entry[1]
      taken[#taken + 1] = entry[2][2]
    end
  end
end

local function room()
  return count - #taken / 2
end

if ARGV[4] ~= 'new' then
  for _, pending in ipairs(redis.call('XPENDING', queue, 'w', '-', '+', count, '-')) do
    add(redis.call('XCLAIM', queue, 'w', worker, 0, pending[1]))
  end
end
if ARGV[4] == 'all' and room() > 0 then
  -- Not XAUTOCLAIM: it looks at ten entries per place at most, from the oldest on, and so a worker with little
  -- room would never find what lapsed behind a hundred that others hold.
  for _, pending in ipairs(redis.call('XPENDING', queue, 'w', 'IDLE', lease, '-', '+', room())) do
    add(redis.call('XCLAIM', queue, 'w', worker, lease, pending[1]))
  end
end
if ARGV[4] == 'new' then
  local fresh = redis.call('XREADGROUP', 'GROUP', 'w', worker, 'COUNT', count, 'STREAMS', queue, '>')
  if fresh then add(fresh[1][2]) end
end
return taken
