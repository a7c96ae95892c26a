-- Prepended to every script: names of keys (a test compares them with redis_keys.py), time, leases.
-- PREFIX, MONITORING_KEY_PREFIX with a colon, is defined in a line before this one.
-- Runs on Redis 6.2 and later and on fakeredis (Lua 5.1). It uses no cjson, and `whole` formats
-- numbers, because Lua's own tostring writes large ones with an exponent.

local LEASES = PREFIX .. 'leases'
local DELAYED = PREFIX .. 'delayed'
local DEAD_LETTERS = PREFIX .. 'dead'
local WAKE_CHANNEL = PREFIX .. 'wake'
local DEAD_LETTERS_MAX = 10000

local function task_key(id, part)
  return PREFIX .. 'task:' .. id .. ':' .. part
end

local function processing_key(worker)
  return PREFIX .. 'processing:' .. worker
end

local function group_key(parent)
  return PREFIX .. 'task_group:' .. parent
end

local function meta_key(parent)
  return PREFIX .. 'task_meta:' .. parent
end

local function dedupe_key(key)
  return PREFIX .. 'dedupe:' .. key
end

local function whole(number)
  return string.format('%.0f', number)
end

-- Milliseconds of the server's clock, so that a worker's clock cannot shorten or prolong a lease.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function is_terminal(id)
  local status = redis.call('GET', task_key(id, 'status'))
  return status == 'completed' or status == 'failed'
end

-- An item of another program, for a line of text: at most 80 bytes, each one printable.
local function shortened(item)
  local text = string.sub(item, 1, 80)
  text = string.gsub(text, '[^\32-\126]', function(byte)
    return string.format('\\x%02x', string.byte(byte))
  end)
  if #item > 80 then
    text = text .. '...'
  end
  return text
end

-- The item at one end of a queue, if any; second, a text instead if the key is no list.
local function item_at(queue, index)
  local item = redis.pcall('LINDEX', queue, index)
  if type(item) == 'table' then
    return nil, '(no list but a ' .. redis.call('TYPE', queue)['ok'] .. ')'
  end
  return item
end

-- The data of a job that this coordinator has queued: JSON as QueuedJob of any release writes it.
-- nil for an item of another program with the same names: no id, or an id with data of its own.
local function own_data(id)
  local data = redis.pcall('GET', task_key(id, 'data'))
  if type(data) ~= 'string' or string.sub(data, 1, 7) ~= '{"id":"' then
    return nil
  end
  -- An id with characters that JSON escapes is not compared.
  local first = '{"id":"' .. id .. '","type":"'
  if not string.find(id, '["\\%c]') and string.sub(data, 1, #first) ~= first then
    return nil
  end
  -- No two programs have these fields in this order by chance; the names alone are common.
  local at = string.find(
    data, ',"priority":"%l+","retry_count":%d+,"max_retries":%d+,"parent_task_id":', 8)
  if not (at and string.find(data, ',"trace_context":{', at, true)) then
    return nil
  end
  return data
end

-- Compares worker and fencing token. 1: the worker holds this attempt; 0: the job has ended;
-- -1: another attempt took over.
local function ownership(id, worker, attempt)
  if is_terminal(id) then
    return 0
  end
  local lease = redis.call('HMGET', task_key(id, 'lease'), 'attempt', 'worker')
  if lease[1] ~= attempt or lease[2] ~= worker then
    return -1
  end
  return 1
end

-- Whether a job is running on this worker; also if the job has no lease, as other coordinators'.
local function is_processing_on(id, worker)
  if redis.call('GET', task_key(id, 'status')) ~= 'processing' then
    return false
  end
  local holder = redis.call('HGET', task_key(id, 'lease'), 'worker')
  return not holder or holder == worker
end

local function unclaim(id, worker)
  redis.call('LREM', processing_key(worker), 1, id)
  redis.call('ZREM', LEASES, id)
  redis.call('HDEL', task_key(id, 'lease'), 'worker')
end

-- Sends a wake-up notification. It may be lost, or denied by an ACL: workers also poll.
local function notify(message)
  redis.pcall('PUBLISH', WAKE_CHANNEL, message)
end

local function add_dead_letter(id)
  redis.call('LPUSH', DEAD_LETTERS, id)
  redis.call('LTRIM', DEAD_LETTERS, 0, DEAD_LETTERS_MAX - 1)
end

local function finish(id, status, part, value, ttl_sec, parent)
  redis.call('SET', task_key(id, part), value)
  redis.call('SET', task_key(id, 'status'), status)
  redis.call('DEL', task_key(id, 'lease'))
  if status == 'completed' then
    redis.call('DEL', task_key(id, 'error'))
  else
    add_dead_letter(id)
  end
  for _, name in ipairs({'status', 'data', 'result', 'error'}) do
    redis.call('EXPIRE', task_key(id, name), ttl_sec)
  end
  -- Only a research task has these two keys.
  redis.call('EXPIRE', group_key(id), ttl_sec)
  redis.call('EXPIRE', meta_key(id), ttl_sec)
  notify('ended ' .. parent)
end
