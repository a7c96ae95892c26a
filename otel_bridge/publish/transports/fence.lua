-- Makes one fencing token the only one with which external events are appended; see append.lua.
-- KEYS: stream, meta, layout
-- ARGV: the token
-- Reply: {epoch of the log, last stream id}; both empty if the log is. No append with an older token
--        comes after that entry.
redis.call('HSET', KEYS[2], 'external_token', ARGV[1])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local epoch = redis.call('HGET', KEYS[3], 'epoch') or redis.call('HGET', KEYS[2], 'epoch')
if not (last[1] and epoch) then return {'', ''} end
return {epoch, last[1][1]}
