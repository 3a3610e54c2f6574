#!lua flags=allow-oom
-- Take the lease on one response whose queue entry `take` made pending for this worker.
-- KEYS  the eight of common.lua
-- ARGV  1 id  2 worker  3 nonce  4 queue id  5 '1' if a suspect may be admitted  6 build  7 lease ms
--       8 attachment ms  9 retention ms  10 fit ms  11 most attempts  12 most deaths
-- reply {'ok', epoch, upto, body, created, attempts, 1 if taken from an owner who had not released it}
--       | {'gone'} | {'ended'} | {'taken'} | {'suspect'} | {'unfit'}
--
-- The claim writes an entry under its new epoch.  That entry is the fence: the stream refuses every id of an
-- older epoch from here on, so a worker that was given up cannot add one token (delivery notes, case 1).
local id, worker, nonce, queue_id, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4], clock()
local status, owner, epoch, body, created, attempts, deaths, claimed_at, build, lost, run = unpack(redis.call(
  'HMGET', HASH, 'status', 'owner', 'epoch', 'body', 'created', 'attempts', 'deaths', 'claimed_at', 'build',
  'lost', 'run'))

if not status then acknowledge(queue_id) return {'gone'} end
if is_terminal(status) then acknowledge(queue_id) return {'ended'} end
local _, last = tail()
if owner == nonce then return {'ok', epoch, last, body, created, attempts, 0} end

local pending = redis.call('XPENDING', QUEUE, GROUP, queue_id, queue_id, 1)
if #pending == 0 or pending[1][2] ~= worker then return {'taken'} end

local function finish(how, reason, message)
  end_now(id, how, reason, message, ARGV[9], now)
  acknowledge(queue_id)
  return {'ended'}
end

-- Give the entry to nobody: the next take by any worker gets it at once.
local function put_back(reply)
  redis.call('XCLAIM', QUEUE, GROUP, '-', 0, queue_id, 'IDLE', tonumber(ARGV[7]) + 1, 'JUSTID')
  return {reply}
end

if not last then finish('failed', 'log_lost', 'the log of this response was lost') return {'gone'} end
local how, reason = due(id, tonumber(ARGV[8]), now)
if how then return finish(how, reason, '') end
attempts, deaths = tonumber(attempts), tonumber(deaths)
if last > tonumber(claimed_at) then attempts = 0 end
if attempts >= tonumber(ARGV[11]) or deaths >= tonumber(ARGV[12]) then
  return finish('failed', 'worker_lost', 'the workers that took this request stopped; it is not tried again')
end
if attempts > 0 and ARGV[5] ~= '1' then return put_back('suspect') end

local marked = ''
if status == 'running' and build ~= ARGV[6] then
  if not lost then
    lost = now
    redis.call('HSET', HASH, 'lost', int(now))
  end
  if now < tonumber(lost) + tonumber(ARGV[10]) then return put_back('unfit') end
  marked = build .. ' -> ' .. ARGV[6]
end

epoch = int(math.max(tonumber(epoch) + 1, now))
local kind, covers, upto = 'h', 0, last
if status == 'queued' then
  kind, covers, upto = 's', 3, last + 3
  redis.call('ZADD', DEADLINES, int(now + tonumber(run)), id)
end
redis.call('XADD', LOG, 'NOMKSTREAM', epoch .. '-' .. int(upto),
  'k', kind, 'at', int(now), 'w', worker, 'x', marked)
redis.call('SPUBLISH', CHANNEL, int(upto) .. ' ' .. covers .. ' ' .. kind .. ' ' .. epoch .. ' ')
redis.call('HSET', HASH, 'status', 'running', 'owner', nonce, 'epoch', epoch, 'attempts', attempts + 1,
  'deaths', deaths + 1, 'claimed_at', int(upto), 'build', ARGV[6])
redis.call('HINCRBY', HASH, 'claims', 1)
redis.call('HDEL', HASH, 'lost')
redis.call('ZREM', WAITING, id)
return {'ok', epoch, upto, body, created, attempts + 1, owner ~= '' and 1 or 0}
