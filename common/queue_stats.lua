-- Counters, and the oldest wait of some connections. ARGV: connection or "" for all, cursor.
-- Answers {next cursor, oldest age ms, w0, w1, w2, w3, delayed, parked, buried, leased, workers,
-- paused lanes (bit 0 to 3; 4 = all)}.
local now = clock()
local c, cursor, ids, oldest = ARGV[1], '0', { ARGV[1] }, now
if c == '' then
    local r = call('SSCAN', K .. 'cs', ARGV[2], 'COUNT', 200)
    cursor, ids = r[1], r[2]
end
for _, id in ipairs(ids) do
    for _, set in ipairs(call('ZRANGE', K .. 'n:' .. id, 0, -1)) do
        local first = call('ZRANGE', K .. 'w:' .. id .. ':' .. set, 0, 0, 'WITHSCORES')
        oldest = math.min(oldest, tonumber(first[2] or now))
    end
end
local v = call('HMGET', c == '' and K .. 't' or K .. 'c:' .. c, 'w0', 'w1', 'w2', 'w3', 'd',
               'p#', 'b', 'l')
local out = { cursor, now - oldest }
for i = 1, 8 do out[i + 2] = num(v[i]) end
local workers, all = 0, call('HVALS', K .. 'wk')
for _, w in ipairs(all) do
    if num(w:match('^%d+')) > now - 60000 then workers = workers + 1 end
end
out[11] = workers
local bits = 0
for i, on in ipairs(call('HMGET', K .. 'g', 'p0', 'p1', 'p2', 'p3', 'pa')) do
    if on then bits = bits + 2 ^ (i - 1) end
end
out[12] = bits
return out
