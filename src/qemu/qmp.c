// SPDX-License-Identifier: BSD-3-Clause
/*
 * QMP is a stream of JSON objects: a greeting, then an answer to each command,
 * with the command's id, and events at any time in between.
 *
 * What comes is cut into messages by counting brackets outside of strings
 * (monitors may print one object over several lines) and parsed when a message
 * is whole, never beyond QMP_MESSAGE_BYTES.  An answer with another id than the
 * last command's is a breach of the protocol: after a command whose answer did
 * not come in time the connection is not used any more.
 */
#include "qemu/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

struct qmp {
    int fd;                     /* -1: given up */
    char socket[sizeof ((struct sockaddr_un *)0)->sun_path];
    json_int_t id;              /* of the last command */
    char *bytes;                /* received and not taken yet */
    size_t size, used;
    size_t scanned;             /* of them; what was found there: */
    unsigned depth;             /* brackets that are open */
    bool in_string, escaped;
};

const char *qmp_socket(const struct qmp *qmp)
{
    return qmp->socket;
}

bool qmp_is_usable(const struct qmp *qmp)
{
    return qmp->fd >= 0;
}

static void give_up(struct qmp *qmp)
{
    if (qmp->fd >= 0)
        close(steal_fd(&qmp->fd));
}

void qmp_close(struct qmp **qmpp)
{
    struct qmp *qmp = steal(qmpp);
    if (!qmp)
        return;
    give_up(qmp);
    free(qmp->bytes);
    free(qmp);
}

/* ---------------------------------------------------------------- the link */

/* 0 when the socket is ready; the deadline holds also for an end that never stops talking. */
static int await(const struct qmp *qmp, short events, int64_t deadline_ms)
{
    struct pollfd item = { .fd = qmp->fd, .events = events };
    for (;;) {
        int64_t left = deadline_ms - clock_ms();
        if (left <= 0)
            return -ETIMEDOUT;
        int n = poll(&item, 1, left < INT32_MAX ? (int)left : INT32_MAX);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int send_all(struct qmp *qmp, const char *bytes, size_t nbytes, int64_t deadline_ms)
{
    while (nbytes) {
        int r = await(qmp, POLLOUT, deadline_ms);
        if (r < 0)
            return r;
        ssize_t n = send(qmp->fd, bytes, nbytes, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -ECONNRESET;
        if (n > 0) {
            bytes += n;
            nbytes -= (size_t)n;
        }
    }
    return 0;
}

static int read_some(struct qmp *qmp, int64_t deadline_ms)
{
    if (qmp->used == qmp->size) {
        if (qmp->size == QMP_MESSAGE_BYTES)
            return -EPROTO;
        qmp->size = qmp->size ? qmp->size * 2 : 4096;
        qmp->bytes = realloc(qmp->bytes, qmp->size);
        if (!qmp->bytes)
            abort();
    }
    int r = await(qmp, POLLIN, deadline_ms);
    if (r < 0)
        return r;
    ssize_t n = recv(qmp->fd, qmp->bytes + qmp->used, qmp->size - qmp->used, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
    if (n == 0)
        return -ECONNRESET;
    qmp->used += (size_t)n;
    return 0;
}

/* ---------------------------------------------------------------- messages */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* 1: a message ends at qmp->scanned, 0: more bytes are needed, -EPROTO: these begin no message. */
static int scan(struct qmp *qmp)
{
    while (qmp->scanned < qmp->used) {
        char c = qmp->bytes[qmp->scanned++];
        if (qmp->escaped)
            qmp->escaped = false;
        else if (qmp->in_string && c == '\\')
            qmp->escaped = true;
        else if (c == '"' && qmp->depth)
            qmp->in_string = !qmp->in_string;
        else if (qmp->in_string)
            continue;
        else if (c == '{' || c == '[')
            qmp->depth++;
        else if ((c == '}' || c == ']') && qmp->depth) {
            if (--qmp->depth == 0)
                return 1;
        } else if (!qmp->depth && !is_space(c))
            return -EPROTO;
    }
    return 0;
}

static int receive(struct qmp *qmp, int64_t deadline_ms, json_t **message)
{
    int r;
    while ((r = scan(qmp)) == 0)
        if ((r = read_some(qmp, deadline_ms)) < 0)
            return r;
    if (r < 0)
        return r;
    *message = json_loadb(qmp->bytes, qmp->scanned, 0, NULL);
    qmp->used -= qmp->scanned;
    memmove(qmp->bytes, qmp->bytes + qmp->scanned, qmp->used);
    qmp->scanned = 0;
    return json_is_object(*message) ? 0 : -EPROTO;
}

/* The sentence for a failure of the link while `what` was awaited. */
static int lost(struct qmp *qmp, int r, const char *what, int timeout_ms, struct df_error *err)
{
    give_up(qmp);
    if (r == -ETIMEDOUT)
        return error_set(err, r, "QEMU at '%s' has not answered %s within %d ms: see whether it hangs, then try again", qmp->socket, what, timeout_ms);
    if (r == -ECONNRESET)
        return error_set(err, r, "QEMU at '%s' closed the connection before it answered %s: see whether it has ended, then try again", qmp->socket, what);
    if (r == -EPROTO)
        return error_set(err, r, "what came from '%s' in answer to %s is not QMP: give the socket of a QMP monitor", qmp->socket, what);
    return error_errno(err, r, "cannot wait for QEMU at '%s' to answer %s", qmp->socket, what);
}

/* ---------------------------------------------------------------- commands */

static int refused(const struct qmp *qmp, const char *command, const json_t *error, struct df_error *err)
{
    const char *class = json_string_value(json_object_get(error, "class")), *desc = json_string_value(json_object_get(error, "desc"));
    int code = !class                               ? -EREMOTEIO
               : !strcmp(class, "CommandNotFound") ? -ENOTSUP
               : !strcmp(class, "DeviceNotFound")  ? -ENOENT
                                                   : -EREMOTEIO;
    return error_set(err, code, "QEMU at '%s' refused %s: %s", qmp->socket, command, desc ? desc : "it does not say why");
}

static int send_command(struct qmp *qmp, const char *command, json_t *arguments, int64_t deadline_ms)
{
    CLEANUP(json_decrefp) json_t *message = json_pack("{s:s, s:I, s:O*}", "execute", command, "id", ++qmp->id, "arguments", arguments);
    if (!message)
        abort();
    size_t nbytes = json_dumpb(message, NULL, 0, JSON_COMPACT);
    CLEANUP(cleanup_free) char *text = malloc(nbytes + 1);
    if (!text)
        abort();
    json_dumpb(message, text, nbytes, JSON_COMPACT);
    text[nbytes] = '\n';
    return send_all(qmp, text, nbytes + 1, deadline_ms);
}

/* The answer to the last command; events before it are left out. */
static int receive_answer(struct qmp *qmp, int64_t deadline_ms, json_t **answer)
{
    for (;;) {
        CLEANUP(json_decrefp) json_t *message = NULL;
        int r = receive(qmp, deadline_ms, &message);
        if (r < 0)
            return r;
        if (json_object_get(message, "event"))
            continue;
        const json_t *id = json_object_get(message, "id");
        if (!json_is_integer(id) || json_integer_value(id) != qmp->id)
            return -EPROTO;
        if (!json_object_get(message, "return") && !json_is_object(json_object_get(message, "error")))
            return -EPROTO;
        *answer = steal(&message);
        return 0;
    }
}

static int call_until(struct qmp *qmp, const char *command, json_t *arguments, json_t **result,
                      int64_t deadline_ms, int timeout_ms, struct df_error *err)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    if (!qmp_is_usable(qmp))
        return error_set(err, -ECONNRESET, "%s cannot be sent to QEMU at '%s': the connection was given up after an error, try again", command, qmp->socket);
    int r = send_command(qmp, command, arguments, deadline_ms);
    if (!r)
        r = receive_answer(qmp, deadline_ms, &answer);
    if (r < 0)
        return lost(qmp, r, command, timeout_ms, err);
    const json_t *error = json_object_get(answer, "error");
    if (error)
        return refused(qmp, command, error, err);
    if (result)
        *result = json_incref(json_object_get(answer, "return"));
    return 0;
}

int qmp_call(struct qmp *qmp, const char *command, json_t *arguments, json_t **result, int timeout_ms, struct df_error *err)
{
    int r = call_until(qmp, command, arguments, result, clock_ms() + timeout_ms, timeout_ms, err);
    json_decref(arguments);
    return r;
}

void qmp_action(json_t *actions, const char *type, json_t *data)
{
    json_t *action = data ? json_pack("{s:s, s:o}", "type", type, "data", data) : json_null();
    if (json_array_append_new(actions, action) < 0)
        abort();
}

int qmp_transaction(struct qmp *qmp, json_t *actions, int timeout_ms, struct df_error *err)
{
    size_t i;
    const json_t *action;
    json_array_foreach (actions, i, action) {
        if (json_is_object(action))
            continue;
        json_decref(actions);
        return error_set(err, -EINVAL, "QEMU at '%s' cannot be asked: a name is not UTF-8, choose another one", qmp->socket);
    }
    return qmp_call(qmp, "transaction", json_pack("{s:o}", "actions", actions), NULL, timeout_ms, err);
}

/* -------------------------------------------------------------------- open */

/*
 * A monitor takes one client; the next one waits in the queue of the socket,
 * and when that is full, in connect().  SO_SNDTIMEO bounds that: a connect()
 * that does not block cannot be waited for on a unix socket.
 */
static int connect_to(struct qmp *qmp, int timeout_ms)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval timeout = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
    memcpy(address.sun_path, qmp->socket, sizeof address.sun_path);
    qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (qmp->fd < 0 || setsockopt(qmp->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) < 0)
        return -errno;
    int r;
    do
        r = connect(qmp->fd, (const struct sockaddr *)&address, sizeof address);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    return fcntl(qmp->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int receive_greeting(struct qmp *qmp, int64_t deadline_ms)
{
    CLEANUP(json_decrefp) json_t *greeting = NULL;
    int r = receive(qmp, deadline_ms, &greeting);
    return r < 0 ? r : json_is_object(json_object_get(greeting, "QMP")) ? 0 : -EPROTO;
}

static int get_through(struct qmp *qmp, int timeout_ms, struct df_error *err)
{
    int64_t deadline_ms = clock_ms() + timeout_ms;
    int r = connect_to(qmp, timeout_ms);
    if (r < 0 && r != -ETIMEDOUT)
        return error_set(err, r == -ENOENT ? -ECONNREFUSED : r, "cannot connect to QEMU at '%s': %s: start it with -qmp unix:PATH,server=on,wait=off",
                         qmp->socket, strerror(-r));
    if (!r)
        r = receive_greeting(qmp, deadline_ms);
    if (r == -ETIMEDOUT)
        return error_set(err, r, "QEMU at '%s' has not greeted within %d ms: it hangs, or another program is connected to this monitor, which serves one "
                         "at a time: give QEMU one for dirtyferry alone", qmp->socket, timeout_ms);
    if (r < 0)
        return lost(qmp, r, "the connection", timeout_ms, err);
    return call_until(qmp, "qmp_capabilities", NULL, NULL, deadline_ms, timeout_ms, err);
}

int qmp_open(const char *socket, int timeout_ms, struct qmp **result, struct df_error *err)
{
    CLEANUP(qmp_close) struct qmp *qmp = calloc(1, sizeof *qmp);
    if (!qmp)
        abort();
    qmp->fd = -1;
    if (strlen(socket) >= sizeof qmp->socket)
        return error_set(err, -EINVAL, "cannot connect to QEMU at '%.255s': the path has %zu bytes, a socket's has at most %zu: choose a shorter one",
                         socket, strlen(socket), sizeof qmp->socket - 1);
    strcpy(qmp->socket, socket);
    int r = get_through(qmp, timeout_ms, err);
    if (!r)
        *result = steal(&qmp);
    return r;
}
