#!/usr/bin/env bash
# The scenario of ../README.md with curl, each POST by another one of the
# recipes that Jenkins' documentation and its users' scripts have for the crumb.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
deadline=$((SECONDS + 50))

fail() {
  echo "FAIL: $*" >&2
  exit 1
}
finished() { echo "done: $1"; }

# -g: the URLs below have brackets that are not curl's own.
curl_() {
  if [[ -n ${JENKINS_BEARER:-} ]]; then
    curl -fsSg --max-time 20 -H "Authorization: Bearer $JENKINS_TOKEN" "$@"
  else
    curl -fsSg --max-time 20 --user "$JENKINS_USER:$JENKINS_TOKEN" "$@"
  fi
}

job=$JENKINS_URL/job/$JENKINS_JOB
concat='xpath=concat(//crumbRequestField,":",//crumb)'

# Values out of JSON without asking for jq.
json_crumb() { sed -n 's/.*"crumb":"\([^"]*\)".*/\1/p'; }
json_field() { sed -n 's/.*"crumbRequestField":"\([^"]*\)".*/\1/p'; }

# has TEXT URL tells whether the answer contains the text.
has() {
  local body
  body=$(curl_ "$2") && [[ $body == *"$1"* ]]
}
listed() { has "\"name\":\"$JENKINS_JOB\"" "$JENKINS_URL/api/json?tree=jobs[name]"; }

# wait_for WHAT COMMAND... polls until the command succeeds.
wait_for() {
  local what=$1
  shift
  until "$@"; do
    ((SECONDS < deadline)) || fail "waited in vain for $what"
    sleep 0.05
  done
}

# follow QUEUE_URL sets $number to the build that the queue item became.
started() {
  number=$(curl_ "${1}api/json" | sed -n 's/.*"executable":{[^}]*"number":\([0-9]*\).*/\1/p')
  [[ -n $number ]]
}
follow() { wait_for "queue item $1 to start" started "$1"; }

location() { sed -n 's/^[Ll]ocation: *\([^[:space:]]*\).*/\1/p' "$1"; }
building() { has '"building":true' "$job/$1/api/json"; }
ended() { has '"building":false' "$job/$1/api/json"; }

has "\"id\":\"$JENKINS_USER\"" "$JENKINS_URL/me/api/json" || fail "whoami"
finished whoami

listed && fail "job is there before it was made"
finished list

# Crumb by JSON, then the request, with a cookie jar.
curl_ -c "$scratch/jar" -o "$scratch/crumb" "$JENKINS_URL/crumbIssuer/api/json"
field=$(json_field <"$scratch/crumb") crumb=$(json_crumb <"$scratch/crumb")
[[ -n $field && -n $crumb ]] || fail "crumb by JSON: $(cat "$scratch/crumb")"
curl_ -b "$scratch/jar" -H "$field: $crumb" -H 'Content-Type: application/xml' \
  --data-binary "@$JENKINS_JOB_XML" "$JENKINS_URL/createItem?name=$JENKINS_JOB"
listed || fail "job is missing from the list"
finished create

# Crumb by XPath in one line, sent by -H "$CRUMB", without a cookie jar.
CRUMB=$(curl_ "$JENKINS_URL/crumbIssuer/api/xml?$concat")
[[ $CRUMB == "$field":?* ]] || fail "crumb by XPath: $CRUMB"
curl_ "$job/config.xml" -o "$scratch/config.xml"
grep -qF 'first version' "$scratch/config.xml" || fail "config was not stored"
sed 's/first version/zweite Größe ☃/' "$scratch/config.xml" >"$scratch/changed.xml"
curl_ -H "$CRUMB" -H 'Content-Type: text/xml' --data-binary "@$scratch/changed.xml" "$job/config.xml"
has 'zweite Größe ☃' "$job/config.xml" || fail "config was not changed"
finished config

# No crumb at all, as Jenkins allows with an API token; but a session cookie
# that Jenkins never issued, and another one.
curl_ -b 'JSESSIONID.00000000=of-the-client; other=of-the-client' -D "$scratch/head" -o /dev/null -X POST \
  --data-urlencode 'GREETING=hello & grüß ☃' --data-urlencode DURATION=2s "$job/buildWithParameters"
item=$(location "$scratch/head")
[[ $item == "$JENKINS_URL"/queue/item/*/ ]] || fail "Location: $item"
finished build
follow "$item"
curl_ "$job/$number/api/json" -o "$scratch/build"
grep -qF 'grüß ☃"' "$scratch/build" || fail "parameters: $(cat "$scratch/build")"
grep -qF "\"userId\":\"$JENKINS_USER\"" "$scratch/build" || fail "causes: $(cat "$scratch/build")"
finished queue

start=0 chunks=0
: >"$scratch/console"
while :; do
  curl_ -D "$scratch/head" -o "$scratch/piece" "$job/$number/logText/progressiveText?start=$start"
  [[ ! -s $scratch/piece ]] || chunks=$((chunks + 1))
  cat "$scratch/piece" >>"$scratch/console"
  start=$(sed -n 's/^[Xx]-[Tt]ext-[Ss]ize: *\([0-9]*\).*/\1/p' "$scratch/head")
  [[ $start == "$(wc -c <"$scratch/console")" ]] || fail "X-Text-Size $start"
  grep -qi '^x-more-data: *true' "$scratch/head" || break
  ((SECONDS < deadline)) || fail "the console does not end"
  sleep 0.2
done
((chunks > 1)) || fail "the console came in one piece"
tail -n 1 "$scratch/console" | grep -qx 'Finished: SUCCESS' || fail "console: $(cat "$scratch/console")"
curl_ "$job/$number/consoleText" | cmp - "$scratch/console" || fail "pieces differ from the whole"
ended "$number" || fail "build is not over"
finished console

# The crumb of before, kept in a variable as a long script does, and its jar.
curl_ -b "$scratch/jar" -H "$field: $crumb" -D "$scratch/head" -o /dev/null \
  -d GREETING=x -d DURATION=1h "$job/buildWithParameters"
follow "$(location "$scratch/head")"
building "$number" || fail "the long build is over at once"
# A crumb of now by XPath with a cookie jar; -L follows the 302 with a GET.
CRUMB=$(curl_ -c "$scratch/jar2" -G --data-urlencode "$concat" "$JENKINS_URL/crumbIssuer/api/xml")
curl_ -L -o /dev/null -b "$scratch/jar2" -H "$CRUMB" -d '' "$job/$number/stop"
wait_for "the end of the build" ended "$number"
has '"result":"ABORTED"' "$job/$number/api/json" || fail "stopped build"
finished stop

# The crumb as a form field in place of a header.
crumb=$(curl_ "$JENKINS_URL/crumbIssuer/api/json" | json_crumb)
curl_ -o /dev/null -d "$field=$crumb" "$job/doDelete"
status=$(curl_ -o /dev/null -w '%{http_code}' "$job/api/json" 2>/dev/null || true)
[[ $status == 404 ]] || fail "deleted job answers $status"
listed && fail "job is still in the list"
finished delete
