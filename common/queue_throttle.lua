-- A 429 came. ARGV: provider, account, family, wait_ms. Answers the rate factor in percent.
-- Calls that were under way together are refused together: within a second they count once.
local now = clock()
local acct, wait = ARGV[1] .. ':' .. ARGV[2], tonumber(ARGV[4])
local b = bucket(ARGV[1], acct, ARGV[3], now)
if not b.key then return 100 end
local since = num(call('HGET', b.key, 'rt'))
local factor = b.factor
if since <= now - 1000 or since > now then
    factor = math.max(0.05, factor * 0.7)
    call('HSET', b.key, 'rf', string.format('%.6f', factor), 'rt', text(now))
end
call('HSET', b.key, 'cl', text(math.max(b.closed, now + wait)))
return math.floor(factor * 100)
