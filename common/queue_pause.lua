-- Pause or resume. ARGV: 1 or 0, then connection | lane (-1 = all) | "" with the other one "", and
-- for a lane the cursor and which set it walks: "wait", then "ring1". Answers the next cursor, "0"
-- at the end.
local now = clock()
local on, c, lane, cursor, set = ARGV[1] == '1', ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if c ~= '' then
    if on then call('HSET', K .. 'c:' .. c, 'ps', 1) else call('HDEL', K .. 'c:' .. c, 'ps') end
    touched[c], fresh[c] = true, true
    done(now)
    wake(1)
    return '0'
end
local field = lane == '-1' and 'pa' or 'p' .. lane
if on then call('HSET', K .. 'g', field, 1) else call('HDEL', K .. 'g', field) end
-- Connections leave the ring when a claim finds nothing to take; they come back here. Also those
-- that wait for an instant: it was reckoned without this lane.
if on or lane == '-1' then
    wake(1)
    return '0'
end
local r = call('ZSCAN', K .. set, cursor, 'COUNT', 500)
for i = 1, #r[2], 2 do
    touched[r[2][i]], fresh[r[2][i]] = true, true
end
done(now)
wake(1)
return r[1]
