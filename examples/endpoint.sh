#!/bin/sh
# A streamed answer of the endpoint with curl, as it goes over the wire:
#   specdec serve &
#   sh examples/endpoint.sh
curl --silent --no-buffer "${1:-http://127.0.0.1:8000/v1}/chat/completions" \
  --header 'Content-Type: application/json' \
  --data '{
    "messages": [{"role": "user", "content": "Tell me a story about a fox."}],
    "stream": true, "temperature": 0, "max_tokens": 60
  }'
