-- Make a connection known. ARGV: connection, provider, account, parked, paused.
local now = clock()
local c, key = ARGV[1], K .. 'c:' .. ARGV[1]
local acct = ARGV[2] .. ':' .. ARGV[3]
local old = call('HMGET', key, 'p', 'a')
if old[1] and old[1] .. ':' .. old[2] ~= acct then
    local was = old[1] .. ':' .. old[2]
    call('SREM', K .. 'ac:' .. was, c)
    if call('EXISTS', K .. 'ac:' .. was) == 0 then call('SREM', K .. 'as', was) end
end
call('HSET', key, 'p', ARGV[2], 'a', ARGV[3])
call('SADD', K .. 'cs', c)
call('SREM', K .. 'uc', c)
call('SADD', K .. 'ac:' .. acct, c)
call('SADD', K .. 'as', acct)
if ARGV[4] == '1' then call('HSETNX', key, 'pk', 'parked') else call('HDEL', key, 'pk') end
if ARGV[5] == '1' then call('HSET', key, 'ps', 1) else call('HDEL', key, 'ps') end
touched[c], fresh[c] = true, true
done(now)
wake(1)
return 1
