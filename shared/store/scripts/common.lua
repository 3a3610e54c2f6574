-- Shared by the verbs that may end a response.  The loader puts it between a script's first line and its
-- body.  Not a verb itself.
--
-- Every verb that may end a response takes the same KEYS first:
--   1 hash  2 log  3 channel  4 attachments  5 deadlines, and, where the caller knows the model,
--   6 queue  7 waiting  8 times
-- Where it does not, the last three are made from the hash's own field: same tag, same slot.
local HASH, LOG, CHANNEL, ATTACHED, DEADLINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local QUEUE, WAITING, TIMES = KEYS[6], KEYS[7], KEYS[8]
local STATE = string.gsub(HASH, '^({p%d+})r:', '%1m:') -- of the conversation, made alike
local GROUP = 'w'
if not QUEUE then
  local tag, model = string.match(HASH, '^({p%d+})'), redis.call('HGET', HASH, 'model') or ''
  QUEUE, WAITING, TIMES = tag .. 'q:' .. model, tag .. 'w:' .. model, tag .. 't:' .. model
end

-- The log's last id as (epoch, upto), or nil if there is no log.
local function tail()
  local last = redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)
  if #last == 0 then return nil end
  local epoch, upto = string.match(last[1][1], '(%d+)%-(%d+)')
  return tonumber(epoch), tonumber(upto)
end

local function is_terminal(status)
  return status ~= 'queued' and status ~= 'running'
end

-- Take the delivered entry out of the queue.  An undelivered one stays: deleting it would make the
-- group's lag nil; the next claim drops it.
local function acknowledge(queue_id)
  redis.call('XACK', QUEUE, GROUP, queue_id)
  redis.call('XDEL', QUEUE, queue_id)
end

-- Read the whole log once: its text, and the tokens as every reader counts them.  An entry is its kind, then
-- pairs; what a delta carries could be shown to somebody, what an ending carries was only computed.  It is read
-- in pieces: one reply of thousands of entries takes the server several times as long.
local function read_log()
  local texts, prompt, cached, generated, delivered = {}, 0, 0, 0, 0
  local from = '-'
  repeat
    local entries = redis.call('XRANGE', LOG, from, '+', 'COUNT', 256)
    for _, entry in ipairs(entries) do
      local fields, ids = entry[2], 0
      for at = 3, #fields, 2 do
        local name, value = fields[at], fields[at + 1]
        if name == 't' then
          texts[#texts + 1] = value
        elseif name == 'i' and value ~= '' then
          ids = 1
          if string.find(value, ',', 1, true) then ids = select(2, string.gsub(value, ',', '')) + 1 end
        elseif name == 'p' and value ~= '' and prompt == 0 then
          prompt, cached = string.match(value, '(%d+) (%d+)')
          prompt, cached = tonumber(prompt), tonumber(cached)
        end
      end
      generated = generated + ids
      if fields[2] == 'd' then delivered = delivered + ids end
    end
    if #entries > 0 then from = '(' .. entries[#entries][1] end
  until #entries < 256
  return {texts = texts, prompt = prompt, cached = cached, generated = generated, delivered = delivered}
end

-- Keep what was asked and said for later requests, if that was asked for: text deltas are escaped alike, so
-- joined they are the whole text.  A failure leaves nothing to go on from.
local function remember(status, log)
  local keep, principal, body = unpack(redis.call('HMGET', HASH, 'stored', 'principal', 'body'))
  if not keep or keep == '0' or status == 'failed' then return end
  redis.call('HSET', STATE, 'principal', principal, 'body', body, 'text', table.concat(log.texts))
  redis.call('PEXPIRE', STATE, keep)
end

-- Enter an ended response into its principal's books of the day.  This is one step with the ending, so each
-- response is there exactly once, and says what its log says.
local function enter(status, log, now)
  local principal = redis.call('HGET', HASH, 'principal')
  if not principal then return end
  redis.call('HSET', HASH, 'used', log.prompt + log.generated)
  local ledger = string.match(HASH, '^({p%d+})') .. 'u:' .. int(math.floor(now / 86400000))
  redis.call('HINCRBY', ledger, status .. ':' .. principal, 1)
  for _, name in ipairs({'prompt', 'cached', 'generated', 'delivered'}) do
    if log[name] > 0 then redis.call('HINCRBY', ledger, name .. ':' .. principal, log[name]) end
  end
  redis.call('EXPIRE', ledger, 400 * 86400)
end

-- Write the terminal entry `epoch-(last + covers)`, publish it, and let everything of the response expire.
-- `ids` and `usage` are the owner's tail, if it has one.
local function write_ending(id, epoch, last, covers, status, reason, message, retention, now, ids, usage)
  local upto = int(last + covers)
  local fields = {'k', 'e', 'n', covers, 'at', int(now), 'r', reason, 'm', message}
  for name, value in pairs({i = ids or '', p = usage or ''}) do
    if value ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  local added = redis.call('XADD', LOG, 'NOMKSTREAM', int(epoch) .. '-' .. upto, unpack(fields))
  redis.call('HSET', HASH, 'status', status, 'reason', reason, 'ended', int(now), 'epoch', int(epoch))
  redis.call('ZREM', WAITING, id)
  redis.call('ZREM', DEADLINES, id)
  local log = read_log()
  remember(status, log)
  enter(status, log, now)
  for _, key in ipairs({HASH, LOG, ATTACHED}) do redis.call('PEXPIRE', key, retention) end
  if added then
    redis.call('SPUBLISH', CHANNEL, upto .. ' ' .. covers .. ' e ' .. int(epoch) .. ' ' .. reason)
  end
end

-- End a response that is not ended, at once and whoever owns it: a new epoch fences the owner.
local function end_now(id, status, reason, message, retention, now)
  local was, epoch, queue_id = unpack(redis.call('HMGET', HASH, 'status', 'epoch', 'queue_id'))
  local _, last = tail()
  if was == 'queued' then
    write_ending(id, 0, last or 1, 1, status, reason, message, retention, now)
    return
  end
  if not last then status, reason = 'failed', 'log_lost' end
  write_ending(id, math.max(tonumber(epoch) + 1, now), last or 0, 4, status, reason, message, retention, now)
  redis.call('HSET', HASH, 'owner', '')
  acknowledge(queue_id)
end

-- Whether the last viewer left longer than `keep` ago.  A server that was out of reach looks as if everybody
-- had left, so nobody is judged before it was in reach for longer than `keep` and one attachment lease.
local function is_left(attachment, now)
  local keep = tonumber(redis.call('HGET', HASH, 'keep'))
  if keep < 0 then return false end
  local latest = redis.call('ZREVRANGE', ATTACHED, 0, 0, 'WITHSCORES')
  if #latest == 0 or tonumber(latest[2]) + keep >= now then return false end
  return served(HASH, attachment, now) > keep + attachment
end

-- The ending that is due by itself, as (status, reason), or nil.
local function due(id, attachment, now)
  local deadline = redis.call('ZSCORE', DEADLINES, id)
  if deadline and tonumber(deadline) < now then
    if redis.call('HGET', HASH, 'status') == 'queued' then return 'failed', 'queue_timeout' end
    return 'incomplete', 'time_limit'
  end
  if is_left(attachment, now) then return 'cancelled', 'left' end
  return nil
end
