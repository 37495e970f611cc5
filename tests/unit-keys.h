// SPDX-License-Identifier: BSD-3-Clause
/* Keys as they may be found in files, and that nothing tells a secret. */
#ifndef TESTS_UNIT_KEYS_H
#define TESTS_UNIT_KEYS_H

#include "net/keys.h"
#include "unit.h"

/* The two pairs of zmq_curve(7). */
#define PUBLIC  "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define SECRET  "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
#define PUBLIC2 "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define ZEROES  "0000000000000000000000000000000000000000"

#define CURVE   "curve\n    public-key = \"" PUBLIC "\"\n"
#define BOTH    CURVE "    secret-key = \"" SECRET "\"\n"

/* As zcert_save() of czmq 4.2 and create_certificates() of pyzmq write them. */
static const char czmq_public[] =
    "#   ****  Generated on 2026-11-22 06:49:54 by CZMQ  ****\n"
    "#   ZeroMQ CURVE Public Certificate\n"
    "#   Exchange securely, or use a secure mechanism to verify the contents\n"
    "#   of this file after exchange. Store public certificates in your home\n"
    "#   directory, in the .curve subdirectory.\n"
    "\n"
    "metadata\n"
    "    email = \"ph@imatix.com\"\n"
    "    name = \"Pieter Hintjens\"\n"
    "    roles = \"monitor\"\n"
    "curve\n"
    "    public-key = \"" PUBLIC "\"\n";
static const char czmq_secret[] =
    "#   ****  Generated on 2026-11-22 06:49:54 by CZMQ  ****\n"
    "#   ZeroMQ CURVE **Secret** Certificate\n"
    "#   DO NOT PROVIDE THIS FILE TO OTHER USERS nor change its permissions.\n"
    "\n"
    "metadata\n"
    "curve\n"
    "    public-key = \"" PUBLIC "\"\n"
    "    secret-key = \"" SECRET "\"\n";

static struct certificate certificate;

/* No eight characters of the secret in a row, wherever they come from. */
static inline void tells_no_secret(void)
{
    for (size_t i = 0; i + 8 < KEY_TEXT_BYTES; i++) {
        char part[9];
        snprintf(part, sizeof part, "%.8s", &SECRET[i]);
        ck_assert_msg(!strstr(unit_err.message, part), "the secret is in: %s", unit_err.message);
    }
}

#endif
