-- Quota buckets. Answers JSON objects.
local now = clock()
local out = {}
for _, acct in ipairs(call('SMEMBERS', K .. 'as')) do
    local p, account = split(acct)
    local v = call('HMGET', K .. 'a:' .. acct, 'cl', 'o', 'why', 'dl', 'dr')
    local names = {}
    for name in pairs(FAMILIES[p] or {}) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        local b = bucket(p, acct, name, now)
        out[#out + 1] = string.format(
            '{"provider":%s,"account":%s,"family":%s,"rate_per_s":%.3f,"full_rate_per_s":%.3f,' ..
            '"burst":%d,"free":%d,"used":%d,"closed_until_ms":%.0f,"breaker_open_until_ms":%.0f,' ..
            '"reason":%s,"daily_limit":%s,"daily_left":%s,"hour_ms":%.0f,"hour_calls":%d}', cjson.encode(p), cjson.encode(account), cjson.encode(name),
            1000 / b.step, b.rate, b.burst, b.free, b.burst - b.free,
            math.max(b.closed > now and b.closed or 0, num(v[1]) > now and num(v[1]) or 0),
            num(v[2]) > now and num(v[2]) or 0, cjson.encode(v[3] or ''),
            v[4] or 'null', v[5] or 'null', b.hour * 3600000, b.calls)
    end
end
return out
