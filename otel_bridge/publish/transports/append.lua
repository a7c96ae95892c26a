-- Appends one batch of one producer to the log, each event once, and publishes it to its channels.
-- KEYS: stream, producer, meta
-- ARGV: candidate epoch, number of the first event, MAXLEN, producer TTL (s), events channel,
--       stats channel, project channel prefix, fencing token, channel that collectors subscribe to,
--       layout, number of routes, each event's route, the routes, the events' JSON.
--       An empty events channel: nothing is published. An empty channel of the collectors:
--       everything is, else only where another program listens; see redis_channels.py.
--       A fencing token: the batch is refused unless it is the one in the meta hash, which the last
--       call of fence.lua set.
--       The layout by which the producer chose this shard: '<number> <shard> <epoch of the log>';
--       empty: none, which is shard 0. The epoch of the log is the one in the positions of all
--       shards, beside the shard's own. A batch with an older layout than the meta hash has is
--       refused by the error 'LAYOUT <number> <events skipped>', unless the log has all of it; see
--       shards/routing.py.
--       A route is a set of channels: 's' (stats channel too) or '-' (not), then the project id;
--       empty: no project channel. Each event's route is an index from 0 in two bytes, high byte
--       first. Routes are few; an argument per event would cost as much as its PUBLISH does.
-- Reply: {epoch, last stream id, events skipped, messages refused by an ACL, linger in ms}
--        The linger is the meta hash's field linger_ms while the log's time, the milliseconds of its
--        last id, is not past linger_until_ms; else 0. Redis' TIME would need a further permission.
local call, pcall, sub, byte, type = redis.call, redis.pcall, string.sub, string.byte, type
local stream, producer, meta = KEYS[1], KEYS[2], KEYS[3]
local events_channel, stats_channel, prefix = ARGV[5], ARGV[6], ARGV[7]
local first = tonumber(ARGV[2])
local token = ARGV[8]
local collectors_channel = ARGV[9]
local layout, shard, log_epoch = string.match(ARGV[10], '(%d+) (%d+) (.+)')
layout = tonumber(layout or 0)
local routes = tonumber(ARGV[11])
local route_of = ARGV[12]
local before = 12 + routes
local count = #ARGV - before
local is_published = events_channel ~= ''
local to_events = is_published

if token ~= '' and call('HGET', meta, 'external_token') ~= token then
  return redis.error_reply('FENCED a newer fencing token was set')
end

local project_channels, to_stats = {}, {}
for i = 1, routes do
  local route = ARGV[12 + i]
  if #route > 1 then project_channels[i - 1] = prefix .. sub(route, 2) end
  to_stats[i - 1] = byte(route) == 115
end

local done = tonumber(call('GET', producer) or 0) or 0
local skipped = math.max(0, math.min(count, done - first + 1))

-- Only after the skipping: a batch that was appended under an older layout, and whose answer was
-- lost, must not be appended to another shard too. External events stay in shard 0.
local shard_layout = tonumber(call('HGET', meta, 'layout') or 0) or 0
local is_other = layout < shard_layout or (shard_layout == 0 and layout > 0)
if is_other and count > skipped and token == '' then
  return redis.error_reply(string.format('LAYOUT %.0f %.0f', shard_layout, skipped))
end

local epoch = call('HGET', meta, 'epoch')
local is_new = call('EXISTS', stream) == 0 or not epoch
-- A shard that was added gets its epoch with the layout, before it has a first entry.
local is_added = is_new and epoch and shard_layout > 0 and not call('HGET', meta, 'first')
if is_new and not is_added then epoch = ARGV[1] end

-- Called before the first entry is written. If an ACL denied these commands only after that, the
-- batch would be sent, and appended, again and again.
local function store_last_number(applied)
  call('SET', producer, string.format('%.0f', first + applied - 1), 'EX', ARGV[4])
end
if count > skipped then
  if is_new then call('HSET', meta, 'epoch', epoch) end
  store_last_number(count)
end

-- Leave out the channels to which no program but collectors listens.
local function leave_out_unheard()
  local names, projects = {collectors_channel, events_channel, stats_channel}, {}
  for i, channel in pairs(project_channels) do
    names[#names + 1] = channel
    projects[#projects + 1] = i
  end
  local patterns = pcall('PUBSUB', 'NUMPAT')
  local counts = pcall('PUBSUB', 'NUMSUB', unpack(names))
  -- An ACL may deny the command, which raises no error but gives a table with one.
  if type(patterns) ~= 'number' or counts.err then return end
  if patterns > (counts[2] > 0 and 1 or 0) then return end
  to_events = counts[4] > 0
  local to_any_stats = counts[6] > 0
  is_published = to_events or to_any_stats
  for k, i in ipairs(projects) do
    if counts[6 + 2 * k] > 0 then
      is_published = true
    else
      project_channels[i] = nil
    end
  end
  if not to_any_stats then to_stats = {} end
end
if is_published and collectors_channel ~= '' and count > skipped then leave_out_unheard() end

local head = '{"position":"' .. (log_epoch or epoch) .. ':'
local infix = layout > 0 and shard ~= '0' and '-' .. shard .. '-'
local id, failure
local applied, refused = skipped, 0

-- pcall: a channel that an ACL denies must not fail a batch whose entries are already written.
local function publish(channel, message)
  if type(pcall('PUBLISH', channel, message)) == 'table' then refused = refused + 1 end
end

for i = skipped + 1, count do
  local json = ARGV[before + i]
  local reply = pcall('XADD', stream, '*', 'e', json)
  if type(reply) == 'table' then
    failure = reply
    break
  end
  id = reply
  if is_new then
    call('HSET', meta, 'first', id)
    is_new = false
  end
  applied = i
  if is_published then
    local place = infix and string.gsub(id, '%-', infix) or id
    local message = head .. place .. '",' .. sub(json, 2)
    local high, low = byte(route_of, 2 * i - 1, 2 * i)
    local route = high * 256 + low
    if to_events then publish(events_channel, message) end
    if project_channels[route] then publish(project_channels[route], message) end
    if to_stats[route] then publish(stats_channel, message) end
  end
end

if failure then
  store_last_number(applied)
  return failure
end
-- Also for a batch that the log has already. If an ACL denied XTRIM and only new batches called it,
-- the second attempt of each batch would succeed and the log would grow without bound.
call('XTRIM', stream, 'MAXLEN', '~', ARGV[3])
if not id then
  local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  id = last[1] and last[1][1] or '0-0'
end
-- HGET, not HMGET: the permissions that the documentation has listed so far are enough.
local linger_ms = tonumber(call('HGET', meta, 'linger_ms') or 0) or 0
if linger_ms > 0 then
  local until_ms = tonumber(call('HGET', meta, 'linger_until_ms') or 0) or 0
  if until_ms < tonumber(string.match(id, '%d+')) then linger_ms = 0 end
end
return {epoch, id, skipped, refused, linger_ms}
