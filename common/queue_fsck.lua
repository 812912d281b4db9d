-- Check. ARGV: what, connection, cursor, count. Every check is of one instant, so that it may run
-- beside live workers. Answers {next cursor, units seen, violations...}.
--   units <conn>: each unit is in the place that it names and in no other
--   conn <conn>:  counters = sizes of the sets; as many places as units; place in the ring
--   leases:       each lease has its batch, each batch its units
--   delayed:      each member is a delayed unit
--   shard:        sums
local now = clock()
local what, c, cursor, size = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local bad, seen, next_cursor = {}, 0, '0'
local function wrong(...) bad[#bad + 1] = table.concat({ ... }, ' ') end

local function check_unit(f, u)
    local kind, id = split(f)
    local places = {}
    for lane = 0, 3 do
        local set = lane .. kind
        if call('ZSCORE', K .. 'w:' .. c .. ':' .. set, id) then
            places[#places + 1] = 'w' .. lane
            if not call('ZSCORE', K .. 'n:' .. c, set) then
                wrong('connection', c, 'set', set, 'is not listed')
            end
        end
    end
    if call('ZSCORE', K .. 'd', c .. '|' .. f) then places[#places + 1] = 'd' end
    if call('ZSCORE', K .. 'b:' .. c, f) then places[#places + 1] = 'b' end
    for _, r in ipairs(call('SMEMBERS', K .. 'pr:' .. c)) do
        if call('ZSCORE', K .. 'p:' .. c .. ':' .. r, f) then
            places[#places + 1] = 'p' .. r
        end
    end
    if u.s == 'l' then
        if call('ZSCORE', K .. 'l', u.k) and call('EXISTS', K .. 'L:' .. u.k) == 1 then
            places[#places + 1] = 'l'
        end
    end
    local want = u.s
    if u.s == 'w' then want = 'w' .. u.l elseif u.s == 'p' then want = 'p' .. u.r end
    if #places ~= 1 or places[1] ~= want then
        wrong('connection', c, 'unit', f, 'should be in', want, 'and is in',
              #places == 0 and 'none' or table.concat(places, ','))
    end
end

local function check_conn()
    local v = call('HMGET', K .. 'c:' .. c, 'w0', 'w1', 'w2', 'w3', 'd', 'p#', 'b', 'l')
    local sizes, sum = { 0, 0, 0, 0 }, 0
    for _, set in ipairs(call('ZRANGE', K .. 'n:' .. c, 0, -1)) do
        local n, lane = call('ZCARD', K .. 'w:' .. c .. ':' .. set), tonumber(set:sub(1, 1)) + 1
        if n == 0 then wrong('connection', c, 'set', set, 'is listed but empty') end
        sizes[lane] = sizes[lane] + n
    end
    for lane = 1, 4 do
        if sizes[lane] ~= num(v[lane]) then
            wrong('connection', c, 'lane', lane - 1, 'counts', num(v[lane]), 'and holds', sizes[lane])
        end
    end
    local parked = 0
    for _, r in ipairs(call('SMEMBERS', K .. 'pr:' .. c)) do
        local n = call('ZCARD', K .. 'p:' .. c .. ':' .. r)
        if n == 0 then wrong('connection', c, 'reason', r, 'is listed but empty') end
        parked = parked + n
    end
    if parked ~= num(v[6]) then
        wrong('connection', c, 'counts', num(v[6]), 'parked and holds', parked)
    end
    if call('ZCARD', K .. 'b:' .. c) ~= num(v[7]) then wrong('connection', c, 'buried miscounted') end
    for i = 1, 8 do sum = sum + num(v[i]) end
    local units = call('HLEN', K .. 'u:' .. c)
    if units ~= sum then wrong('connection', c, 'has', units, 'units in', sum, 'places') end
    local places = {}
    for _, key in ipairs({ 'ring0', 'ring1', 'wait' }) do
        if call('ZSCORE', K .. key, c) then places[#places + 1] = key end
    end
    local waiting = sizes[1] + sizes[2] + sizes[3] + sizes[4]
    if #places ~= (waiting > 0 and 1 or 0) then
        wrong('connection', c, 'with', waiting, 'waiting is in',
              #places == 0 and 'no ring' or table.concat(places, ','))
    end
    local m = call('HMGET', K .. 'c:' .. c, 'p', 'pk', 'ps')
    if places[1] and places[1] ~= 'wait' and (not m[1] or m[2] or m[3]) then
        wrong('connection', c, 'is in', places[1], 'though parked, paused or unknown')
    end
    if places[1] == 'ring1' and sizes[1] > 0 and not pauses()[0] then
        wrong('connection', c, 'has interactive work and is in ring1')
    end
    local may = false
    for lane = 0, 3 do if sizes[lane + 1] > 0 and not pauses()[lane] then may = true end end
    if places[1] == 'wait' and call('ZSCORE', K .. 'wait', c) == 'inf' and m[1] and
       not m[2] and not m[3] and may then
        wrong('connection', c, 'waits for ever though nothing holds it')
    end
end

if what == 'units' then
    local r = call('HSCAN', K .. 'u:' .. c, cursor, 'COUNT', size)
    next_cursor = r[1]
    for i = 1, #r[2], 2 do
        check_unit(r[2][i], unit_read(r[2][i + 1]))
        seen = seen + 1
    end
elseif what == 'conn' then
    check_conn()
elseif what == 'leases' then
    local r = call('ZSCAN', K .. 'l', cursor, 'COUNT', size)
    next_cursor = r[1]
    for i = 1, #r[2], 2 do
        local v = call('HMGET', K .. 'L:' .. r[2][i], 'c', 'o', 'u')
        if not v[1] then wrong('lease', r[2][i], 'has no batch') else
            for _, id in ipairs(cmsgpack.unpack(v[3])) do
                local raw = call('HGET', K .. 'u:' .. v[1], v[2] .. ':' .. id)
                local u = raw and unit_read(raw)
                if u and u.s == 'l' and not call('ZSCORE', K .. 'l', u.k) then
                    wrong('lease', r[2][i], 'unit', id, 'is under another that is gone')
                end
            end
        end
    end
elseif what == 'delayed' then
    local r = call('ZSCAN', K .. 'd', cursor, 'COUNT', size)
    next_cursor = r[1]
    for i = 1, #r[2], 2 do
        local j = r[2][i]:find('|', 1, true)
        local raw = call('HGET', K .. 'u:' .. r[2][i]:sub(1, j - 1), r[2][i]:sub(j + 1))
        if not raw or unit_read(raw).s ~= 'd' then wrong('delayed', r[2][i], 'is not') end
    end
else
    local v = call('HMGET', K .. 't', 'd', 'l')
    if call('ZCARD', K .. 'd') ~= num(v[1]) then
        wrong('shard counts', num(v[1]), 'delayed and holds', call('ZCARD', K .. 'd'))
    end
    for _, key in ipairs({ 'ring0', 'ring1', 'wait' }) do
        for _, id in ipairs(call('ZRANGE', K .. key, 0, 9999)) do
            if call('SISMEMBER', K .. 'cs', id) == 0 then wrong(key, 'holds unknown', id) end
        end
    end
end
return { next_cursor, seen, unpack(bad, 1, math.min(#bad, 100)) }
