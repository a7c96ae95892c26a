-- Writes the number of a layout into the meta hash of one shard, and takes the shard in or out of use.
-- KEYS: stream, meta
-- ARGV: layout, candidate epoch, 'keep' (it stays in use), 'add' or 'end', seconds that the stream of
--       an ended shard is kept
-- Reply: {epoch of the shard, id of its last entry or '0-0', 1 if it has a stream}
-- From here on the shard refuses batches of older layouts (append.lua), so nothing is appended after
-- the last entry of a shard that is taken out of use.
local call = redis.call
local stream, meta = KEYS[1], KEYS[2]
local has_stream = call('EXISTS', stream)
local epoch = call('HGET', meta, 'epoch')
local last = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
if ARGV[3] == 'end' then
  if call('TTL', stream) == -1 then call('EXPIRE', stream, ARGV[4]) end
else
  call('PERSIST', stream)
  if not epoch or (ARGV[3] == 'add' and has_stream == 0) then
    -- append.lua takes this epoch for the first entry, as the hash has no 'first' entry yet.
    epoch = ARGV[2]
    call('HDEL', meta, 'first')
    call('HSET', meta, 'epoch', epoch)
  end
end
-- Last: if an ACL denies one of the commands above, the shard goes on with the layout that it has.
call('HSET', meta, 'layout', ARGV[1])
return {epoch or '', last[1] and last[1][1] or '0-0', has_stream}
