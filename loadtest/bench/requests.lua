-- What wrk sends: wrk -s requests.lua URL -- MODE FIRST COUNT PATH
-- MODE: get (a row by chance), walk (one row after another), put, post, page (PATH as it is).
-- Prints the outcome as one line of JSON.
local mode, first, count, path

function init(args)
  mode, first, count, path = args[1], tonumber(args[2]), tonumber(args[3]), args[4]
  math.randomseed(os.time() + tonumber(first))
  wrk.headers["Content-Type"] = (mode == "put" or mode == "post") and "application/json" or nil
end

local walked = 0

local function id()
  local number
  if mode == "walk" then
    number = first + walked % count
    walked = walked + 1
  else
    number = first + math.random(0, count - 1)
  end
  return string.format("00000000-0000-4000-8000-%012x", number)
end

function request()
  if mode == "page" then
    return wrk.format("GET", path)
  end
  if mode == "get" or mode == "walk" then
    return wrk.format("GET", path .. "/" .. id())
  end
  local body = string.format('{"name": "Lamp", "price": %d.25}', math.random(1, 9999))
  if mode == "post" then
    return wrk.format("POST", path, nil, body)
  end
  return wrk.format("PUT", path .. "/" .. id(), nil, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
