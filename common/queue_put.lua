-- Put units. ARGV: number of units; for each connection, unit, lane, trigger, actor, hint,
-- delay_ms, occurred_at_ms; then receipts. Answers the routes version and how many are new work.
local now = clock()
local n = tonumber(ARGV[1])
local work, known, found = 0, {}, {}

-- What is there of the units that come, asked for once a connection.
local function look()
    local names = {}
    for i = 2, 1 + n * 8, 8 do
        local c = ARGV[i]
        local of = names[c]
        if not of then of = {} names[c] = of end
        of[#of + 1] = ARGV[i + 1]
    end
    for c, of in pairs(names) do
        local raws, there = call('HMGET', K .. 'u:' .. c, unpack(of)), {}
        for i, f in ipairs(of) do there[f] = raws[i] end
        found[c] = there
    end
end

local function put(c, f, lane, trigger, actor, hint, delay, occurred)
    local raw = unsaved[c] and unsaved[c][f] or found[c][f]
    if not raw then
        local u = { l = lane, t = now, g = trigger, o = occurred, e = 1, a = 0, x = 0,
                    w = actor, r = '', h = hints_add(nil, hint) }
        if not known[c] then call('SADD', K .. 'cs', c) known[c] = true end
        if delay > 0 then return to_delayed(c, f, u, now + delay) end
        work = work + 1
        return to_waiting(c, f, u)
    end
    if raw:byte(1) == FORMAT and raw:sub(2, 2) == 'w' and lane >= num(raw:sub(3, 3)) and hint == '' then
        -- What most puts meet: it waits already, and counts one more.
        local a = { cmsgpack.unpack(raw:sub(4)) }
        a[3], a[4] = earlier(a[3] or 0, occurred), (a[4] or 0) + 1
        return keep(c, f, raw:sub(1, 3) .. cmsgpack.pack(unpack(a)))
    end
    local u = unit_read(raw)
    if u.s == 'l' then
        local d = u.n or { lane, now, trigger, 0, 0, actor, {} }
        if lane < d[1] then d[1], d[3], d[6] = lane, trigger, actor end
        d[4], d[5], d[7] = earlier(d[4], occurred), d[5] + 1, hints_add(d[7], hint)
        u.n = d
        return save(c, f, u)
    end
    u.o, u.e, u.h = earlier(u.o, occurred), u.e + 1, hints_add(u.h, hint)
    local up = lane < u.l
    local old = { s = u.s, l = u.l, r = u.r }
    if up then u.l, u.g, u.w = lane, trigger, actor end
    if u.s == 'b' and lane ~= 0 then
        -- Only a person's word brings back what killed its workers.
        return save(c, f, u)
    end
    if u.s == 'p' or u.s == 'b' then u.a, u.x = 0, 0 end
    if u.s == 'w' then
        if not up then return save(c, f, u) end
        leave(c, f, old)
        work = work + 1
        return to_waiting(c, f, u)
    end
    if u.s == 'd' and delay > 0 then
        if now + delay < u.t then
            leave(c, f, old)
            return to_delayed(c, f, u, now + delay)
        end
        return save(c, f, u)
    end
    leave(c, f, old)
    if delay > 0 then return to_delayed(c, f, u, now + delay) end
    u.t = now
    work = work + 1
    return to_waiting(c, f, u)
end

look()
for i = 0, n - 1 do
    local a = 2 + i * 8
    put(ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3], ARGV[a + 4], ARGV[a + 5],
        tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7]))
end
-- Receipts share entries of the stream, which is cut at some 10000 of them.
local AT_ONCE = 20
for i = 2 + n * 8, #ARGV, AT_ONCE do
    local a = {}
    for k = i, math.min(i + AT_ONCE - 1, #ARGV) do
        a[#a + 1] = 'j'
        a[#a + 1] = ARGV[k]
    end
    call('XADD', K .. 'receipts', 'MAXLEN', '~', text(20000 / #a), '*', unpack(a))
end
done(now)
if work > 0 then wake(work) end
return { num(call('GET', K .. 'routes')), work }
