# SPDX-License-Identifier: BSD-3-Clause
# The examples: an orchestrator from the protocol document, a program that embeds the library.

examples_tests = tests/orchestrator.sh tests/embed.sh
TESTS += $(examples_tests)
EXTRA_DIST += $(examples_tests) examples/orchestrator.py

# The public headers and the shared library are all that it sees.
check_PROGRAMS += examples/embed
examples_embed_SOURCES = examples/embed.c
examples_embed_CPPFLAGS = -I$(top_srcdir)/include
examples_embed_LDADD = libdirtyferry.la
