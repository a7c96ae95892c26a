-- Claims the next job for a worker: gives it a lease and the next fencing token (attempt).
-- KEYS: queues, in the order in which they are tried
-- ARGV: worker, lease (ms)
-- Returns {id, attempt, queue, data or '', retries, crashes}; an empty table if all are empty.
local worker, lease_ms = ARGV[1], tonumber(ARGV[2])
local list = processing_key(worker)
for _, queue in ipairs(KEYS) do
  while true do
    local id = redis.call('LMOVE', queue, list, 'RIGHT', 'LEFT')
    if not id then
      break
    end
    -- The job has ended or is claimed: another producer queued its id a second time. Skip it.
    if is_terminal(id) or redis.call('ZSCORE', LEASES, id) then
      redis.call('LREM', list, 1, id)
    else
      local lease = task_key(id, 'lease')
      local attempt = redis.call('HINCRBY', lease, 'attempt', 1)
      redis.call('HSET', lease, 'worker', worker, 'queue', queue)
      redis.call('ZREM', DELAYED, id)
      redis.call('ZADD', LEASES, whole(now_ms() + lease_ms), id)
      redis.call('SET', task_key(id, 'status'), 'processing')
      local counts = redis.call('HMGET', lease, 'retries', 'crashes')
      local data = redis.call('GET', task_key(id, 'data'))
      return {id, whole(attempt), queue, data or '', counts[1] or '0', counts[2] or '0'}
    end
  end
end
return {}
