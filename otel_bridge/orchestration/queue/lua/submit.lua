-- Queues a job, unless its id or its dedupe key is known already.
-- KEYS: queue, then other queues that its own jobs will be put in
-- ARGV: id, data, parent or '', dedupe key or '', dedupe TTL (s), then pairs of field and value
--       for the job's task_meta hash (research tasks only)
-- Returns {id, 1} if queued, {id of the earlier job, 0} if it was known already.
-- If an end of a queue has an item of another program: {queue, shortened item, ''}.
local id, data, parent = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', task_key(id, 'status')) == 1 then
  return {id, 0}
end
if ARGV[4] ~= '' then
  local earlier = redis.call('GET', dedupe_key(ARGV[4]))
  if earlier then
    return {earlier, 0}
  end
end
-- The other program would take this job, as its workers read the same queue.
for _, queue in ipairs(KEYS) do
  for _, index in ipairs({-1, 0}) do
    local item, wrong = item_at(queue, index)
    if wrong or (item and not own_data(item)) then
      return {queue, wrong or shortened(item), ''}
    end
  end
end
-- Redis does not undo a script that fails half way. So the commands that can fail (on a key of the
-- wrong type) come first, and the status, which makes the job known, is set last.
redis.call('LPUSH', KEYS[1], id)
if parent ~= '' then
  redis.call('SADD', group_key(parent), id)
end
for index = 6, #ARGV - 1, 2 do
  redis.call('HSET', meta_key(id), ARGV[index], ARGV[index + 1])
end
if ARGV[4] ~= '' then
  redis.call('SET', dedupe_key(ARGV[4]), id, 'EX', ARGV[5])
end
redis.call('SET', task_key(id, 'data'), data)
redis.call('SET', task_key(id, 'status'), 'pending')
notify('queued')
return {id, 1}
