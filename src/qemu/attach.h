// SPDX-License-Identifier: BSD-3-Clause
/*
 * A disk whose bitmaps are those of a node of QEMU.
 *
 * It is a disk of the built-in store like any other, of the node's size, with a
 * file (STATE/disks/DISK/qemu, a JSON object) that says where QEMU is.  What
 * sessions move through this host lives there meanwhile; the users' bitmaps do not.
 */
#ifndef QEMU_ATTACH_H
#define QEMU_ATTACH_H

#include "qemu/node.h"

#define QEMU_SOCKET_MAX 107u        /* bytes of the path of a unix socket */
#define QEMU_NBD_MAX    255u

struct qemu_attachment {
    char socket[QEMU_SOCKET_MAX + 1];       /* of QMP: an absolute path */
    char node[QEMU_NODE_NAME_MAX + 1];
    char nbd[QEMU_NBD_MAX + 1];             /* where QEMU's NBD server listens already: HOST:PORT or an absolute path; "": it has none */
};

/*
 * Asks QEMU for the node's size and creates the disk, or nothing.  -EEXIST: there
 * is a disk of that name, or one for that node.  `data`: where the contents can
 * be read, or NULL.
 */
int qemu_attach(const char *state_dir, const char *disk, const struct qemu_attachment *attachment, const char *data, struct df_error *err);

/* 1: the disk is QEMU's, 0: it is not, or there is no such disk; -EPROTO: its file is damaged. */
int qemu_attachment(const char *state_dir, const char *disk, struct qemu_attachment *attachment, struct df_error *err);

#endif
