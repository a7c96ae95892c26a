-- Ends a stalled job as failed and puts its id on the dead-letter queue.
-- ARGV: id, worker that stopped answering, error, TTL (s)
-- Returns 1 if recorded, 0 if the job does not run on that worker any more.
local id, worker, ttl_sec = ARGV[1], ARGV[2], ARGV[4]
if not is_processing_on(id, worker) then
  return 0
end
redis.call('SET', task_key(id, 'status'), 'failed', 'EX', ttl_sec)
redis.call('SET', task_key(id, 'error'), ARGV[3], 'EX', ttl_sec)
redis.call('ZREM', LEASES, id)
redis.call('LREM', processing_key(worker), 0, id)
add_dead_letter(id)
return 1
