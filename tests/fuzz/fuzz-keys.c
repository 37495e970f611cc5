// SPDX-License-Identifier: BSD-3-Clause
/* Certificates of keys.  Input: the file. */
#include "base/cleanup.h"
#include "fuzz.h"
#include "net/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nbytes)
{
    CLEANUP(cleanup_free) uint8_t *copy = input_copy(bytes, nbytes);
    struct certificate certificate = { 0 };
    char secret[KEY_TEXT_BYTES] = "", roles[KEY_ROLES_BYTES];
    struct df_error err = { 0 };
    int r = keys_parse((const char *)copy, nbytes, &certificate, secret, &err);
    CHECK(r == err.code && (r == 0 || *err.message));
    if (r < 0)
        return 0;
    CHECK(key_is_valid(certificate.public_key) && (!*secret || key_is_valid(secret)));
    CHECK(strlen(key_roles_format(certificate.roles, roles)) < sizeof roles);
    return 0;
}
