-- Returns a job to the head of its queue, without counting a retry or a crash.
-- ARGV: id, worker, attempt
-- Returns the same values as finish.lua.
local id, worker, attempt = ARGV[1], ARGV[2], ARGV[3]
local owned = ownership(id, worker, attempt)
if owned ~= 1 then
  return owned
end
local queue = redis.call('HGET', task_key(id, 'lease'), 'queue')
unclaim(id, worker)
redis.call('SET', task_key(id, 'status'), 'pending')
redis.call('RPUSH', queue, id)
notify('queued')
return 1
