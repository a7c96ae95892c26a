-- Adds log lines to the lists of their nodes (spans); the last ones of each list are kept.
-- KEYS: the index of nodes that have lines, then the list of each node
-- ARGV: now (ms), lines kept of a node, then for each node: its span id, how long its lines are kept
--   from now (s), whether that begins again (1 or 0), the number of its lines, and these
-- Reply: how many lines were not stored because an ACL denied it
local call, pcall = redis.call, redis.pcall
local kept = -tonumber(ARGV[2])
local refused = 0
local at = 3

local function is_denied(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

for i = 2, #KEYS do
  local key, span_id, ttl, count = KEYS[i], ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 3])
  local is_new = call('EXISTS', key) == 0
  local is_due = is_new or ARGV[at + 2] == '1'
  if count > 0 or not is_new then
    -- First, although the list may not exist yet: where an ACL denies one of these, nothing may be
    -- stored that would never go.
    if is_due and (is_denied(pcall('EXPIRE', key, ttl)) or is_denied(pcall('LTRIM', key, kept, -1))
        or is_denied(pcall('ZADD', KEYS[1], ARGV[1], span_id)))
        or count > 0 and is_denied(pcall('RPUSH', key, unpack(ARGV, at + 4, at + 3 + count))) then
      refused = refused + count
    elseif count > 0 then
      call('LTRIM', key, kept, -1)
      if is_new then
        call('EXPIRE', key, ttl)
      end
    end
  end
  at = at + 4 + count
end
return refused
