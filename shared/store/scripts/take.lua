#!lua
-- Make up to `count` queue entries pending for this worker: handed-over ones first, then those whose lease
-- ran out; or new ones.  A claim of each must follow.
-- KEYS  1 queue
-- ARGV  1 worker  2 lease ms  3 count  4 'all' | 'handed' (idle times are not to be trusted) | 'new'
--       5... queue ids to pass over: this worker has just asked for them and may not have them
-- reply {queue id, response id, ...}
--
-- Idle time runs while the server is down, so after a new link every lease looks expired: for one lease only
-- what was handed over on purpose (owned by consumer '-') is taken.
local queue, worker, lease, count = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local taken, passed, most = {}, {}, count + #ARGV - 4
for i = 5, #ARGV do passed[ARGV[i]] = true end

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

local function claim(pending, idle)
  for _, entry in ipairs(pending) do
    if room() > 0 and not passed[entry[1]] then add(redis.call('XCLAIM', queue, 'w', worker, idle, entry[1])) end
  end
end

if ARGV[4] ~= 'new' then claim(redis.call('XPENDING', queue, 'w', '-', '+', most, '-'), 0) end
if ARGV[4] == 'all' and room() > 0 then
  -- Not XAUTOCLAIM: it looks at ten entries per place at most, from the oldest on, and so a worker with little
  -- room would never find what lapsed behind a hundred that others hold.
  claim(redis.call('XPENDING', queue, 'w', 'IDLE', lease, '-', '+', most), lease)
end
if ARGV[4] == 'new' then
  local fresh = redis.call('XREADGROUP', 'GROUP', 'w', worker, 'COUNT', count, 'STREAMS', queue, '>')
  if fresh then add(fresh[1][2]) end
end
return taken
