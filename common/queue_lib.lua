-- What the queue's scripts share. The driver puts this in front of every queue_<verb>.lua, behind
-- the tables FAMILIES and OBJECTS (from the provider table). KEYS[1] is the prefix of the shard,
-- "{ps0}:", and every key begins with it, so that a shard lives in one slot of a cluster.
--
--   c:<conn>            HASH  p provider, a account, pk parked why, ps paused, vt virtual time,
--                             l1 l2 l3 lc lanes' virtual times, w0..w3 d p# b l = units by state
--   u:<conn>            HASH  unit -> its value; a unit is <kind><object>:<id>, kind r, c or k
--   n:<conn>            ZSET  the waiting sets that are not empty, <lane><kind><object>, least
--                             recently claimed first
--   w:<conn>:<set>      ZSET  waiting: id by the time it began to wait
--   p:<conn>:<reason>   ZSET  parked: unit by time; pr:<conn> SET the reasons in use
--   b:<conn>            ZSET  buried: unit by time
--   d                   ZSET  delayed: <conn>|<unit> by the instant it is due
--   l                   ZSET  leases: token by the instant it runs out
--   L:<token>           HASH  c connection, l lane, o kind and object, w worker, t since, u ids
--   ring0 ring1         ZSET  connections to claim from by virtual time; 0 = has interactive work
--   wait                ZSET  connections with work that nobody may take now, by when they may
--   cs uc as ac:<acct>  SET   connections, those never configured, accounts, an account's own
--   q:<acct>:<family>   HASH  tat, rf rate factor, rt since, cl closed until, tr rate as told
--   a:<acct>            HASH  cl closed until, why, o breaker open until, h 1 open or 2 probing, d for how long
--   t                   HASH  sums of the counters of all connections
--   g                   HASH  pa all paused, p0..p3 a lane paused
--   suspect             the lease of the one unit in work that may be poison
--   sw                  SET   connections that wait for it
--   moved                     the error that every script answers when the shard is elsewhere or
--                             on its way: PSMOVED <address>, PSMOVING <whose>
--   wake routes receipts wk seq vt clock_offset_ms (only tests set the last: an offset, or
--   "=<ms>", a clock that stands)
--
-- One HASH for a connection's units rather than one HASH a unit: 218 bytes a waiting unit in all,
-- measured over 100,000.
local K = KEYS[1]
local call = redis.call
local moved = call('GET', K .. 'moved')
if moved then return redis.error_reply(moved) end
local FORMAT = 1
-- After three lost leases a unit is claimed alone, one such unit of all at a time; three more, and
-- it is buried. One more would do for the culprit; but another that nobody suspects yet may have
-- killed the worker of both. Suspects take turns, so that it meets a different one each time, and
-- after three times it is a suspect itself.
local POISON, BURY = 3, 6
local WAKE_MAX = 16
local WEIGHT = { 90, 7.5, 2.5 }
local TRIGGERS = { 'webhook', 'person', 'cli', 'nightly', 'catch-up', 'retry', 'reconnect' }
local TRIGGER_NO = {}
for i, t in ipairs(TRIGGERS) do TRIGGER_NO[t] = i end

local function num(v) return tonumber(v or 0) or 0 end
local function text(n) return string.format('%.0f', n) end

local function clock()
    local t, set = call('TIME'), call('GET', K .. 'clock_offset_ms')
    if set and set:sub(1, 1) == '=' then return num(set:sub(2)) end
    return t[1] * 1000 + math.floor(t[2] / 1000) + num(set)
end

local function token_text(n) return string.format('%016.0f', n) end

-- ---- a unit's value: format, state and lane as one byte each (state L: in work and dirty), the
-- token's 16 digits if it is in work, then packed values, of which trailing defaults are left out.
-- So a claim need not pack and a completion need not even unpack. Later formats may only add at
-- the end.
local function unit_pack(u)
    local a = { u.t, TRIGGER_NO[u.g] or u.g, u.o, u.e - 1, u.a, u.x, u.w, u.r, u.h or 0, u.n or 0 }
    local n = 10
    while n > 1 and (a[n] == 0 or a[n] == '') do n = n - 1 end
    local s, k = u.s, ''
    if s == 'l' then s, k = u.n and 'L' or 'l', u.k end
    return string.char(FORMAT) .. s .. u.l .. k .. cmsgpack.pack(unpack(a, 1, n))
end

local function unit_read(v)
    if v:byte(1) > FORMAT then error('a unit of format ' .. v:byte(1)) end
    local s, k, from = v:sub(2, 2), '', 4
    if s == 'l' or s == 'L' then s, k, from = 'l', v:sub(4, 19), 20 end
    local a = { cmsgpack.unpack(v:sub(from)) }
    local h, n = a[9], a[10]
    return { s = s, l = num(v:sub(3, 3)), k = k, t = a[1], g = TRIGGERS[a[2]] or a[2] or '',
             o = a[3] or 0, e = (a[4] or 0) + 1, a = a[5] or 0, x = a[6] or 0, w = a[7] or '',
             r = a[8] or '', h = type(h) == 'table' and h or nil,
             n = type(n) == 'table' and n or nil }
end

-- The value of a unit that waited, as one in work.
local function unit_lease(v, k) return v:sub(1, 1) .. 'l' .. v:sub(3, 3) .. k .. v:sub(4) end

local function hints_add(h, hint)
    if hint == '' then return h end
    h = h or {}
    for _, x in ipairs(h) do if x == hint then return h end end
    -- Bounded; an erasure must never be the one that does not fit.
    if #h < 8 then h[#h + 1] = hint elseif hint == 'privacy_deleted' then h[8] = hint end
    return h
end

local function earlier(a, b)
    if a == 0 then return b end
    if b == 0 then return a end
    return math.min(a, b)
end

-- ---- counters and units, written once at the end: a command costs more than what it writes
local delta, touched, fresh, unsaved = {}, {}, {}, {}
local function count(c, what, n)
    local d = delta[c]
    if not d then d = {} delta[c] = d end
    d[what] = (d[what] or 0) + n
    touched[c] = true
end

-- ---- places of a unit
local function split(f)
    local i = f:find(':', 1, true)
    return f:sub(1, i - 1), f:sub(i + 1)
end

local listed = {} -- waiting sets that this script has seen in n:
local function set_drop_if_empty(c, set)
    local key = K .. 'w:' .. c .. ':' .. set
    if call('EXISTS', key) == 0 then
        call('ZREM', K .. 'n:' .. c, set)
        listed[key] = nil
    end
end

local function leave(c, f, u)
    if u.s == 'w' then
        local kind, id = split(f)
        local set = u.l .. kind
        call('ZREM', K .. 'w:' .. c .. ':' .. set, id)
        set_drop_if_empty(c, set)
        count(c, 'w' .. u.l, -1)
    elseif u.s == 'd' then
        call('ZREM', K .. 'd', c .. '|' .. f)
        count(c, 'd', -1)
    elseif u.s == 'p' then
        local key = K .. 'p:' .. c .. ':' .. u.r
        call('ZREM', key, f)
        if call('EXISTS', key) == 0 then call('SREM', K .. 'pr:' .. c, u.r) end
        count(c, 'p#', -1)
    elseif u.s == 'b' then
        call('ZREM', K .. 'b:' .. c, f)
        count(c, 'b', -1)
    else
        count(c, 'l', -1)
    end
end

local function keep(c, f, value)
    local units = unsaved[c]
    if not units then units = {} unsaved[c] = units end
    units[f] = value
end
local function save(c, f, u) keep(c, f, unit_pack(u)) end

local scores = {} -- as texts: Redis is slow at making them of numbers
local function score(t)
    local s = scores[t]
    if not s then s = text(t) scores[t] = s end
    return s
end

local function to_waiting(c, f, u)
    local kind, id = split(f)
    local set = u.l .. kind
    local key = K .. 'w:' .. c .. ':' .. set
    u.s, u.r = 'w', ''
    if not listed[key] then
        if call('ZADD', K .. 'n:' .. c, 'NX', 0, set) == 1 then fresh[c] = true end
        listed[key] = true
    end
    call('ZADD', key, score(u.t), id)
    count(c, 'w' .. u.l, 1)
    save(c, f, u)
end

local function to_delayed(c, f, u, due)
    u.s, u.r, u.t = 'd', '', due
    call('ZADD', K .. 'd', due, c .. '|' .. f)
    count(c, 'd', 1)
    save(c, f, u)
end

local function to_parked(c, f, u, now, reason)
    u.s, u.r = 'p', reason
    call('SADD', K .. 'pr:' .. c, reason)
    call('ZADD', K .. 'p:' .. c .. ':' .. reason, now, f)
    count(c, 'p#', 1)
    save(c, f, u)
end

local function to_buried(c, f, u, now, reason)
    u.s, u.r = 'b', reason
    call('ZADD', K .. 'b:' .. c, now, f)
    count(c, 'b', 1)
    save(c, f, u)
end

-- ---- places of a connection: exactly one of ring0, ring1, wait while it has waiting units
local function out_of_all(c)
    call('ZREM', K .. 'ring0', c)
    call('ZREM', K .. 'ring1', c)
    call('ZREM', K .. 'wait', c)
end

local function to_wait(c, at)
    call('ZREM', K .. 'ring0', c)
    call('ZREM', K .. 'ring1', c)
    call('ZADD', K .. 'wait', at, c)
end

local paused
local function pauses()
    if not paused then
        local v = call('HMGET', K .. 'g', 'pa', 'p0', 'p1', 'p2', 'p3')
        paused = { all = v[1] == '1', [0] = v[2] == '1', v[3] == '1', v[4] == '1', v[5] == '1' }
    end
    return paused
end

local function settle(c, now)
    local v = call('HMGET', K .. 'c:' .. c, 'p', 'pk', 'ps', 'vt', 'w0', 'w1', 'w2', 'w3')
    local w = { [0] = num(v[5]), num(v[6]), num(v[7]), num(v[8]) }
    if w[0] + w[1] + w[2] + w[3] == 0 then return out_of_all(c) end
    if not v[1] then call('SADD', K .. 'uc', c) end
    if not v[1] or v[2] or v[3] then return to_wait(c, '+inf') end
    local p, may, ring = pauses(), false, K .. 'ring1'
    for lane = 3, 0, -1 do if w[lane] > 0 and not p[lane] then may = lane end end
    if not may then return to_wait(c, '+inf') end
    -- No quota until then; only a set that was empty may belong to another family.
    if not fresh[c] then
        local at = tonumber(call('ZSCORE', K .. 'wait', c) or 0)
        if at and at > now and at < math.huge and call('SISMEMBER', K .. 'sw', c) == 0 then
            return
        end
    end
    if may == 0 then ring = K .. 'ring0' end
    if call('ZSCORE', ring, c) then return end
    out_of_all(c)
    -- Who was away joins at the present: no credit for having slept.
    call('ZADD', ring, math.max(num(v[4]), num(call('GET', K .. 'vt'))), c)
end

-- A lease ends: if it was the suspect's, the next may be taken.
local suspect_ended
local function lease_ends(token)
    if call('GET', K .. 'suspect') ~= token then return end
    call('DEL', K .. 'suspect')
    suspect_ended = true
    for _, c in ipairs(call('SMEMBERS', K .. 'sw')) do touched[c] = true end
end

local function write_units()
    for c, units in pairs(unsaved) do
        local a = {}
        for f, value in pairs(units) do
            a[#a + 1] = f
            a[#a + 1] = value
            if #a == 1000 then
                call('HSET', K .. 'u:' .. c, unpack(a))
                a = {}
            end
        end
        if #a > 0 then call('HSET', K .. 'u:' .. c, unpack(a)) end
    end
    unsaved = {}
end

-- Write units and counters and give each touched connection its place. Last act of a script.
local function done(now)
    write_units()
    for c, d in pairs(delta) do
        for what, n in pairs(d) do
            if n ~= 0 then
                call('HINCRBY', K .. 'c:' .. c, what, n)
                call('HINCRBY', K .. 't', what, n)
            end
        end
    end
    for c in pairs(touched) do settle(c, now) end
    if suspect_ended then call('DEL', K .. 'sw') end
    delta, touched, fresh, suspect_ended = {}, {}, {}, nil
end

local function wake(n)
    local room = WAKE_MAX - call('LLEN', K .. 'wake')
    if n > room then n = room end
    if n == 1 then call('RPUSH', K .. 'wake', 1)
    elseif n > 1 then
        local a = {}
        for i = 1, n do a[i] = 1 end
        call('RPUSH', K .. 'wake', unpack(a))
    end
end

-- What came while the unit was in work, into the unit.
local function merge_next(u)
    local n = u.n
    if not n then return end
    if n[1] < u.l then u.l, u.g, u.w = n[1], n[3], n[6] end
    u.o, u.e = earlier(u.o, n[4]), u.e + n[5]
    for _, h in ipairs(n[7]) do u.h = hints_add(u.h, h) end
    u.n = nil
end

-- What came while the unit was in work becomes the unit.
local function become_next(u)
    local n = u.n
    u.l, u.t, u.g, u.o, u.e, u.w = n[1], n[2], n[3], n[4], n[5], n[6]
    u.h = #n[7] > 0 and n[7] or nil
    u.a, u.x, u.n = 0, 0, nil
end

-- A unit lost its worker: the log is to tell it, read with the receipts.
local function incident(c, f, u, now)
    local kind, id = split(f)
    call('XADD', K .. 'receipts', 'MAXLEN', '~', 10000, '*', 'j', cjson.encode({
        incident = 'worker_lost', at_ms = text(now), connection_id = c, kind = kind:sub(1, 1),
        object = kind:sub(2), id = id, trigger = u.g, actor = u.w, lost = u.x }))
end

-- ---- time: leases that ran out, delayed units that are due, connections that may come back
local function reap(token, now)
    local key = K .. 'L:' .. token
    local v = call('HMGET', key, 'c', 'o', 'u')
    call('ZREM', K .. 'l', token)
    call('DEL', key)
    lease_ends(token)
    if not v[1] then return end
    local c, ids = v[1], cmsgpack.unpack(v[3])
    for _, id in ipairs(ids) do
        local f = v[2] .. ':' .. id
        local raw = call('HGET', K .. 'u:' .. c, f)
        local u = raw and unit_read(raw)
        if u and u.s == 'l' and u.k == token then
            leave(c, f, u)
            merge_next(u)
            u.x = u.x + 1
            if u.x > POISON then u.t = now end
            if u.x >= BURY and #ids == 1 then
                to_buried(c, f, u, now, 'poison_job') -- the log has its row from what is buried
            else
                to_waiting(c, f, u)
                incident(c, f, u, now)
            end
        end
    end
end

local function housekeep(now, leases, units)
    local reaped, moved = 0, 0
    for _, token in ipairs(call('ZRANGEBYSCORE', K .. 'l', '-inf', now, 'LIMIT', 0, leases)) do
        reap(token, now)
        reaped = reaped + 1
    end
    for _, m in ipairs(call('ZRANGEBYSCORE', K .. 'd', '-inf', now, 'LIMIT', 0, units)) do
        local i = m:find('|', 1, true)
        local c, f = m:sub(1, i - 1), m:sub(i + 1)
        local raw = call('HGET', K .. 'u:' .. c, f)
        local u = raw and unit_read(raw)
        if u and u.s == 'd' then
            leave(c, f, u)
            to_waiting(c, f, u)
        else
            call('ZREM', K .. 'd', m)
        end
        moved = moved + 1
    end
    for _, c in ipairs(call('ZRANGEBYSCORE', K .. 'wait', '-inf', now, 'LIMIT', 0, 100)) do
        call('ZREM', K .. 'wait', c)
        touched[c] = true
        moved = moved + 1
    end
    if reaped + moved > 0 then done(now) end
    return reaped, moved
end

-- ---- quota: a GCRA bucket for each account and family, a gate for each account
local function account_gate(acct, now)
    local v = call('HMGET', K .. 'a:' .. acct, 'cl', 'o', 'h')
    local at = math.max(num(v[1]), num(v[2]))
    if at > now then return at end
    return nil, v[3]
end

local function bucket(p, acct, family, now)
    local F = FAMILIES[p] and FAMILIES[p][family]
    if not F then return { free = 1000000, at = now } end
    local key = K .. 'q:' .. acct .. ':' .. family
    local v = call('HMGET', key, 'tat', 'rf', 'rt', 'cl', 'tr', 'h', 'hn')
    local rate = v[5] and tonumber(v[5]) or F.r
    local rest = math.max(0, now - num(v[3]))
    local factor = v[2] and math.min(1, num(v[2]) + 0.05 * rest / 60000) or 1
    local step = 1000 / (rate * factor)
    local tat = math.max(num(v[1]), now)
    -- Further ahead than can have been granted: the clock was set back since.
    if tat > now + (2 * F.b + 1000) * step then tat = now end
    -- A thousandth of a call: tat is kept in rounded microseconds, and what is granted at once may
    -- be asked for within one millisecond.
    local b = { key = key, step = step, tat = tat, factor = factor, burst = F.b, rate = rate,
                closed = num(v[4]), now = now, hour = num(v[6]), calls = num(v[7]),
                free = math.max(0, math.floor(F.b - (tat - now) / step + 0.001)) }
    b.at = math.ceil(tat - (F.b - 1) * step)
    if b.closed > now then b.free, b.at = 0, b.closed end
    return b
end

local function spend(b, n)
    if not b.key then return end
    local hour = math.floor(b.now / 3600000) -- calls of the hour, for the picture of the quota
    if hour ~= b.hour then b.hour, b.calls = hour, 0 end
    b.calls = b.calls + n
    call('HSET', b.key, 'tat', string.format('%.3f', b.tat + n * b.step), 'h', hour, 'hn', b.calls)
end

-- An open breaker lets one call pass, then nothing until its end is told (or it is given up).
local function probe_begin(acct, now)
    call('HSET', K .. 'a:' .. acct, 'o', text(now + 30000), 'h', 2)
end

local function account_back(acct, now)
    for _, c in ipairs(call('SMEMBERS', K .. 'ac:' .. acct)) do
        local at = tonumber(call('ZSCORE', K .. 'wait', c) or 0)
        if at and at > now and at < math.huge then call('ZREM', K .. 'wait', c) end
        touched[c] = true
    end
    done(now)
    wake(1)
end
