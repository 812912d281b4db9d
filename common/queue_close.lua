-- Close every family of an account. ARGV: provider, account, wait_ms (0 opens it), reason.
local now = clock()
local acct, wait = ARGV[1] .. ':' .. ARGV[2], tonumber(ARGV[3])
local key = K .. 'a:' .. acct
if wait > 0 then
    call('HSET', key, 'cl', text(math.max(num(call('HGET', key, 'cl')), now + wait)),
         'why', ARGV[4])
else
    call('HDEL', key, 'cl', 'why')
    account_back(acct, now)
end
return 1
