#!lua flags=allow-oom
-- Attach, resume, repair and look for the ending: one round trip.
-- KEYS  the first five of common.lua
-- ARGV  1 id  2 principal  3 watcher ('' = do not attach)  4 attachment ms  5 next number  6 cursor epoch or ''
-- reply {'ok', status, last, epoch, created, body, place or -1, entries oldest first, run times if it waits}
--       | {'unknown'} | {'gone'} | {'behind'} | {'reset'} | {'out_of_range'}
local id, next_number = ARGV[1], tonumber(ARGV[5])
local cursor = tonumber(ARGV[6])
local status, principal, epoch, created, body, claims, deleted = unpack(redis.call(
  'HMGET', HASH, 'status', 'principal', 'epoch', 'created', 'body', 'claims', 'deleted'))
if deleted and redis.call('ZSCORE', ATTACHED, ARGV[3]) then principal = deleted end
if not status or principal ~= ARGV[2] then return {'unknown'} end
local _, last = tail()
if not last then return {'gone'} end
epoch = tonumber(epoch)

if next_number > last then
  if is_terminal(status) then return {cursor and 'reset' or 'out_of_range'} end
  if cursor and epoch > cursor then return {'reset'} end
  return {'behind'}
end

-- The tail is exact and needs no scan from the head: `upto` never falls, and each entry but h covers at least
-- one event.  Two more are read, for the entry that covers the reader's last number.
local entries = {}
local covering
for _, entry in ipairs(redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', last - next_number + tonumber(claims) + 2)) do
  local entry_epoch, upto = string.match(entry[1], '(%d+)%-(%d+)')
  upto = tonumber(upto)
  if upto < next_number then break end
  if entry[2][2] ~= 'h' then covering = tonumber(entry_epoch) end
  if upto > next_number then table.insert(entries, 1, entry) end
end
if cursor and next_number > 4 and covering ~= cursor then return {'reset'} end

if ARGV[3] ~= '' then redis.call('ZADD', ATTACHED, int(clock() + tonumber(ARGV[4])), ARGV[3]) end
local place = redis.call('ZRANK', WAITING, id) or -1
local times = place < 0 and {} or redis.call('LRANGE', TIMES, 0, -1)
return {'ok', status, last, int(epoch), created, body, place, entries, times}
