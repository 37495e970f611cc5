// SPDX-License-Identifier: BSD-3-Clause
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

static const char usage[] =
    "Usage: dirtyferryd --state-dir DIR [OPTION]...\n"
    "Keeps the dirty bitmaps of disks and moves them to and from other daemons.\n"
    "\n"
    "  --state-dir DIR        where disks and bitmaps live; made if it is not there.\n"
    "                         Programs that record writes (the nbdkit filter, the\n"
    "                         library) are given the same directory.\n"
    "  --control EP           requests        [tcp://127.0.0.1:7440]\n"
    "  --data EP              bitmaps coming in [tcp://127.0.0.1:7441]\n"
    "  --events EP            progress, state [tcp://127.0.0.1:7442]\n"
    "  --advertise-data EP    what sources are told to connect to (behind NAT or a proxy)\n"
    "  --verbose              log more\n"
    "  --help, --version\n"
    "\n"
    "EP is tcp://HOST:PORT or ipc://PATH; PORT may be * for any free one.\n"
    "When it serves it prints one line: ready control=EP data=EP events=EP\n";

int options_parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){ .control = "tcp://127.0.0.1:7440", .data = "tcp://127.0.0.1:7441", .events = "tcp://127.0.0.1:7442" };
    static const struct option longs[] = {
        { "state-dir", required_argument, NULL, 's' }, { "control", required_argument, NULL, 'c' },
        { "data", required_argument, NULL, 'd' },      { "events", required_argument, NULL, 'e' },
        { "advertise-data", required_argument, NULL, 'a' },
        { "verbose", no_argument, NULL, 'v' },         { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },         { 0 }
    };
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 's': o->state_dir = optarg; break;
        case 'c': o->control = optarg; break;
        case 'd': o->data = optarg; break;
        case 'e': o->events = optarg; break;
        case 'a': o->advertise_data = optarg; break;
        case 'v': log_set_level(LOG_LEVEL_DEBUG); break;
        case 'h': fputs(usage, stdout); exit(0);
        case 'V': puts("dirtyferryd " PACKAGE_VERSION); exit(0);
        default:
            fputs("Try 'dirtyferryd --help'.\n", stderr);
            return -EINVAL;
        }
    }
    if (optind == argc && o->state_dir)
        return 0;
    fprintf(stderr, optind < argc ? "dirtyferryd: the argument '%s' is not expected.  Try 'dirtyferryd --help'.\n"
                                  : "dirtyferryd: --state-dir is needed%s.  Try 'dirtyferryd --help'.\n", optind < argc ? argv[optind] : "");
    return -EINVAL;
}
