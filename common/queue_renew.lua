-- Renew leases and say that the worker lives. ARGV: worker, lease_ms, tokens. Answers the tokens
-- whose lease is gone.
local now = clock()
local lost = {}
for i = 3, #ARGV do
    local token = token_text(tonumber(ARGV[i]))
    if call('ZSCORE', K .. 'l', token) then
        call('ZADD', K .. 'l', 'XX', now + tonumber(ARGV[2]), token)
    else
        lost[#lost + 1] = ARGV[i]
    end
end
call('HSET', K .. 'wk', ARGV[1], text(now) .. ' ' .. (#ARGV - 2 - #lost))
return lost
