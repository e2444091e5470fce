-- What wrk sends, and its result as one line of JSON. Arguments: the method, the bytes of the body,
-- and a file of tokens, one a line, or "-". Without tokens wrk sends one prepared request, which
-- costs the load's CPU least.

function init(args)
  wrk.method = args[1]
  local bodyBytes = tonumber(args[2])
  if bodyBytes > 0 then wrk.body = string.rep("x", bodyBytes) end
  if args[3] == "-" then return end

  local requests = {}
  for token in io.lines(args[3]) do
    requests[#requests + 1] = wrk.format(nil, nil, { Host = wrk.headers["Host"], Authorization = "Bearer " .. token })
  end
  local turn = 0
  function request()
    turn = turn % #requests + 1
    return requests[turn]
  end
end

function done(summary, latency)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '{"requests":%d,"durationUs":%d,"bytes":%d,"p50Us":%d,"p99Us":%d,"refused":%d,"lost":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99), errors.status, lost))
end
