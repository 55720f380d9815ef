# What the examples over HTTP share; to be read with `.`. GOLEK_API_KEY is sent where the fleet wants keys.

# send METHOD PATH [BODY]: prints the reply; status 1 with the error's message for one that is no success.
send() {
    local reply status key=()
    [ -z "${GOLEK_API_KEY:-}" ] || key=(-H "Authorization: Bearer $GOLEK_API_KEY")
    reply=$(curl -sS --max-time 120 -X "$1" "$url$2" -H "Content-Type: application/json" "${key[@]}" \
        ${3:+-d "$3"} -w '\n%{http_code}')
    status=${reply##*$'\n'}
    reply=${reply%$'\n'*}
    case $status in
    2*) printf '%s\n' "$reply" ;;
    *)
        printf '%s\n' "$1 $2: $status $(jq -r '.error.message? // .' <<<"$reply" 2>/dev/null || echo "$reply")" >&2
        return 1
        ;;
    esac
}
