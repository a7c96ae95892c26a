-- Queues a stalled job again. The lease of a job that has one expires now, so that maintain.lua
-- counts the crash and takes the job back. A job without one (another coordinator's) goes to the
-- head of its queue at once.
-- KEYS: queue for a job whose own queue is unknown
-- ARGV: id, worker that stopped answering
-- Returns 1 if done, 0 if the job does not run on that worker any more.
local id, worker = ARGV[1], ARGV[2]
if not is_processing_on(id, worker) then
  return 0
end
if redis.call('ZSCORE', LEASES, id) then
  redis.call('ZADD', LEASES, 0, id)
  return 1
end
local queue = redis.call('HGET', task_key(id, 'lease'), 'queue') or KEYS[1]
redis.call('SET', task_key(id, 'status'), 'pending')
redis.call('RPUSH', queue, id)
return 1
