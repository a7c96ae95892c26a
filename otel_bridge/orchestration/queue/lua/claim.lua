-- Claims the next job for a worker: gives it a lease and the next fencing token (attempt).
-- KEYS: queues, in the order in which they are tried
-- ARGV: worker, lease (ms)
-- Returns {id, attempt, queue, data or '', retries, crashes}; an empty table if all are empty.
-- If the next item is another program's: {queue, shortened item}; nothing was moved.
local worker, lease_ms = ARGV[1], tonumber(ARGV[2])
local list = processing_key(worker)
for _, queue in ipairs(KEYS) do
  while true do
    local id, wrong = item_at(queue, -1)
    if wrong then
      return {queue, wrong}
    end
    if not id then
      break
    end
    -- The item is looked at before it is moved, so a worker that dies here leaves it where it is.
    local data = own_data(id)
    if not data then
      return {queue, shortened(id)}
    end
    -- The job has ended or is claimed: another producer queued its id a second time. Skip it.
    if is_terminal(id) or redis.call('ZSCORE', LEASES, id) then
      redis.call('RPOP', queue)
    else
      redis.call('ZREM', DELAYED, id)
      redis.call('LMOVE', queue, list, 'RIGHT', 'LEFT')
      local lease = task_key(id, 'lease')
      local attempt = redis.call('HINCRBY', lease, 'attempt', 1)
      redis.call('HSET', lease, 'worker', worker, 'queue', queue)
      redis.call('ZADD', LEASES, whole(now_ms() + lease_ms), id)
      redis.call('SET', task_key(id, 'status'), 'processing')
      local counts = redis.call('HMGET', lease, 'retries', 'crashes')
      return {id, whole(attempt), queue, data, counts[1] or '0', counts[2] or '0'}
    end
  end
end
return {}
