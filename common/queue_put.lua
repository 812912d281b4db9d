-- Put units. ARGV: number of units; for each connection, unit, lane, trigger, actor, hint,
-- delay_ms, occurred_at_ms; then receipts. Answers the routes version and how many are new work.
local now = clock()
local n = tonumber(ARGV[1])
local work, known = 0, {}

local function put(c, f, lane, trigger, actor, hint, delay, occurred)
    local raw = call('HGET', K .. 'u:' .. c, f)
    if not raw then
        local u = { l = lane, t = now, g = trigger, o = occurred, e = 1, a = 0, x = 0,
                    w = actor, r = '', h = hints_add(nil, hint) }
        if not known[c] then call('SADD', K .. 'cs', c) known[c] = true end
        if delay > 0 then return to_delayed(c, f, u, now + delay) end
        work = work + 1
        return to_waiting(c, f, u)
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

for i = 0, n - 1 do
    local a = 2 + i * 8
    put(ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3], ARGV[a + 4], ARGV[a + 5],
        tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7]))
end
for i = 2 + n * 8, #ARGV do
    call('XADD', K .. 'receipts', 'MAXLEN', '~', 10000, '*', 'j', ARGV[i])
end
done(now)
if work > 0 then wake(work) end
return { num(call('GET', K .. 'routes')), work }
