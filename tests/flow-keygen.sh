#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# keygen: two files with the right modes, what it prints, what it refuses; no daemon is asked, and the
# secret is in one file and nowhere else.  pyzmq reads the files.
. "$(dirname "$0")/flow-common.sh"
export DIRTYFERRY_CONNECT="ipc://$dir/nobody.sock"
cd "$dir"

mode()
{
    stat -c %a "$1"
}

public_of()
{
    sed -n 's/^    public-key = "\(.*\)"$/\1/p' "$1"
}

secret_of()
{
    sed -n 's/^    secret-key = "\(.*\)"$/\1/p' "$1"
}

# ---- as text
"$dirtyferry" keygen one --role peer >stdout 2>stderr || fail "keygen fails: $(cat stderr)"
[ ! -s stderr ] || fail "keygen says on stderr: $(cat stderr)"
expect "length of the secret" "$(secret_of one_secret | tr -d '\n' | wc -c)" 40
for word in "certificate *one$" "secret *one_secret$" "roles *peer$" "allow directory"; do
    grep -q "$word" stdout || fail "keygen does not print '$word': $(cat stdout)"
done
grep -Fqx "public key   $(public_of one)" stdout || fail "the public key is not printed: $(cat stdout)"
expect "public key in the secret's file" "$(public_of one_secret)" "$(public_of one)"
[ -z "$(secret_of one)" ] || fail "the certificate has the secret in it"
! grep -Fq -e "$(secret_of one_secret)" stdout one || fail "the secret is told"
expect "files" "$(echo *)" "one one_secret stderr stdout"

# ---- as JSON; modes whatever the umask; several roles, before and behind the name
for mask in 000 077 777; do
    (umask $mask; "$dirtyferry" --json keygen --role monitor,peer two$mask --role orchestrator) >json
    expect "JSON" "$(json 'd == {"public_key": sys.argv[2], "certificate": sys.argv[3], "secret": sys.argv[3] + "_secret", "roles": ["orchestrator", "peer", "monitor"]}' \
        "$(public_of two$mask)" two$mask <json)" true
    expect "modes under umask $mask" "$(mode two$mask) $(mode two${mask}_secret)" "644 600"
    grep -qx '    roles = "orchestrator peer monitor"' two$mask || fail "the roles are not in: $(cat two$mask)"
done
[ "$(secret_of two000_secret)" != "$(secret_of two077_secret)" ] || fail "the same key twice"
expect "without a role" "$("$dirtyferry" keygen --json "$dir/with space" | json '[d["roles"], d["certificate"] == sys.argv[2]]' "$dir/with space")" '[[], true]'
! grep -q roles "with space" || fail "a key without a role has: $(cat "with space")"
expect "a name that is not UTF-8" "$("$dirtyferry" keygen --json $'\xff' | json '[d["certificate"], d["secret"]]')" '["(not UTF-8)", "(not UTF-8)"]'

# ---- what is refused changes nothing
before=$(sha256sum one one_secret)
files=$(echo *)
touch taken
mkdir writable
chmod 777 writable
refuse 1 "one_secret' is there" "never overwritten" -- "$dirtyferry" keygen one
mv one_secret moved
refuse 1 "'one' is there" -- "$dirtyferry" keygen one
[ ! -e one_secret ] || fail "half a pair is left"
mv moved one_secret
refuse 1 "'taken' is there" -- "$dirtyferry" keygen taken
refuse 1 "none/key'.*No such file" -- "$dirtyferry" keygen none/key
refuse 1 "'key_secret' ends in '_secret'" -- "$dirtyferry" keygen key_secret
refuse 1 "writable/key'.*chmod go-w" -- "$dirtyferry" keygen writable/key
refuse 1 "not the name of a key file" -- "$dirtyferry" keygen writable/
refuse 2 "'guest' is no role: orchestrator, peer and monitor are" -- "$dirtyferry" keygen key --role peer,guest
refuse 2 "names no role" -- "$dirtyferry" keygen key --role ''
refuse 2 "argument is missing" -- "$dirtyferry" keygen
refuse 2 "too many arguments" -- "$dirtyferry" keygen key key2
refuse 2 "nonsense" -- "$dirtyferry" keygen key --nonsense
rm taken
rmdir writable
expect "keys" "$(sha256sum one one_secret)" "$before"
expect "files" "$(echo *)" "$files"
"$dirtyferry" keygen --help | grep -q -- '--role ROLE' || fail "--help does not name --role"

# ---- other programs
if "$python" -c 'import zmq.auth' 2>/dev/null; then
    expect "what pyzmq reads" "$("$python" -c '
import zmq, zmq.auth
public, secret = zmq.auth.load_certificate("one_secret")
print(public.decode(), zmq.auth.load_certificate("one") == (public, None), zmq.curve_public(secret) == public)')" "$(public_of one) True True"
else
    echo "not tried: $python has no zmq.auth"
fi
