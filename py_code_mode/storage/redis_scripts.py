"""What Redis does in one step for artifacts, in Lua. See ``redis_artifacts`` for the keys."""

from __future__ import annotations

# KEYS: record, names, stamps, version, where records begin, where the chunks of the generation begin, where those
# of all generations begin. ARGV: name, generation, chunks that are stored, tail, now, about, seconds to live (0:
# for ever), seconds for what is replaced, folders of the name. What can fail for want of memory comes first.
PUBLISH = """
local record, names, name = KEYS[1], KEYS[2], ARGV[1]
local chunks, ttl, retired = tonumber(ARGV[3]), tonumber(ARGV[7]), tonumber(ARGV[8])
for i = 9, #ARGV do
  if redis.call('EXISTS', KEYS[5] .. ARGV[i]) == 1 then return {'below', ARGV[i]} end
end
local from = '[' .. name .. '/'
while true do
  local child = redis.call('ZRANGEBYLEX', names, from, '(' .. name .. '0', 'LIMIT', 0, 1)[1]
  if not child then break end
  if redis.call('EXISTS', KEYS[5] .. child) == 1 then return {'folder', child} end
  from = '(' .. child
end
for i = 0, chunks - 1 do
  if redis.call('EXISTS', KEYS[6] .. i) == 0 then return {'lost', name} end
end
local old = redis.call('HMGET', record, 'created', 'generation', 'chunks')
local created = old[1] or ARGV[5]
local count = chunks
if #ARGV[4] > 0 then
  redis.call('SET', KEYS[6] .. chunks, ARGV[4])
  count = chunks + 1
end
redis.call('HSET', record, 'created', created, 'generation', ARGV[2], 'chunks', count, 'about', ARGV[6])
redis.call('ZADD', names, 0, name)
redis.call('HSET', KEYS[3], name, ARGV[2])
redis.call('SET', KEYS[4], ARGV[2])
if ttl > 0 then redis.call('PEXPIRE', record, math.ceil(ttl * 1000)) else redis.call('PERSIST', record) end
for i = 0, count - 1 do
  if ttl > 0 then redis.call('PEXPIRE', KEYS[6] .. i, math.ceil((ttl + retired) * 1000))
  else redis.call('PERSIST', KEYS[6] .. i) end
end
for i = 0, (tonumber(old[3]) or 0) - 1 do
  redis.call('PEXPIRE', KEYS[7] .. old[2] .. ':' .. i, retired * 1000)
end
return {'saved', created}
"""

# KEYS: record, names, stamps, version, where the chunks of all generations begin. ARGV: name, seconds. A server
# that is full allows all of it.
DELETE = """
local old = redis.call('HMGET', KEYS[1], 'generation', 'chunks')
if not old[1] and redis.call('HEXISTS', KEYS[3], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4])
if not old[1] then return 0 end
for i = 0, tonumber(old[2]) - 1 do
  redis.call('PEXPIRE', KEYS[5] .. old[1] .. ':' .. i, ARGV[2] * 1000)
end
return 1
"""

# KEYS: names, stamps, where records begin, version. ARGV: names.
FORGET = """
for i = 1, #ARGV do
  if redis.call('EXISTS', KEYS[3] .. ARGV[i]) == 0 then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('DEL', KEYS[4])
  end
end
"""
