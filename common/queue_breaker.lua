-- How a call ended. ARGV: provider, account, 1 or 0. Answers for how long the breaker is open.
-- The last 5 minutes are ten slots of 30 s, "<slot>:<calls>:<failures>".
local now = clock()
local acct, ok = ARGV[1] .. ':' .. ARGV[2], ARGV[3] == '1'
local key = K .. 'a:' .. acct
local v = call('HMGET', key, 'o', 'h', 'd', 'row')
local slot = math.floor(now / 30000)
local field = 's' .. slot % 10

local function slot_read(raw)
    local s, calls, bad = (raw or ''):match('^(%d+):(%d+):(%d+)$')
    s = num(s)
    if s > slot - 10 and s <= slot then return num(calls), num(bad), s end
    return 0, 0, slot
end

local function open(for_ms)
    call('HSET', key, 'o', text(now + for_ms), 'h', 1, 'd', for_ms)
    return for_ms
end

if v[2] then
    -- h is 1 while open and 2 while its probe is under way. What was under way when it opened
    -- says nothing new.
    local left = num(v[1]) - now
    if v[2] == '1' and left > 0 then return math.ceil(left) end
    if not ok then return open(math.min(900000, num(v[3]) * 2)) end
    local why = call('HMGET', key, 'cl', 'why')
    call('DEL', key)
    if why[1] then call('HSET', key, 'cl', why[1], 'why', why[2] or '') end
    account_back(acct, now)
    return 0
end

local calls, bad, at = slot_read(call('HGET', key, field))
if at ~= slot then calls, bad = 0, 0 end
calls, bad = calls + 1, bad + (ok and 0 or 1)
call('HSET', key, field, slot .. ':' .. calls .. ':' .. bad)
if ok then
    if v[4] then call('HDEL', key, 'row') end
    return 0
end
local row = call('HINCRBY', key, 'row', 1)
local all, failed = 0, 0
for i = 0, 9 do
    local c, b = slot_read(call('HGET', key, 's' .. i))
    all, failed = all + c, failed + b
end
if row >= 5 or (all >= 10 and failed >= 0.7 * all) then return open(60000) end
return 0
