// SPDX-License-Identifier: BSD-3-Clause
/*
 * System calls on files with what every caller would add to them: short writes,
 * EINTR, file systems that cannot sync; and whose a file is.
 *
 * Private: of this user (geteuid), with one name, not a link, and nobody else
 * can write it.  One that others can read is closed to them when it is opened,
 * and the log says so.  What is not private is refused: -EPROTO if it is of
 * another kind, -EPERM if it is not ours alone.
 */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
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

/*
 * The name at the end of a path, and the directory that it is in, to be opened.
 * -EINVAL: there is no name of a file; -ENAMETOOLONG: `directory` has no room.
 */
int files_split(const char *path, char *directory, size_t room, const char **name);

/* A private file (0600) in an open directory, which the error calls `place`. */
int files_open(int dirfd, const char *place, const char *name, int flags, int *fd, struct df_error *err);
/* The private directory `name` in `parent`, made (0700) if it is not there; bits that `mode` has not are taken away. */
int files_open_directory(const char *parent, const char *name, mode_t mode, int *dirfd, struct df_error *err);
/* Is an open directory private?  What others can read is left to the caller. */
int files_check_directory(int fd, const char *path, struct df_error *err);
/* Take away the bits of its mode that `mode` has not. */
int files_limit_mode(int fd, const char *path, mode_t mode, struct df_error *err);

/* Is it root's or this user's? */
bool files_is_trusted(const struct stat *st);

/* What has that name: 1 a regular file of this user, 0 nothing, -EPROTO anything else, or an errno. */
int files_look(int dirfd, const char *name);
/* Unlink a regular file of this user; anything else stays, and the log says so. */
void files_remove(int dirfd, const char *name);

/* Call `each` with the names in a directory, until it returns other than 0, which is then returned; -errno if it cannot be read. */
int files_list(int dirfd, int (*each)(void *opaque, const char *name), void *opaque);

/*
 * A file or directory that programs which are not trusted may have exchanged.
 * The text for the user is what is wrong with it ("is a symbolic link"), or
 * NULL: it is of that type, it and its one name belong to us, root or `owner`,
 * and not every user may write to it.
 */
const char *files_distrust(const struct stat *st, mode_t type, uid_t owner);

/*
 * Open a regular file of which that is true, for reading and writing.  A link
 * is not followed, nothing else than a file is waited for.  -EPROTO: it is not
 * so, and *why says what is wrong; else *why is NULL.
 */
int files_open_shared(int dirfd, const char *file, uid_t owner, int *fd, struct stat *st, const char **why);

#endif
