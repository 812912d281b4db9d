-- Workers seen within a minute, and what they hold. Answers JSON objects.
local now = clock()
local held, out = {}, {}
for _, token in ipairs(call('ZRANGE', K .. 'l', 0, 9999)) do
    local v = call('HMGET', K .. 'L:' .. token, 'c', 'o', 'w', 't', 'l', 'u')
    if v[1] then
        held[v[3]] = held[v[3]] or {}
        table.insert(held[v[3]], '{"connection_id":' .. v[1] .. ',"kind":"' .. v[2]:sub(1, 1) ..
            '","object":' .. cjson.encode(v[2]:sub(2)) .. ',"lane":' .. v[5] .. ',"since_ms":' ..
            v[4] .. ',"units":' .. #cmsgpack.unpack(v[6]) .. '}')
    end
end
local all = call('HGETALL', K .. 'wk')
for i = 1, #all, 2 do
    local seen, claims = all[i + 1]:match('^(%d+) (%d+)')
    if num(seen) > now - 60000 then
        out[#out + 1] = '{"worker":' .. cjson.encode(all[i]) .. ',"seen_at_ms":' .. seen ..
            ',"claims":' .. claims .. ',"holds":[' .. table.concat(held[all[i]] or {}, ',') .. ']}'
    end
end
return out
