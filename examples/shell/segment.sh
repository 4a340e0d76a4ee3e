#!/bin/sh
# Segments an image file over HTTP. The ending of OUT chooses the form of the answer.
#
#   segment.sh IMAGE OUT [NAME=VALUE ...]
#
#   segment.sh cells.tif labels.tif diameter=30          label image, with the pixel size of the source
#   segment.sh cells.tif labels.png                      label image, 16 bits
#   segment.sh cells.tif overlay.png view=overlay        the image with the outlines of its objects
#   segment.sh cells.tif objects.csv                     table of the objects
#   segment.sh cells.tif objects.geojson                 outlines for QuPath
#   segment.sh cells.tif all.zip                         all of these
#   segment.sh cells.tif result.json                     objects, parameters as used, warnings
#   segment.sh cells.tif - | jq '.objects | length'      the same, printed
#
# NAME is a parameter (docs/reference/parameters.md) or an option (docs/guides/http.md). Environment:
#
#   CELLSERVE_HTTP_URL     the service, "http://localhost:8080" unless set
#   CELLSERVE_TOKEN        token, if the service wants one
#   CELLSERVE_CA           file of certificates to trust (PEM), if those of this machine do not do
#   CELLSERVE_DEADLINE_S   seconds for all attempts together, 300 unless set
#
# Exit status: 0; 1 if the service refused the image; 2 for a wrong command line; otherwise that of curl (7: no connection).
set -eu

if [ $# -lt 2 ] || [ ! -r "$1" ]; then
    echo "usage: segment.sh IMAGE OUT [NAME=VALUE ...]; IMAGE is a TIFF, PNG or JPEG file that can be read" >&2
    exit 2
fi
image=$1 out=$2
shift 2
query=$(IFS='&' && echo "$*")

case $out in
*.tif | *.tiff) accept=image/tiff ;;
*.png) accept=image/png ;;
*.csv) accept=text/csv ;;
*.geojson) accept=application/geo+json ;;
*.zip) accept=application/zip ;;
*.json | -) accept=application/json ;;
*) echo "segment.sh: $out: the name ends in .tif, .png, .csv, .geojson, .zip or .json; or is -" >&2 && exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Sends the image and prints the status of the answer. The token goes through standard input: other users see a command line.
send() {
    echo "${CELLSERVE_TOKEN:+header = \"Authorization: Bearer $CELLSERVE_TOKEN\"}" | curl --config - --silent --show-error \
        ${CELLSERVE_CA:+--cacert "$CELLSERVE_CA"} --max-time $(($1 + 5)) \
        --header "Accept: $accept" --header "Content-Type: application/octet-stream" --data-binary "@$image" \
        --output "$work/answer" --dump-header "$work/header" --write-out '%{http_code}' \
        "${CELLSERVE_HTTP_URL:-http://localhost:8080}/v1/segment?deadline_s=$1${query:+&$query}"
}

end=$(($(date +%s) + ${CELLSERVE_DEADLINE_S:-300}))
while :; do
    left=$((end - $(date +%s)))
    status=$(send "$left")
    [ "$status" != 200 ] || break
    # Retry-After: the service is full or restarts, and says when to come back. Any other refusal would only repeat itself.
    pause=$(tr -d '\r' <"$work/header" | sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9][0-9]*\)$/\1/p')
    if [ -z "$pause" ] || [ "$pause" -ge "$left" ]; then
        printf 'segment.sh: %s: ' "$image" >&2
        jq --raw-output '"\(.reason): \(.detail)"' "$work/answer" >&2 2>/dev/null || cat "$work/answer" >&2
        exit 1
    fi
    sleep "$pause"
done

if [ "$out" = - ]; then cat "$work/answer"; else mv "$work/answer" "$out"; fi
