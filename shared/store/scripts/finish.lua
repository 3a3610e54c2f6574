#!lua flags=allow-oom
-- The owner's ending.
-- KEYS  the eight of common.lua
-- ARGV  1 id  2 nonce  3 upto (where the owner believes the log ends)  4 status  5 reason  6 message
--       7 retention ms  8 token ids without a delta  9 '<prompt> <cached>' tokens if no delta told them, else ''
-- reply 'ok' | 'behind' | 'fenced' | 'ended' | 'gone'
local now = clock()
local status, owner, epoch, queue_id, created = unpack(redis.call(
  'HMGET', HASH, 'status', 'owner', 'epoch', 'queue_id', 'created'))
if not status then return 'gone' end
if is_terminal(status) then return owner == ARGV[2] and 'ok' or 'ended' end
if owner ~= ARGV[2] then return 'fenced' end
local _, last = tail()
if not last then
  end_now(ARGV[1], 'failed', 'log_lost', 'the log of this response was lost', ARGV[7], now)
  return 'gone'
end
if last ~= tonumber(ARGV[3]) then return 'behind' end
write_ending(ARGV[1], tonumber(epoch), last, 4, ARGV[4], ARGV[5], ARGV[6], ARGV[7], now, ARGV[8], ARGV[9])
acknowledge(queue_id)
local first = redis.call('XRANGE', LOG, '1-0', '+', 'COUNT', 1)
local started = created
if #first > 0 then started = string.match(first[1][1], '(%d+)%-') end
redis.call('LPUSH', TIMES, int(now - tonumber(started)))
redis.call('LTRIM', TIMES, 0, 63)
return 'ok'
