// SPDX-License-Identifier: BSD-3-Clause
/* An allow directory that the test fills and changes, and what is seen of that by who watches it. */
#ifndef TESTS_UNIT_ALLOW_H
#define TESTS_UNIT_ALLOW_H

#include <poll.h>

#include <zmq.h>

#include "net/allow.h"
#include "unit-files.h"

static const char *dir;
static struct allow *allow;

static inline void quiet_setup(void)
{
    static char path[700];
    unit_setup();
    snprintf(path, sizeof path, "%s/allow", unit_dir);
    dir = path;
    ck_assert_int_eq(mkdir(dir, 0755), 0);
    log_to_file();
}

static inline void quiet_teardown(void)
{
    allow_close(&allow);
    unit_teardown();
}

/* A few of them may be used in one expression. */
static inline const char *key(uint32_t i)
{
    static char texts[4][KEY_TEXT_BYTES];
    static unsigned next;
    uint8_t bytes[32] = { 7 };
    memcpy(bytes + 4, &i, sizeof i);
    char *text = texts[next++ % 4];
    ck_assert_ptr_nonnull(zmq_z85_encode(text, bytes, sizeof bytes));
    return text;
}

static inline const char *in_allow(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "allow/%s", name);
    return in_dir(path);
}

static inline const char *text_of(uint32_t i, const char *roles)
{
    static char text[300];
    snprintf(text, sizeof text, "metadata\n    roles = \"%s\"\ncurve\n    public-key = \"%s\"\n", roles, key(i));
    return text;
}

/* By a rename, as one should. */
static inline void put(const char *name, uint32_t i, const char *roles)
{
    put_text(in_allow(".new"), text_of(i, roles), 0644);
    ck_assert_int_eq(rename(in_allow(".new"), in_allow(name)), 0);
}

static inline void take_away(const char *name)
{
    ck_assert_int_eq(unlink(in_allow(name)), 0);
}

static inline void may(uint32_t i, unsigned roles, const char *name)
{
    char got[ALLOW_NAME_BYTES] = "?";
    ck_assert_uint_eq(allow_roles(allow, key(i), got), roles);
    ck_assert_str_eq(got, name);
    ck_assert_uint_eq(allow_roles(allow, key(i), NULL), roles);
}

static unsigned ngone;
static char last_gone[KEY_TEXT_BYTES];

static inline void note_gone(void *opaque, const char *public_key)
{
    ck_assert_ptr_eq(opaque, &ngone);
    /* It may ask, and hears what is true now. */
    allow_roles(allow, public_key, NULL);
    snprintf(last_gone, sizeof last_gone, "%s", public_key);
    ngone++;
}

static inline bool readable(void)
{
    struct pollfd fd = { allow_fd(allow), POLLIN, 0 };
    ck_assert_int_ge(fd.fd, 0);
    return poll(&fd, 1, 0) == 1;
}

static inline bool refresh(void)
{
    ngone = 0;
    return allow_refresh(allow, note_gone, &ngone);
}

/* The directory says that something happened, and `n` keys lost something by it. */
static inline void changed(unsigned n)
{
    ck_assert_msg(readable(), "nothing happened in the directory");
    ck_assert(refresh());
    ck_assert_uint_eq(ngone, n);
    ck_assert(!readable());
}

static inline void unchanged(void)
{
    ck_assert(!refresh());
    ck_assert_uint_eq(ngone, 0);
}

static inline void refused(int code, const char *path, const char *why)
{
    FAILS(code, allow_open(path, &allow, &unit_err));
    ck_assert_msg(strstr(unit_err.message, why), "'%s' is not in: %s", why, unit_err.message);
    ck_assert_ptr_null(allow);
}

/* Two keys: 1 is a peer, 2 a monitor. */
static inline void open_two(void)
{
    put("a", 1, "peer");
    put("b", 2, "monitor");
    OK(allow_open(dir, &allow, &unit_err));
    ck_assert(!readable());
}

static inline TCase *quiet_case(Suite *suite, const char *name)
{
    return unit_case_with(suite, name, quiet_setup, quiet_teardown);
}

#endif
