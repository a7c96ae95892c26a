-- Records how a job ended, if this worker still holds it.
-- ARGV: id, worker, attempt, 'completed' or 'failed', result or error, TTL (s), parent or ''
-- Returns 1 if recorded, 0 if the job had ended before, -1 if another attempt took over.
local id, worker, attempt, status = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local owned = ownership(id, worker, attempt)
if owned ~= 1 then
  return owned
end
unclaim(id, worker)
local part = 'result'
if status == 'failed' then
  part = 'error'
end
finish(id, status, part, ARGV[5], ARGV[6], ARGV[7])
return 1
