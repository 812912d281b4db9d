-- End a claim. ARGV: token, then for each unit in the claim's order: c (complete), r<delay_ms>
-- (release), t<delay_ms> (retry), p<reason> (park), b<reason> (bury). Answers 1, or 0 when the
-- lease is gone.
local now = clock()
local token = token_text(tonumber(ARGV[1]))
local v = call('HMGET', K .. 'L:' .. token, 'c', 'o', 'u')
if not v[1] then return 0 end
local c, kind, ids = v[1], v[2], cmsgpack.unpack(v[3])
if #ids ~= #ARGV - 1 then return redis.error_reply('ERR a claim of ' .. #ids .. ' units') end
local fields, gone, work = {}, {}, 0
for i, id in ipairs(ids) do fields[i] = kind .. ':' .. id end
local raws = call('HMGET', K .. 'u:' .. c, unpack(fields))

local function finish(f, u, how, arg)
    if how == 'c' or (how == 'p' and u.n) or (how == 'b' and u.n and u.n[1] == 0) then
        -- Something happened to the record meanwhile: look again.
        if how == 'c' then become_next(u) else
            merge_next(u)
            u.a, u.x, u.t = 0, 0, now
        end
        work = work + 1
        return to_waiting(c, f, u)
    end
    merge_next(u)
    if how == 'p' then return to_parked(c, f, u, now, arg) end
    if how == 'b' then return to_buried(c, f, u, now, arg) end
    local delay = tonumber(arg)
    -- Whoever gives a unit back has lived through it: it is no poison.
    u.x = 0
    if how == 't' then u.a = u.a + 1 end
    if delay > 0 then return to_delayed(c, f, u, now + delay) end
    if how == 't' then u.t = now end
    work = work + 1
    return to_waiting(c, f, u)
end

for i, f in ipairs(fields) do
    local raw, how = raws[i], ARGV[i + 1]:sub(1, 1)
    -- Somebody may have dropped the connection meanwhile.
    if raw and raw:sub(2, 2):lower() == 'l' and raw:sub(4, 19) == token then
        count(c, 'l', -1)
        if how == 'c' and raw:sub(2, 2) == 'l' then gone[#gone + 1] = f
        else finish(f, unit_read(raw), how, ARGV[i + 1]:sub(2)) end
    end
end
if #gone > 0 then call('HDEL', K .. 'u:' .. c, unpack(gone)) end
call('DEL', K .. 'L:' .. token)
call('ZREM', K .. 'l', token)
lease_ends(token)
done(now)
if work > 0 then wake(1) end
return 1
