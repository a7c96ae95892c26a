-- KEYS: queue for a delayed job whose own is unknown
-- ARGV: crash budget, TTL (s), limit per call, spacing (ms)
-- Takes back jobs whose lease ran out (past the crash budget: to the dead list), then moves jobs
-- whose delay is over to the head of their queues.
-- Jobs taken back in one call come back one by one, `spacing` apart: one of them may have killed
-- the process that ran the others, and would take them with it again, until all are given up.
-- Returns {promoted, requeued ids, {id, worker, crashes, error, data} per dead job, flattened,
--          ms until the next delay is over or -1}
local budget, ttl_sec, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local spacing = tonumber(ARGV[4])
local now = now_ms()

local requeued, dead = {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', whole(now), 'LIMIT', 0, limit)) do
  local lease = task_key(id, 'lease')
  local worker = redis.call('HGET', lease, 'worker') or ''
  unclaim(id, worker)
  if not is_terminal(id) then
    local crashes = redis.call('HINCRBY', lease, 'crashes', 1)
    if crashes >= budget then
      local data = redis.call('GET', task_key(id, 'data')) or ''
      local reason = 'gave up after ' .. whole(crashes) .. ' workers stopped answering while running it'
      finish(id, 'failed', 'error', reason, ttl_sec, '')
      for _, value in ipairs({id, worker, whole(crashes), reason, data}) do
        dead[#dead + 1] = value
      end
    else
      redis.call('SET', task_key(id, 'status'), 'retrying')
      redis.call('ZADD', DELAYED, whole(now + #requeued * spacing), id)
      requeued[#requeued + 1] = id
    end
  end
end

local promoted = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', DELAYED, '-inf', whole(now), 'LIMIT', 0, limit)) do
  redis.call('ZREM', DELAYED, id)
  if not is_terminal(id) then
    local queue = redis.call('HGET', task_key(id, 'lease'), 'queue') or KEYS[1]
    redis.call('RPUSH', queue, id)
    promoted = promoted + 1
  end
end
if promoted > 0 then
  hint('queued')
end

local wait_ms = -1
local soonest = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
if soonest[2] then
  wait_ms = math.max(0, tonumber(soonest[2]) - now)
end
return {promoted, requeued, dead, math.floor(wait_ms)}
