-- One limit: what was used drains, what replicas hold does not, and both together stay within the burst.
-- KEYS: the limit. ARGV: replica, kept, asked, wanted, used, everybody's debt if it was lost here, per minute, burst,
-- lease in µs.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local own, kept, asked, wanted = 'r:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local per_minute, burst, lease = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local debt, at, others, replicas, known = 0, now, 0, 1, false
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  if field == 'debt' then
    debt = tonumber(value)
  elseif field == 'at' then
    at = tonumber(value)
  elseif field == own then
    known = true
  else
    local held, till = string.match(value, '^(%d+):(%d+)$')
    if tonumber(till) > now then
      others, replicas = others + tonumber(held), replicas + 1
    elseif tonumber(till) + 600000000 < now then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
debt = math.max(0, debt - math.max(0, now - at) * per_minute / 60000000)
-- Whoever is new here may remember what this place forgot. The first to come back speaks for all: were each to tell
-- its own part, the first could take what the others have yet to tell.
debt = known and debt + tonumber(ARGV[5]) or math.max(debt, tonumber(ARGV[6]))
local room, granted = math.floor(burst - debt - others - kept), 0
if room > 0 then
  granted = math.min(asked, room)
  -- Of what nobody waits for each leaves some to the others, so that the last of a limit is not hoarded.
  granted = granted + math.min(wanted, math.floor((room - granted) / (replicas + 1)))
end
redis.call('HSET', KEYS[1], 'debt', string.format('%.17g', debt), 'at', string.format('%.0f', now),
  own, string.format('%.0f:%.0f', kept + granted, now + lease))
redis.call('PEXPIRE', KEYS[1], 120000)
return { granted, string.format('%.17g', debt), others }
