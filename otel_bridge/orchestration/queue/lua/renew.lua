-- Renews the leases of all jobs that a process runs.
-- ARGV: lease (ms), then id, worker and attempt of each job
-- Returns the ids of the jobs whose lease the worker does not hold any more.
local lease_ms = tonumber(ARGV[1])
local until_ms = whole(now_ms() + lease_ms)
local lost = {}
for index = 2, #ARGV - 2, 3 do
  local id, worker, attempt = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  if ownership(id, worker, attempt) == 1 then
    redis.call('ZADD', LEASES, until_ms, id)
  else
    lost[#lost + 1] = id
  end
end
return lost
