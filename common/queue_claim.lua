-- Claim. ARGV: most units, worker, lease_ms. Answers {0, wait_ms}, or {token, connection, lane,
-- kind and object, calls, now, then for each unit id, first seen, occurred, events, attempts,
-- trigger, actor, hints}.
local now = clock()
local max_units, worker, lease_ms = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local function first_score(key)
    local v = call('ZRANGE', K .. key, 0, 0, 'WITHSCORES')
    return v[2] and tonumber(v[2]) or math.huge
end

local function wait_ms()
    local at = math.min(first_score('d'), first_score('wait'), first_score('l'))
    return { 0, math.max(1, math.min(1000, math.ceil(at - now))) }
end

-- Whoever is in line for quota should be next within seconds. If not, an account is closed - or
-- the clock was set back, and then the instant that was reckoned is wrong: ask again.
local function late_comer()
    local v = call('ZRANGE', K .. 'wait', 0, 0, 'WITHSCORES')
    if v[2] and v[2] ~= 'inf' and tonumber(v[2]) < now + 2000 then
        v = call('ZREVRANGEBYSCORE', K .. 'wait', '(inf', now + 2000, 'WITHSCORES', 'LIMIT', 0, 1)
    end
    if not v[1] or v[2] == 'inf' then return end
    return v[1], tonumber(v[2])
end

-- Of units that may be poison one is in work at a time: who died with another's worker would be
-- taken for one.
local suspect_busy
local function may_take_suspect()
    if suspect_busy == nil then
        local k = call('GET', K .. 'suspect')
        suspect_busy = k and call('EXISTS', K .. 'L:' .. k) == 1 or false
    end
    return not suspect_busy
end

local WINDOW, WINDOWS_MAX, SUSPECT_MS = 50, 10, 1000
-- Answers a claim and its calls; or nil, and true where only suspects wait, not yet to be taken.
local function take(c, set, n, calls_each, b)
    local lane, kind = set:sub(1, 1), set:sub(2)
    local key = K .. 'w:' .. c .. ':' .. set
    local keep, values, alone, passed, from, size = {}, {}, false, 0, 0, n
    local k = token_text(math.max(num(call('GET', K .. 'seq')) + 1, now * 1000))
    local out = { k, c, tonumber(lane), kind, 0, now }
    for _ = 1, WINDOWS_MAX do
        local ids, fields = call('ZRANGE', key, from, from + size - 1), {}
        if #ids == 0 then break end
        for i, id in ipairs(ids) do fields[i] = kind .. ':' .. id end
        local raws = call('HMGET', K .. 'u:' .. c, unpack(fields))
        for i, id in ipairs(ids) do
            if not raws[i] then
                -- Cannot be; but one broken unit must not stop the others.
                call('ZREM', key, id)
            else
                local u = unit_read(raws[i])
                alone = u.x >= POISON
                if alone and (#keep > 0 or not may_take_suspect()) then
                    passed, alone = passed + 1, false
                else
                    local o, v = #out, #values
                    keep[#keep + 1] = id
                    values[v + 1], values[v + 2] = fields[i], unit_lease(raws[i], k)
                    out[o + 1], out[o + 2], out[o + 3], out[o + 4] = id, u.t, u.o, u.e
                    out[o + 5], out[o + 6], out[o + 7], out[o + 8] = u.a, u.g, u.w, u.h or {}
                    if alone or #keep == n then break end
                end
            end
        end
        if #keep > 0 then break end
        from, size = passed, WINDOW
    end
    if #keep == 0 then
        if passed == 0 then set_drop_if_empty(c, set) end
        return nil, passed > 0
    end
    n = #keep
    if alone then call('SET', K .. 'suspect', k) end
    local calls = calls_each and n or 1
    out[5] = calls
    call('SET', K .. 'seq', k)
    call('ZREM', key, unpack(keep))
    call('HSET', K .. 'u:' .. c, unpack(values))
    if call('EXISTS', key) == 1 then call('ZADD', K .. 'n:' .. c, k, set)
    else call('ZREM', K .. 'n:' .. c, set) end
    call('HSET', K .. 'L:' .. k, 'c', c, 'l', lane, 'o', kind, 'w', worker,
         't', text(now), 'u', cmsgpack.pack(keep))
    call('ZADD', K .. 'l', now + lease_ms, k)
    count(c, 'w' .. lane, -n)
    count(c, 'l', n)
    spend(b, calls)
    return out, calls
end

-- Lanes in the order they may claim: interactive, then by share.
local function lanes_of(v)
    local p, lanes, at = pauses(), {}, {}
    for lane = 1, 3 do
        at[lane] = math.max(num(v[4 + lane]), num(v[4]))
        if num(v[8 + lane]) > 0 and not p[lane] then lanes[#lanes + 1] = lane end
    end
    table.sort(lanes, function(x, y)
        if at[x] ~= at[y] then return at[x] < at[y] end
        return x < y
    end)
    if num(v[8]) > 0 and not p[0] then table.insert(lanes, 1, 0) end
    return lanes, at
end

-- Answers a claim; or nil, when to ask again, and whether lanes below were left out.
local function claim_from(c, interactive_only)
    local v = call('HMGET', K .. 'c:' .. c, 'p', 'a', 'vt', 'lc', 'l1', 'l2', 'l3',
                   'w0', 'w1', 'w2', 'w3')
    local p = v[1]
    local acct = p .. ':' .. v[2]
    local closed, probe = account_gate(acct, now)
    if closed then return nil, closed end
    local lanes, at = lanes_of(v)
    local below = interactive_only and (lanes[2] or lanes[1] ~= 0)
    if interactive_only then lanes = { lanes[1] == 0 and 0 or nil } end
    local sets, buckets, soonest = call('ZRANGE', K .. 'n:' .. c, 0, -1), {}, math.huge
    for _, lane in ipairs(lanes) do
        for _, set in ipairs(sets) do
            if tonumber(set:sub(1, 1)) == lane then
                local kind, name = set:sub(2, 2), set:sub(3)
                local object = OBJECTS[p] and OBJECTS[p][name] or {}
                local family = object.f or DEFAULT_FAMILY[p] or ''
                local b = buckets[family] or bucket(p, acct, family, now)
                buckets[family] = b
                if b.free < 1 then
                    soonest = math.min(soonest, b.at)
                else
                    local batch = object.b or 1
                    local calls_each = batch <= 1
                    local n = 1
                    if kind == 'r' and calls_each then
                        n = probe and 1 or math.min(max_units, b.free)
                    elseif kind == 'r' then n = math.min(max_units, batch) end
                    local out, calls = take(c, set, n, calls_each and kind == 'r', b)
                    if not out and not calls then return nil, now + 1 end
                    if not out then
                        soonest = math.min(soonest, now + SUSPECT_MS)
                        call('SADD', K .. 'sw', c)
                    else
                        if probe then probe_begin(acct, now) end
                        local vt = math.max(num(v[3]), num(call('GET', K .. 'vt')))
                        call('SET', K .. 'vt', vt)
                        call('HSET', K .. 'c:' .. c, 'vt', vt + calls)
                        if lane > 0 then
                            call('HSET', K .. 'c:' .. c, 'lc', at[lane],
                                 'l' .. lane, at[lane] + calls / WEIGHT[lane])
                        end
                        return out
                    end
                end
            end
        end
    end
    return nil, soonest, below
end

local function give(c, out)
    out_of_all(c)
    done(now)
    if call('LLEN', K .. 'wake') == 0 and
       call('EXISTS', K .. 'ring0', K .. 'ring1') > 0 then wake(1) end
    return out
end

local function none_from(c, at) to_wait(c, at == math.huge and '+inf' or math.max(at, now + 1)) end

if pauses().all then return { 0, 1000 } end
housekeep(now, 2, 100)

-- Interactive work of anybody comes before anything else of somebody: whose own cannot be taken
-- now (a suspect, another family's quota) has its turn with the others, by virtual time.
local RING0_MAX, held = 32, {}
local urgent = call('ZRANGE', K .. 'ring0', 0, RING0_MAX - 1, 'WITHSCORES')
for i = 1, #urgent, 2 do
    local out, at, below = claim_from(urgent[i], true)
    if out then return give(urgent[i], out) end
    if below then held[#held + 1] = { c = urgent[i], vt = tonumber(urgent[i + 1]) }
    else none_from(urgent[i], at) end
end

local function next_one()
    local first, h = call('ZRANGE', K .. 'ring1', 0, 0, 'WITHSCORES'), held[1]
    if h and (not first[1] or h.vt <= tonumber(first[2])) then
        table.remove(held, 1)
        return h.c
    end
    return first[1] or call('ZRANGE', K .. 'ring0', 0, 0)[1]
end

for _ = 1, 32 do
    local c, was = next_one()
    if not c then c, was = late_comer() end
    if not c then return wait_ms() end
    local out, at = claim_from(c)
    if was and not out and at >= was then return wait_ms() end
    if out then return give(c, out) end
    none_from(c, at)
end
return { 0, 1 }
