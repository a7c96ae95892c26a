-- Appends one batch of one producer to the log, once, and publishes each event to its channels.
-- KEYS: stream, producer, meta
-- ARGV: candidate epoch, number of the first event, MAXLEN, producer TTL (s), events channel,
--       stats channel, project channel prefix; then per event: mark .. project id, JSON.
--       mark: 's' also to the stats channel, '-' not. An empty project id: no project channel.
-- Reply: {epoch, last stream id, events skipped, messages refused}
local call, pcall, sub, byte, type = redis.call, redis.pcall, string.sub, string.byte, type
local stream, producer, meta = KEYS[1], KEYS[2], KEYS[3]
local events_channel, stats_channel, prefix = ARGV[5], ARGV[6], ARGV[7]
local first = tonumber(ARGV[2])
local count = (#ARGV - 7) / 2

local done = tonumber(call('GET', producer) or '0')
local skipped = math.max(0, math.min(count, done - first + 1))

local epoch = call('HGET', meta, 'epoch')
local is_new = not epoch or call('EXISTS', stream) == 0
if is_new then epoch = ARGV[1] end

local head = '{"position":"' .. epoch .. ':'
-- One name a project and batch: joining it anew for every event cost a tenth of the script.
local names = {}
local id, failure
local applied, refused = skipped, 0
for i = skipped + 1, count do
  local json = ARGV[7 + 2 * i]
  local reply = pcall('XADD', stream, '*', 'e', json)
  if reply.err then
    failure = reply
    break
  end
  id = reply.ok or reply
  if is_new then
    call('HSET', meta, 'epoch', epoch, 'first', id)
    is_new = false
  end
  applied = i
  local message = head .. id .. '",' .. sub(json, 2)
  local tag = ARGV[6 + 2 * i]
  -- pcall: a channel that an ACL denies must not fail a batch whose entries are written already.
  local answer = pcall('PUBLISH', events_channel, message)
  if type(answer) == 'table' then refused = refused + 1 end
  if #tag > 1 then
    local name = names[tag]
    if not name then
      name = prefix .. sub(tag, 2)
      names[tag] = name
    end
    answer = pcall('PUBLISH', name, message)
    if type(answer) == 'table' then refused = refused + 1 end
  end
  if byte(tag) == 115 then
    answer = pcall('PUBLISH', stats_channel, message)
    if type(answer) == 'table' then refused = refused + 1 end
  end
end

if applied > skipped then
  call('SET', producer, string.format('%.0f', first + applied - 1), 'EX', ARGV[4])
  call('XTRIM', stream, 'MAXLEN', '~', ARGV[3])
end
if failure then return failure end
if not id then
  local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  id = last[1] and last[1][1] or '0-0'
end
return {epoch, id, skipped, refused}
