-- The rooms of all nodes, in Redis. Each call of this script is one step, which no other call interrupts.
-- redis_rooms.py calls it, and puts the line `local LIMITS = {…}` in front. docs/signaling.md lists the keys.
-- ARGV: the step, then its arguments. Names of rooms, members and connections have no space and no colon.

local PREFIX = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) -- milliseconds
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])

local function number(value)
  return string.format('%.0f', value)
end

local function room_key(room) return PREFIX .. 'room:' .. room end
local function members_key(room) return PREFIX .. 'members:' .. room end
local function notices_key(room) return PREFIX .. 'notices:' .. room end
local function nodes_key(room) return PREFIX .. 'nodes:' .. room end
local function member_key(room, id) return PREFIX .. 'member:' .. room .. ':' .. id end
local function kept_key(room, id) return PREFIX .. 'kept:' .. room .. ':' .. id end
local function served_key(node) return PREFIX .. 'served:' .. node end
local function owner_key(owner) return PREFIX .. 'owner:' .. owner end
local ALL_NODES, ALL_ROOMS, AWAY = PREFIX .. 'all-nodes', PREFIX .. 'all-rooms', PREFIX .. 'away'
local LAST_BEAT, MEMORY = PREFIX .. 'last-beat', PREFIX .. 'memory'

local function node_of(connection)
  return string.match(connection, '^[^.]*')
end

-- Every key expires, so that nothing is left when all nodes have gone.
local function keep_room(room)
  for _, key in ipairs({room_key(room), members_key(room), notices_key(room), nodes_key(room)}) do
    redis.call('PEXPIRE', key, LIMITS.lifetime)
  end
  redis.call('ZADD', ALL_ROOMS, number(now + LIMITS.lifetime), room)
  redis.call('PEXPIRE', ALL_ROOMS, LIMITS.lifetime)
  local owner = redis.call('HGET', room_key(room), 'owner')
  if owner and owner ~= '' then redis.call('PEXPIRE', owner_key(owner), LIMITS.lifetime) end
end

local function keep_member(room, id)
  redis.call('PEXPIRE', member_key(room, id), LIMITS.lifetime)
  redis.call('PEXPIRE', kept_key(room, id), LIMITS.lifetime)
end

-- The clock gives the numbers, so they go on growing when Redis has lost its memory.
local function next_seq(room)
  local last = tonumber(redis.call('HGET', room_key(room), 'seq') or '0')
  local seq = number(math.max(last + 1, micros))
  redis.call('HSET', room_key(room), 'seq', seq)
  return seq
end

local function publish(node, kind, room, id, seq, tag, text)
  redis.call('PUBLISH', PREFIX .. 'to:' .. node, table.concat({kind, room, id, seq, tag, text}, ' '))
end

local function size_of(entry)
  return #entry + 64
end

local function seq_of(entry)
  return string.match(entry, '^%d+')
end

-- Sends a notice about a member to all others. Nodes that know of it already ignore a notice of the kind `again`, which
-- is kept with a ~ before the member's id.
local function notify(room, subject, text, kind)
  local seq = next_seq(room)
  local key = notices_key(room)
  redis.call('RPUSH', key, seq .. (kind == 'again' and ' ~' or ' ') .. subject .. ' ' .. text)
  if redis.call('LLEN', key) > LIMITS.kept_notices then
    redis.call('HSET', room_key(room), 'lost', seq_of(redis.call('LPOP', key)))
  end
  for _, node in ipairs(redis.call('HKEYS', nodes_key(room))) do
    publish(node, kind, room, subject, seq, '-', text)
  end
  return seq
end

local function shrink_kept(room, id, fits)
  local key, member = kept_key(room, id), member_key(room, id)
  while true do
    local oldest = redis.call('LINDEX', key, 0)
    if not oldest or fits(oldest) then return end
    redis.call('LPOP', key)
    redis.call('HINCRBY', member, 'bytes', -size_of(oldest))
    redis.call('HINCRBY', room_key(room), 'bytes', -size_of(oldest))
    redis.call('HSET', member, 'lost', seq_of(oldest))
  end
end

local function serve(room, id, connection)
  local node = node_of(connection)
  redis.call('HSET', member_key(room, id), 'connection', connection)
  redis.call('ZREM', AWAY, room .. ' ' .. id)
  if redis.call('SADD', served_key(node), room .. ' ' .. id) == 1 then
    redis.call('HINCRBY', nodes_key(room), node, 1)
  end
  redis.call('PEXPIRE', served_key(node), LIMITS.lifetime)
end

local function stop_serving(room, id)
  local connection = redis.call('HGET', member_key(room, id), 'connection')
  if not connection or connection == '' then return end
  local node = node_of(connection)
  if redis.call('SREM', served_key(node), room .. ' ' .. id) == 1
    and redis.call('HINCRBY', nodes_key(room), node, -1) <= 0 then
    redis.call('HDEL', nodes_key(room), node)
  end
  redis.call('HSET', member_key(room, id), 'connection', '', 'before', connection)
end

local function close_room(room)
  local owner = redis.call('HGET', room_key(room), 'owner')
  if owner and owner ~= '' then redis.call('SREM', owner_key(owner), room) end
  redis.call('DEL', room_key(room), members_key(room), notices_key(room), nodes_key(room))
  redis.call('ZREM', ALL_ROOMS, room)
end

-- Removes a member without a notice.
local function unlink(room, id)
  stop_serving(room, id)
  local bytes = tonumber(redis.call('HGET', member_key(room, id), 'bytes') or '0')
  if bytes > 0 then redis.call('HINCRBY', room_key(room), 'bytes', -bytes) end
  redis.call('DEL', member_key(room, id), kept_key(room, id))
  redis.call('ZREM', members_key(room), id)
  redis.call('ZREM', AWAY, room .. ' ' .. id)
end

local function farewell(id)
  return '{"type":"peer-left","id":"' .. id .. '"}'
end

local function remove(room, id)
  unlink(room, id)
  if redis.call('ZCARD', members_key(room)) == 0 then
    close_room(room)
  else
    notify(room, id, farewell(id), 'notice')
    keep_room(room)
  end
end

local function wait_for(room, id, until_time)
  redis.call('ZADD', AWAY, number(until_time), room .. ' ' .. id)
  redis.call('PEXPIRE', AWAY, LIMITS.lifetime)
end

local function go_away(room, id, until_time)
  stop_serving(room, id)
  if redis.call('HGET', member_key(room, id), 'resumes') == '1' then
    wait_for(room, id, until_time)
  else
    remove(room, id)
  end
end

-- Returns ids and names by turns, in the order of joining.
local function others(room, except)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', members_key(room), 0, -1)) do
    local name = redis.call('HGET', member_key(room, id), 'name')
    if not name then
      redis.call('ZREM', members_key(room), id)
    elseif id ~= except then
      found[#found + 1] = id
      found[#found + 1] = name
    end
  end
  return found
end

local function kept_after(room, id, last)
  local found = {}
  for _, entry in ipairs(redis.call('LRANGE', kept_key(room, id), 0, -1)) do
    if tonumber(seq_of(entry)) > last then found[#found + 1] = entry end
  end
  for _, entry in ipairs(redis.call('LRANGE', notices_key(room), 0, -1)) do
    local seq, subject = string.match(entry, '^(%d+) ~?(%S+)')
    if tonumber(seq) > last and subject ~= id then found[#found + 1] = entry end
  end
  return found
end

local function missed(room, id, last)
  local lost = math.max(
    tonumber(redis.call('HGET', member_key(room, id), 'lost') or '0'),
    tonumber(redis.call('HGET', room_key(room), 'lost') or '0')
  )
  return lost > last and '1' or '0'
end

local function replace_connection(room, id, connection)
  local before = redis.call('HGET', member_key(room, id), 'connection')
  if before and before ~= '' and before ~= connection then
    publish(node_of(before), 'replaced', room, id, '0', before, '')
  end
  stop_serving(room, id)
end

local function resumed(room, id, connection, last)
  serve(room, id, connection)
  keep_member(room, id)
  keep_room(room)
  local received = redis.call('HGET', member_key(room, id), 'received') or '0'
  local seq = redis.call('HGET', room_key(room), 'seq') or '0'
  local name = redis.call('HGET', member_key(room, id), 'name')
  return {'resumed', id, name, seq, received, missed(room, id, last), others(room, id), kept_after(room, id, last)}
end

local function refusal(room, id, owner)
  if redis.call('EXISTS', members_key(room)) == 0 then
    redis.call('ZREMRANGEBYSCORE', ALL_ROOMS, '-inf', number(now))
    if redis.call('ZCARD', ALL_ROOMS) >= LIMITS.max_rooms then return 'no-more-rooms' end
    if owner ~= '' and redis.call('SCARD', owner_key(owner)) >= LIMITS.max_rooms_per_owner then
      return 'owner-has-no-more-rooms'
    end
    return nil
  end
  local count = redis.call('ZCARD', members_key(room))
  if redis.call('ZSCORE', members_key(room), id) then count = count - 1 end
  return count >= LIMITS.capacity and 'room-full' or nil
end

local function open_room(room, owner)
  if redis.call('EXISTS', members_key(room)) == 1 then return false end
  redis.call('DEL', room_key(room), notices_key(room), nodes_key(room))
  redis.call('HSET', room_key(room), 'owner', owner, 'bytes', '0')
  if owner ~= '' then redis.call('SADD', owner_key(owner), room) end
  return true
end

local function add(room, id, name, connection, resumes, digest, notice, kind)
  redis.call('HSET', member_key(room, id), 'name', name, 'resumes', resumes, 'digest', digest, 'bytes', '0')
  local seq = notify(room, id, notice, kind)
  redis.call('ZADD', members_key(room), seq, id)
  serve(room, id, connection)
  keep_member(room, id)
  keep_room(room)
  return seq
end

local steps = {}

function steps.join(room, id, name, connection, owner, resumes, digest, notice, claimed, presented, last)
  if claimed ~= '' and redis.call('HGET', member_key(room, claimed), 'digest') == presented then
    replace_connection(room, claimed, connection)
    return resumed(room, claimed, connection, tonumber(last))
  end
  if redis.call('HGET', member_key(room, id), 'connection') == connection then -- the answer to this step was lost
    local seq = tonumber(redis.call('ZSCORE', members_key(room), id))
    return {'joined', id, name, number(seq), '0', '0', others(room, id), kept_after(room, id, seq)}
  end
  local refused = refusal(room, id, owner)
  if refused then return {refused} end
  open_room(room, owner)
  if redis.call('EXISTS', member_key(room, id)) == 1 then
    replace_connection(room, id, connection)
    unlink(room, id)
  end
  local seq = add(room, id, name, connection, resumes, digest, notice, 'notice')
  return {'joined', id, name, seq, '0', '0', others(room, id), {}}
end

function steps.relay(room, id, connection, sent, target, text)
  local member, other = member_key(room, id), member_key(room, target)
  local held = redis.call('HMGET', member, 'connection', 'received')
  if held[1] ~= connection then return 'replaced' end
  if tonumber(sent) <= tonumber(held[2] or '0') then return 'repeated' end
  if target == id or redis.call('EXISTS', other) == 0 then return 'no-such-peer' end
  redis.call('HSET', member, 'received', sent)
  local seq, tag = next_seq(room), id .. ':' .. sent
  local entry = seq .. ' ' .. tag .. ' ' .. text
  redis.call('RPUSH', kept_key(room, target), entry)
  local bytes = redis.call('HINCRBY', other, 'bytes', size_of(entry))
  local all = redis.call('HINCRBY', room_key(room), 'bytes', size_of(entry))
  local count = redis.call('LLEN', kept_key(room, target))
  if count > LIMITS.kept_messages or bytes > LIMITS.kept_bytes or all > LIMITS.kept_bytes_of_room then
    shrink_kept(room, target, function(oldest)
      local fits = count <= LIMITS.kept_messages and bytes <= LIMITS.kept_bytes and all <= LIMITS.kept_bytes_of_room
      count, bytes, all = count - 1, bytes - size_of(oldest), all - size_of(oldest)
      return fits
    end)
  end
  keep_member(room, target)
  local reached = redis.call('HGET', other, 'connection')
  if reached and reached ~= '' then publish(node_of(reached), 'message', room, target, seq, tag, text) end
  return 'relayed'
end

function steps.leave(room, id, connection, for_good)
  local held = redis.call('HMGET', member_key(room, id), 'connection', 'before', 'digest')
  local is_away = held[1] == '' and held[2] == connection -- the node was taken for dead before it could say this
  local is_expected = held[1] == '' and held[3] == '' -- another node knew of it when Redis had lost its memory
  if for_good == '1' and (held[1] == connection or is_away or is_expected) then
    remove(room, id)
  elseif for_good == '1' and not held[1] and redis.call('EXISTS', members_key(room)) == 1 then
    notify(room, id, farewell(id), 'again')
  elseif held[1] == connection then
    go_away(room, id, now + LIMITS.grace)
  end
end

-- Returns a name for the memory of Redis, which is another one after Redis has lost its memory.
function steps.memory(proposed)
  redis.call('SET', MEMORY, proposed, 'NX')
  redis.call('PEXPIRE', MEMORY, LIMITS.lifetime)
  return redis.call('GET', MEMORY)
end

-- Returns what a member of this node has missed after the node was cut off; adds the member if Redis has lost it.
function steps.attach(room, id, name, connection, owner, resumes, digest, notice, received, last, is_lost)
  local held, before = unpack(redis.call('HMGET', member_key(room, id), 'connection', 'before'))
  if held == '' and before then held = before end -- the member is away, and this was its last connection
  if not held and is_lost == '0' then
    return {'gone'} -- it left over another node, or its node was cut off for too long
  elseif not held then
    if open_room(room, owner) then redis.call('HSET', room_key(room), 'restored', number(now)) end
    redis.call('HSET', room_key(room), 'seq', number(math.max(tonumber(last),
      tonumber(redis.call('HGET', room_key(room), 'seq') or '0'))))
    add(room, id, name, connection, resumes, digest, notice, 'again')
  elseif held ~= '' and held ~= connection then
    return {'replaced'}
  else -- another node may have expected the member, without knowing all of this
    redis.call('HSET', member_key(room, id), 'name', name, 'resumes', resumes, 'digest', digest)
  end
  if tonumber(received) > tonumber(redis.call('HGET', member_key(room, id), 'received') or '0') then
    redis.call('HSET', member_key(room, id), 'received', received)
  end
  return resumed(room, id, connection, tonumber(last))
end

-- Returns the members of a room, and whether Redis had lost the room a short time ago.
function steps.members(room)
  local restored = tonumber(redis.call('HGET', room_key(room), 'restored') or '0')
  return {now - restored < LIMITS.grace and '1' or '0', others(room, '')}
end

-- Adds a member whose node has not come back yet. It leaves unless that node or the member returns in time.
function steps.expect(room, id, name)
  if redis.call('EXISTS', member_key(room, id)) == 1 or redis.call('EXISTS', members_key(room)) == 0 then return end
  redis.call('HSET', member_key(room, id), 'name', name, 'resumes', '1', 'connection', '', 'digest', '', 'bytes', '0')
  redis.call('ZADD', members_key(room), next_seq(room), id)
  wait_for(room, id, now + LIMITS.grace)
  keep_member(room, id)
end

-- Extends the lifetime of a member and its room, and drops messages so old that it must have received them.
function steps.keep(room, id)
  shrink_kept(room, id, function(oldest)
    return tonumber(seq_of(oldest)) > micros - 1500 * LIMITS.grace
  end)
  keep_member(room, id)
  keep_room(room)
end

local function part(pair)
  return string.match(pair, '^(%S+) (%S+)$')
end

-- Takes the members of a node away from it, at most a batch of them; returns whether that was all.
local function abandon(node, act)
  local members = redis.call('SRANDMEMBER', served_key(node), LIMITS.batch)
  for _, pair in ipairs(members) do
    local room, id = part(pair)
    local held = redis.call('HGET', member_key(room, id), 'connection')
    if held and node_of(held) == node then
      act(room, id)
    else
      redis.call('SREM', served_key(node), pair)
    end
  end
  return #members < LIMITS.batch
end

local function away_until(time)
  return function(room, id) go_away(room, id, time) end
end

-- Marks what Redis believes this node to serve as away. What the node does serve, it attaches next.
function steps.begin(node)
  local done = abandon(node, function(room, id)
    stop_serving(room, id)
    local resumes = redis.call('HGET', member_key(room, id), 'resumes') == '1'
    wait_for(room, id, now + (resumes and LIMITS.grace or LIMITS.lease))
  end)
  return done and 'done' or 'more'
end

function steps.goodbye(node)
  local done = abandon(node, away_until(now + LIMITS.grace))
  if done then redis.call('ZREM', ALL_NODES, node) end
  return done and 'done' or 'more'
end

-- Gives all nodes and all members that are away more time if no node could reach Redis for a while.
local function allow_for_outage()
  local last = tonumber(redis.call('GET', LAST_BEAT) or now)
  redis.call('SET', LAST_BEAT, number(now), 'PX', LIMITS.lifetime)
  local gap = now - last
  if gap < LIMITS.lease then return end
  for _, key in ipairs({ALL_NODES, AWAY}) do
    for _, entry in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, number(gap), entry) end
  end
end

-- Says that a node lives, finds nodes that do not, and removes members that were away for too long.
function steps.beat(node, beat)
  allow_for_outage()
  local known = redis.call('ZSCORE', ALL_NODES, node)
  redis.call('ZADD', ALL_NODES, number(now + LIMITS.lease), node)
  local more = 'done'
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', ALL_NODES, '-inf', number(now), 'LIMIT', 0, 1)) do
    local since = tonumber(redis.call('ZSCORE', ALL_NODES, dead))
    if abandon(dead, away_until(since + LIMITS.grace)) then redis.call('ZREM', ALL_NODES, dead) end
    more = 'more'
  end
  local late = redis.call('ZRANGEBYSCORE', AWAY, '-inf', number(now), 'LIMIT', 0, LIMITS.batch)
  for _, pair in ipairs(late) do
    local room, id = part(pair)
    redis.call('ZREM', AWAY, pair)
    if redis.call('EXISTS', member_key(room, id)) == 1 then remove(room, id) end
  end
  if #late == LIMITS.batch then more = 'more' end
  redis.call('ZREMRANGEBYSCORE', ALL_ROOMS, '-inf', number(now))
  for _, key in ipairs({ALL_NODES, AWAY, MEMORY, served_key(node)}) do
    redis.call('PEXPIRE', key, LIMITS.lifetime)
  end
  publish(node, 'beat', '-', '-', '0', beat, '')
  return {known and '1' or '0', more}
end

return steps[ARGV[1]](unpack(ARGV, 2))
