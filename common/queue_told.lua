-- A provider said what its limits are. ARGV: provider, account, family, calls in 1000 s (0: it
-- did not say), calls a day and those left of them (-1: it did not say).
local acct, rate = ARGV[1] .. ':' .. ARGV[2], tonumber(ARGV[4]) / 1000
local F = FAMILIES[ARGV[1]] and FAMILIES[ARGV[1]][ARGV[3]]
if F and rate > 0 then
    local key = K .. 'q:' .. acct .. ':' .. ARGV[3]
    if math.abs(rate - F.r) < 0.001 then
        call('HDEL', key, 'tr')
    else
        call('HSET', key, 'tr', string.format('%.3f', rate))
    end
end
if tonumber(ARGV[5]) >= 0 then
    call('HSET', K .. 'a:' .. acct, 'dl', ARGV[5], 'dr', ARGV[6])
end
return 1
