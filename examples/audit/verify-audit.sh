#!/bin/sh
# Verifies the audit trail, raises an alarm if it is not intact, and exits with the code of `tailgate audit verify`.
#
# usage: verify-audit.sh [OPTION OF tailgate audit verify]...
#
# The report of a failure goes to stderr, which cron mails, and is posted to AUDIT_ALARM_URL if that is set. After a
# success, AUDIT_OK_URL is requested: a monitor that expects this request also notices if the check no longer runs.
set -u

tailgate=${TAILGATE:-tailgate}
report=$("$tailgate" audit verify "$@" 2>&1)
code=$?

if [ "$code" -eq 0 ]; then
  printf '%s\n' "$report"
  [ -z "${AUDIT_OK_URL:-}" ] || curl -fsS -o /dev/null --max-time 10 --retry 3 "$AUDIT_OK_URL"
  exit 0
fi

case $code in
1) subject="AUDIT TRAIL BROKEN" ;;
69) subject="audit trail not verified" ;;
*) subject="audit check failed to run (exit code $code)" ;;
esac
message="$subject on $(uname -n)

$report"

printf '%s\n' "$message" >&2
if [ -n "${AUDIT_ALARM_URL:-}" ]; then
  printf '%s\n' "$message" |
    curl -fsS -o /dev/null --max-time 10 --retry 3 -H 'Content-Type: text/plain' --data-binary @- "$AUDIT_ALARM_URL" ||
    echo "The alarm could not be delivered." >&2
fi
exit "$code"
