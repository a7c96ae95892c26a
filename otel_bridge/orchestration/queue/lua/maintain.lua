-- Takes back jobs whose lease expired: each counts a crash and is delayed for another delivery, or,
-- after the last one allowed, fails and goes to the dead-letter queue. Then moves jobs whose delay
-- is over to the head of their queues.
-- KEYS: queue for a delayed job whose own queue is unknown
-- ARGV: max deliveries, TTL (s), limit per call, spacing (ms)
-- The jobs taken back in one call are queued again one by one, `spacing` apart. One of them may
-- have killed the process that ran them all; delivered together, they would all fail with it.
-- Returns {number of jobs promoted, ids of jobs taken back,
--          {id, worker, crashes, error, data} of each new dead letter in one flat list,
--          ms until the next delay is over, or -1}
local max_deliveries, ttl_sec, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local spacing = tonumber(ARGV[4])
local now = now_ms()

local requeued, letters = {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', whole(now), 'LIMIT', 0, limit)) do
  local lease = task_key(id, 'lease')
  local worker = redis.call('HGET', lease, 'worker') or ''
  unclaim(id, worker)
  if not is_terminal(id) then
    local crashes = redis.call('HINCRBY', lease, 'crashes', 1)
    if crashes >= max_deliveries then
      local data = redis.call('GET', task_key(id, 'data')) or ''
      local reason = 'gave up after ' .. whole(crashes) .. ' workers stopped answering while running it'
      finish(id, 'failed', 'error', reason, ttl_sec, '')
      for _, value in ipairs({id, worker, whole(crashes), reason, data}) do
        letters[#letters + 1] = value
      end
    else
      redis.call('SET', task_key(id, 'status'), 'retrying')
      redis.call('ZADD', DELAYED, whole(now + #requeued * spacing), id)
      requeued[#requeued + 1] = id
    end
  end
end

local promoted = 0
local due = redis.call('ZRANGEBYSCORE', DELAYED, '-inf', whole(now), 'LIMIT', 0, limit)
for _, id in ipairs(due) do
  local is_own = own_data(id)
  -- What another program has put there stays there.
  if is_own then
    redis.call('ZREM', DELAYED, id)
  end
  if is_own and not is_terminal(id) then
    local queue = redis.call('HGET', task_key(id, 'lease'), 'queue') or KEYS[1]
    redis.call('RPUSH', queue, id)
    promoted = promoted + 1
  end
end
if promoted > 0 then
  notify('queued')
end

local wait_ms = -1
local after = '(' .. whole(now)
if #due == limit then
  after = '-inf'
end
local soonest = redis.call('ZRANGEBYSCORE', DELAYED, after, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if soonest[2] then
  wait_ms = math.max(0, tonumber(soonest[2]) - now)
end
return {promoted, requeued, letters, math.floor(wait_ms)}
