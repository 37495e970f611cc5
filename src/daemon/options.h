// SPDX-License-Identifier: BSD-3-Clause
/* The daemon's command line. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    const char *state_dir, *control, *data, *events, *advertise_data;
    const char *key, *allow;    /* both or none */
    bool insecure;
    const char *writer_group;       /* NULL: writers are of the daemon's own user */
    uint64_t max_bitmap_bytes;      /* 0: no limit */
};

/* Exits for --help and --version.  -EINVAL: the usage was wrong, and it has been said. */
int options_parse(int argc, char **argv, struct options *options);

#endif
