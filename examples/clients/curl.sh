#!/bin/sh
# curl against `loraloop serve`: an answer, a run of the agent with its events, what the server counts.
set -eu
url=${LORALOOP_URL:-http://127.0.0.1:8000}
curl -sf "$url/v1/chat/completions" -H 'Content-Type: application/json' \
    -d '{"model": "auto", "messages": [{"role": "user", "content": "Say hello."}]}'
echo
curl -sfN "$url/v1/agents/assistant/runs" -H 'Content-Type: application/json' -d '{"input": "Say hello."}'
curl -sf "$url/metrics" | grep '^loraloop_requests_total'
