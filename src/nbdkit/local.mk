# SPDX-License-Identifier: BSD-3-Clause
# The nbdkit filter.  nbdkit loads it by dlopen() and asks for filter_init, nothing else.

nbdkitfilter_LTLIBRARIES =
if HAVE_NBDKIT
nbdkitfilter_LTLIBRARIES += nbdkit-dirtyferry-filter.la
endif

nbdkit_dirtyferry_filter_la_SOURCES = src/nbdkit/filter.c
nbdkit_dirtyferry_filter_la_CFLAGS = $(AM_CFLAGS) $(NBDKIT_CFLAGS)
nbdkit_dirtyferry_filter_la_LIBADD = libbitmap.la libbase.la $(NETTLE_LIBS)
nbdkit_dirtyferry_filter_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-export-symbols-regex '^filter_init$$'

EXTRA_DIST += src/nbdkit/nbdkit-dirtyferry-filter.pod
if HAVE_NBDKIT
if HAVE_POD2MAN
nodist_man1_MANS = nbdkit-dirtyferry-filter.1
CLEANFILES += nbdkit-dirtyferry-filter.1

nbdkit-dirtyferry-filter.1: src/nbdkit/nbdkit-dirtyferry-filter.pod
	$(AM_V_GEN)$(POD2MAN) --utf8 --errors=die --section=1 --name=NBDKIT-DIRTYFERRY-FILTER \
		--center=dirtyferry --release='$(PACKAGE_STRING)' $< $@.tmp && mv $@.tmp $@
endif
endif

# `make distcheck` installs into a prefix of its own, and nbdkit's directory is not in there.
AM_DISTCHECK_CONFIGURE_FLAGS = --with-nbdkit-filterdir=$$dc_install_base/lib/nbdkit/filters
