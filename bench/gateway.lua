-- wrk asks one chat request again and again. STREAM, MODEL, KEY and WORDS come from the environment; prints one JSON line.
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. os.getenv("KEY")
wrk.body = string.format(
  '{"model":"%s","messages":[{"role":"user","content":"%s"}],"max_tokens":%s,"stream":%s}',
  os.getenv("MODEL"), os.getenv("WORDS"), os.getenv("MAX_TOKENS"), os.getenv("STREAM"))

function done(summary, latency, _)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"failed":%d,"bytes":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed,
    summary.bytes))
end
