-- Return what ran out of lease, bring forward what is due. ARGV: most leases, most units, lease_ms.
-- Answers how many leases were lost and how many other things moved.
local now = clock()
local lease_ms = tonumber(ARGV[3])
-- Leases that end later than any can: the clock was set back since.
for _, token in ipairs(call('ZRANGEBYSCORE', K .. 'l', now + 2 * lease_ms, '+inf', 'LIMIT', 0, 100)) do
    call('ZADD', K .. 'l', now + lease_ms, token)
end
local reaped, moved = housekeep(now, tonumber(ARGV[1]), tonumber(ARGV[2]))
if reaped + moved > 0 then wake(reaped + moved) end
-- Workers unseen for an hour are forgotten.
if reaped + moved == 0 then
    local old, all = {}, call('HGETALL', K .. 'wk')
    for i = 1, #all, 2 do
        if num(all[i + 1]:match('^%d+')) < now - 3600000 then old[#old + 1] = all[i] end
        if #old == 100 then break end
    end
    if #old > 0 then call('HDEL', K .. 'wk', unpack(old)) end
end
return { reaped, moved }
