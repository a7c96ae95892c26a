-- Delays a job for another attempt and counts one retry.
-- ARGV: id, worker, attempt, delay (ms), error, data
-- Returns the same values as finish.lua.
local id, worker, attempt = ARGV[1], ARGV[2], ARGV[3]
local owned = ownership(id, worker, attempt)
if owned ~= 1 then
  return owned
end
unclaim(id, worker)
redis.call('HINCRBY', task_key(id, 'lease'), 'retries', 1)
redis.call('SET', task_key(id, 'data'), ARGV[6])
redis.call('SET', task_key(id, 'error'), ARGV[5])
redis.call('SET', task_key(id, 'status'), 'retrying')
redis.call('ZADD', DELAYED, whole(now_ms() + tonumber(ARGV[4])), id)
return 1
