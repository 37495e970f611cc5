#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Bombs of msgpack from a peer that is allowed: refused before memory is reserved for them.
. "$(dirname "$0")/attack-common.sh"
keyed_hosts
by mallory

assault "bombs on control" 64 messages "${by[@]}" control "${control[b]%%,*}" 20
told "refused: key 'mallory' at 127\.0\.0\.1: control: a message that is no request"
told "refused: key 'mallory' at 127\.0\.0\.1: control: .* parts of a request"
assault "bombs on data" 64 messages "${by[@]}" data "${data[b]}" 200
told "refused: key 'mallory' at 127\.0\.0\.1: data: a frame: not a list of six"
told "refused: key 'mallory' at 127\.0\.0\.1: data: a frame: a message of several parts"
done_attacking
