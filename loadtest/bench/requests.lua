-- What wrk sends: wrk -s requests.lua URL -- MODE FIRST COUNT PATH [PAGE...]
-- MODE: get (a row by chance), walk (one row after another), put, post, page (PATH as it is),
-- changing (each PAGE in turn; before every forty a put, which the rate does not count).
-- Prints the outcome as one line of JSON.
local mode, first, count, path
local pages = {}
local PAGES_PER_PUT = 40
local JSON = {["Content-Type"] = "application/json"}
-- Global: done() asks the thread for it.
uncounted = 0

function setup(thread)
  generator = thread  -- There is one.
end

function init(args)
  mode, first, count, path = args[1], tonumber(args[2]), tonumber(args[3]), args[4]
  for i = 5, #args do
    pages[#pages + 1] = args[i]
  end
  math.randomseed(os.time() + tonumber(first))
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

local sent = 0

local function is_page()
  sent = sent + 1
  return sent % (PAGES_PER_PUT + 1) ~= 1
end

function request()
  if mode == "changing" and is_page() then
    return wrk.format("GET", pages[(sent - uncounted) % #pages + 1])
  elseif mode == "changing" then
    uncounted = uncounted + 1
  end
  if mode == "page" then
    return wrk.format("GET", path)
  end
  if mode == "get" or mode == "walk" then
    return wrk.format("GET", path .. "/" .. id())
  end
  local body = string.format('{"name": "Lamp", "price": %d.25}', math.random(1, 9999))
  if mode == "post" then
    return wrk.format("POST", path, JSON, body)
  end
  return wrk.format("PUT", path .. "/" .. id(), JSON, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "uncounted": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "refused": %d, "broken": %d}\n',
    summary.requests, generator:get("uncounted"), summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
