-- Forget some units of a connection, at last the connection. ARGV: connection, most, cursor.
-- Answers how many units are left, and the next cursor (from the start again, a table of which the
-- front is empty would be walked in vain). A lease on some of them just finds nothing at its end.
local now = clock()
local c = ARGV[1]
local r = call('HSCAN', K .. 'u:' .. c, ARGV[3], 'COUNT', ARGV[2])
call('HSET', K .. 'c:' .. c, 'pk', 'dropped')
for i = 1, #r[2], 2 do
    leave(c, r[2][i], unit_read(r[2][i + 1]))
    call('HDEL', K .. 'u:' .. c, r[2][i])
end
touched[c] = true
done(now)
local left = call('HLEN', K .. 'u:' .. c)
if left > 0 then return { left, r[1] } end
local v = call('HMGET', K .. 'c:' .. c, 'p', 'a')
if v[1] then
    local acct = v[1] .. ':' .. v[2]
    call('SREM', K .. 'ac:' .. acct, c)
    if call('EXISTS', K .. 'ac:' .. acct) == 0 then call('SREM', K .. 'as', acct) end
end
call('SREM', K .. 'cs', c)
call('SREM', K .. 'uc', c)
call('DEL', K .. 'c:' .. c)
return { 0, '0' }
