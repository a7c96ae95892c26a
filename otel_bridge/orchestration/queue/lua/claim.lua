-- KEYS: queues in the order to look
-- ARGV: worker, lease (ms)
-- Returns {id, attempt, queue, data or '', retries, crashes}, or nothing when all are empty.
local worker, lease_ms = ARGV[1], tonumber(ARGV[2])
local list = processing_key(worker)
for _, queue in ipairs(KEYS) do
  while true do
    local id = redis.call('LMOVE', queue, list, 'RIGHT', 'LEFT')
    if not id then
      break
    end
    -- Ended, or claimed by somebody: a foreign producer queued the id a second time.
    if is_terminal(id) or redis.call('ZSCORE', LEASES, id) then
      redis.call('LREM', list, 1, id)
    else
      local lease = task_key(id, 'lease')
      local attempt = redis.call('HINCRBY', lease, 'attempt', 1)
      redis.call('HSET', lease, 'worker', worker, 'queue', queue)
      redis.call('ZREM', DELAYED, id)
      redis.call('ZADD', LEASES, whole(now_ms() + lease_ms), id)
      redis.call('SET', task_key(id, 'status'), 'processing')
      local charged = redis.call('HMGET', lease, 'retries', 'crashes')
      local data = redis.call('GET', task_key(id, 'data'))
      return {id, whole(attempt), queue, data or '', charged[1] or '0', charged[2] or '0'}
    end
  end
end
return {}
