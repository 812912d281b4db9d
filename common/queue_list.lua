-- Units of a state. ARGV: connection, state letter, offset, most; for delayed and leased the
-- connection may be "" and the offset counts what was looked at. Answers {next offset or -1, then
-- for each connection, unit, state, lane, since, events, attempts, trigger, actor, reason, due,
-- dirty, worker}.
local c, state, offset, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local out, seen = { -1 }, 0

local function add(conn, f, due, worker)
    local raw = call('HGET', K .. 'u:' .. conn, f)
    if not raw then return end
    local u = unit_read(raw)
    if u.s ~= state then return end
    local o = #out
    for i, x in ipairs({ conn, f, u.s, u.l, u.t, u.e, u.a, u.g, u.w, u.r, due, u.n and 1 or 0,
                         worker }) do
        out[o + i] = x
    end
end

-- Walk some sets one after the other as if they were one long list.
local skip = offset
local function walk(key, each)
    if seen >= most then return end
    local n = call('ZCARD', key)
    if skip >= n then skip = skip - n return end
    local r = call('ZRANGE', key, skip, skip + most - seen - 1, 'WITHSCORES')
    skip = 0
    for i = 1, #r, 2 do
        each(r[i], tonumber(r[i + 1]))
        seen = seen + 1
    end
end

if state == 'w' then
    local sets = call('ZRANGE', K .. 'n:' .. c, 0, -1)
    table.sort(sets)
    for _, set in ipairs(sets) do
        walk(K .. 'w:' .. c .. ':' .. set, function(id) add(c, set:sub(2) .. ':' .. id, 0, '') end)
    end
elseif state == 'p' then
    local reasons = call('SMEMBERS', K .. 'pr:' .. c)
    table.sort(reasons)
    for _, r in ipairs(reasons) do
        walk(K .. 'p:' .. c .. ':' .. r, function(f) add(c, f, 0, '') end)
    end
elseif state == 'b' then
    walk(K .. 'b:' .. c, function(f, at) add(c, f, at, '') end)
elseif state == 'd' then
    walk(K .. 'd', function(m, due)
        local i = m:find('|', 1, true)
        local conn = m:sub(1, i - 1)
        if c == '' or c == conn then add(conn, m:sub(i + 1), due, '') end
    end)
else
    walk(K .. 'l', function(token, due)
        local v = call('HMGET', K .. 'L:' .. token, 'c', 'o', 'u', 'w')
        if v[1] and (c == '' or c == v[1]) then
            for _, id in ipairs(cmsgpack.unpack(v[3])) do add(v[1], v[2] .. ':' .. id, due, v[4]) end
        end
    end)
end
if seen >= most then out[1] = offset + seen end
return out
