-- Put a connection back, and up to `most` of its parked units. ARGV: connection, reason or "" for
-- all, most. Answers how many units came back; repeat until fewer than asked.
local now = clock()
local c, reason, left, units = ARGV[1], ARGV[2], tonumber(ARGV[3]), 0
local key = K .. 'c:' .. c
if reason == '' or call('HGET', key, 'pk') == reason then call('HDEL', key, 'pk') end
local reasons = reason ~= '' and { reason } or call('SMEMBERS', K .. 'pr:' .. c)
for _, r in ipairs(reasons) do
    for _, f in ipairs(call('ZRANGE', K .. 'p:' .. c .. ':' .. r, 0, left - units - 1)) do
        local raw = call('HGET', K .. 'u:' .. c, f)
        if raw then
            local u = unit_read(raw)
            leave(c, f, u)
            u.a, u.x, u.t = 0, 0, now
            to_waiting(c, f, u)
        else
            call('ZREM', K .. 'p:' .. c .. ':' .. r, f)
        end
        units = units + 1
    end
    if units >= left then break end
end
touched[c] = true
done(now)
wake(math.max(1, units))
return units
