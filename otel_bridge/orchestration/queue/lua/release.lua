-- ARGV: id, worker, attempt
-- Gives a job back unharmed, to be the next one claimed: neither retries nor crashes are charged.
-- Returns as finish.lua does.
local id, worker, attempt = ARGV[1], ARGV[2], ARGV[3]
local owned = ownership(id, worker, attempt)
if owned ~= 1 then
  return owned
end
local queue = redis.call('HGET', task_key(id, 'lease'), 'queue')
unclaim(id, worker)
redis.call('SET', task_key(id, 'status'), 'pending')
redis.call('RPUSH', queue, id)
hint('queued')
return 1
