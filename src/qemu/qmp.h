// SPDX-License-Identifier: BSD-3-Clause
/*
 * A client of QMP, the monitor protocol of QEMU and of its storage daemon.
 *
 * Calls block until there is an answer, at most as long as their deadline, so
 * they are for a thread that may wait.  A struct qmp is used by one thread at a
 * time.
 *
 * Who cannot tell whether QEMU has carried out a command gets -ECONNRESET (the
 * link broke), -ETIMEDOUT or -EPROTO (what came is not QMP).  The connection is
 * given up then, every further call is -ECONNRESET, so that a late answer is
 * never taken for that of another command: close it, open a new one, look.
 */
#ifndef QEMU_QMP_H
#define QEMU_QMP_H

#include <jansson.h>
#include <stdbool.h>

#include <dirtyferry/error.h>

#define QMP_MESSAGE_BYTES (64u << 20)   /* the longest that is taken from QEMU */

struct qmp;

/*
 * Connect to a monitor's unix socket and get through the greeting; `timeout_ms`
 * is for all of it.  -ECONNREFUSED: nobody listens there.
 */
int qmp_open(const char *socket, int timeout_ms, struct qmp **qmp, struct df_error *err);
void qmp_close(struct qmp **qmp);

const char *qmp_socket(const struct qmp *qmp);
bool qmp_is_usable(const struct qmp *qmp);

/*
 * Carry out a command.  `arguments` is taken, and NULL for a command that has
 * none.  *result is what QEMU returned, to be freed by json_decref(); `result`
 * may be NULL.  A refusal of QEMU has its own words in the sentence and is
 * -ENOTSUP for a command that it does not know, -ENOENT where QEMU's class of
 * error says so, else -EREMOTEIO; the connection stays usable.
 */
int qmp_call(struct qmp *qmp, const char *command, json_t *arguments, json_t **result, int timeout_ms, struct df_error *err);

/*
 * Several commands as one: all of them take effect or none.  `actions` is a
 * json_array() that qmp_action() appends to (`data` is taken); qmp_transaction()
 * takes it and carries it out.  `data` may be what json_pack() returned: where
 * that failed, for a name that is not UTF-8, the transaction is -EINVAL.
 */
void qmp_action(json_t *actions, const char *type, json_t *data);
int qmp_transaction(struct qmp *qmp, json_t *actions, int timeout_ms, struct df_error *err);

#endif
