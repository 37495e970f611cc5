// SPDX-License-Identifier: BSD-3-Clause
/* System calls on files with what every caller would add to them: short writes, EINTR, file systems that cannot sync. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stddef.h>
#include <sys/types.h>

#include <dirtyferry/error.h>

/* All bytes, at `offset`.  0 or a negative errno; some of them may be written then. */
int files_pwrite(int fd, const void *bytes, size_t nbytes, off_t offset);

/*
 * fdatasync(2) of a file, fsync(2) of a directory.  EINVAL is a file system
 * without stable storage: nothing is lost by a sync that it cannot do.
 */
int files_sync(int fd);
int files_sync_directory(int fd);

/* The directory `name` in `parent`, made (0700) if it is not there. */
int files_open_directory(const char *parent, const char *name, int *dirfd, struct df_error *err);

/* Call `each` with the names in a directory, until it returns other than 0, which is then returned; -errno if it cannot be read. */
int files_list(int dirfd, int (*each)(void *opaque, const char *name), void *opaque);

#endif
