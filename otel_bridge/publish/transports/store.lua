-- Stores the stacks of failures, each in the hash of its node (a span), for a day.
-- KEYS: the hash of each node
-- ARGV: time to live (s), then for each node: its project (or an empty text), the compressed text
-- A stack that is stored for another project stays: a client must not replace what it may not read.
-- Reply: how many were not stored, by an ACL or by that rule
local call, pcall = redis.call, redis.pcall
local refused = 0

local function is_denied(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

for i, key in ipairs(KEYS) do
  local project = ARGV[2 * i]
  -- First, although the key may not exist yet: where an ACL denies EXPIRE, nothing may be stored
  -- that would never go.
  local known = pcall('HGET', key, 'project')
  if is_denied(pcall('EXPIRE', key, ARGV[1])) or is_denied(known)
      or (known and known ~= project)
      or is_denied(pcall('HSET', key, 'project', project, 'stack', ARGV[2 * i + 1])) then
    refused = refused + 1
  else
    call('EXPIRE', key, ARGV[1])
  end
end
return refused
