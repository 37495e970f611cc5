// SPDX-License-Identifier: BSD-3-Clause
/*
 * A monitor in a thread that plays a script, and a QMP client that is connected to it.
 *
 * A script is a list of texts: "<" reads a command, "*" sends more of a string
 * than anybody takes, "@" sends events, "-" neither reads nor sends, all three until
 * the client hangs up; anything else is sent, with the last command's id in place of "$".  At its end the
 * monitor waits until the client hangs up, or hangs up itself.
 */
#ifndef TESTS_UNIT_QMP_H
#define TESTS_UNIT_QMP_H

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "qemu/qmp.h"
#include "unit.h"

#define LONG_MS 60000       /* does not run out */

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 9, \"minor\": 2, \"major\": 7}}, \"capabilities\": [\"oob\"]}}\r\n"
#define RETURN "{\"return\": {}, \"id\": $}\r\n"
#define SHUTDOWN "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"SHUTDOWN\", \"data\": {\"guest\": true}}\r\n"

static struct {
    pthread_t thread;
    int listener, fd;
    const char *const *script;
    bool hang_up;
    size_t cut;             /* hang up after that many bytes */
    size_t piece;           /* bytes a write, at most; 0: random */
    size_t sent;
    json_int_t id;
    json_t *commands;       /* what was read */
} fake;

static char path[400];

/* False when the client has hung up, or the cut is reached. */
static inline bool fake_send(const char *bytes, size_t nbytes)
{
    while (nbytes) {
        size_t n = fake.piece ? fake.piece : 1 + unit_below(9);
        n = n < nbytes ? n : nbytes;
        n = n < fake.cut ? n : fake.cut;
        ssize_t sent = send(fake.fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        fake.cut -= (size_t)sent;
        fake.sent += (size_t)sent;
        bytes += sent;
        nbytes -= (size_t)sent;
    }
    return true;
}

static inline bool fake_text(const char *text)
{
    for (const char *dollar; (dollar = strchr(text, '$')); text = dollar + 1) {
        char id[32];
        snprintf(id, sizeof id, "%" JSON_INTEGER_FORMAT, fake.id);
        if (!fake_send(text, (size_t)(dollar - text)) || !fake_send(id, strlen(id)))
            return false;
    }
    return fake_send(text, strlen(text));
}

static inline bool fake_read(void)
{
    char line[65536];
    size_t n = 0;
    do
        if (n == sizeof line || recv(fake.fd, line + n, 1, 0) != 1)
            return false;
    while (line[n++] != '\n');
    json_t *command = json_loadb(line, n, 0, NULL);
    ck_assert_ptr_nonnull(command);
    fake.id = json_integer_value(json_object_get(command, "id"));
    json_array_append_new(fake.commands, command);
    return true;
}

static inline void fake_flood(const char *begin, const char *more)
{
    static char block[65536];
    size_t used = 0;
    for (; used + strlen(more) < sizeof block; used += strlen(more))
        memcpy(block + used, more, strlen(more));
    fake.piece = sizeof block;
    for (bool on = fake_text(begin); on; on = fake_send(block, used))
        ;
}

static inline void *fake_run(void *opaque)
{
    (void)opaque;
    unit_state = unit_seed;
    char rest[256];
    bool on = true;
    fake.fd = accept(fake.listener, NULL, NULL);
    for (const char *const *step = fake.script; on && *step; step++) {
        if (!strcmp(*step, "<"))
            on = fake_read();
        else if (!strcmp(*step, "*"))
            fake_flood("{\"return\": \"", "[[[[{{{{aaaaaaaa");
        else if (!strcmp(*step, "@"))
            fake_flood("", SHUTDOWN);
        else if (!strcmp(*step, "-"))
            poll(&(struct pollfd){ .fd = fake.fd, .events = POLLRDHUP }, 1, -1);
        else
            on = fake_text(*step);
    }
    if (on && !fake.hang_up)
        while (recv(fake.fd, rest, sizeof rest, 0) > 0)
            ;
    close(fake.fd);
    return NULL;
}

static inline void fake_listen(int backlog)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(path, sizeof path, "%s/qmp", unit_dir);
    ck_assert_uint_lt(strlen(path), sizeof address.sun_path);
    strcpy(address.sun_path, path);
    unlink(path);
    fake.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fake.listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(fake.listener, backlog), 0);
}

static inline void fake_start(const char *const *script)
{
    fake.script = script;
    fake.hang_up = false;
    fake.id = 0;
    fake.cut = SIZE_MAX;
    fake.piece = 65536;
    fake.commands = json_array();
    fake_listen(4);
}

static inline void fake_go(void)
{
    ck_assert_int_eq(pthread_create(&fake.thread, NULL, fake_run, NULL), 0);
}

static inline void fake_end(struct qmp **qmp)
{
    qmp_close(qmp);
    ck_assert_ptr_null(*qmp);
    pthread_join(fake.thread, NULL);
    close(fake.listener);
    json_decref(fake.commands);
}

#define SCRIPT(...) fake_start((const char *const[]){ __VA_ARGS__, NULL })

static inline struct qmp *opened(void)
{
    struct qmp *qmp = NULL;
    fake_go();
    OK(qmp_open(path, LONG_MS, &qmp, &unit_err));
    ck_assert(qmp_is_usable(qmp));
    ck_assert_str_eq(qmp_socket(qmp), path);
    return qmp;
}

#endif
