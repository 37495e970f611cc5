# SPDX-License-Identifier: BSD-3-Clause
# Everything that is installed.  One convenience library a folder, in the order
# of the include table in HACKING.md.

AM_CPPFLAGS = -I$(top_srcdir)/include -I$(top_srcdir)/src -I$(top_builddir)
AM_CFLAGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla \
	$(WERROR_CFLAGS) $(SANITIZER_CFLAGS) -pthread -fvisibility=default
AM_LDFLAGS = $(SANITIZER_CFLAGS) -pthread

noinst_LTLIBRARIES =
lib_LTLIBRARIES =
bin_PROGRAMS =
sbin_PROGRAMS =
noinst_PROGRAMS =
dist_man_MANS =
EXTRA_DIST =
CLEANFILES =

nobase_include_HEADERS = include/dirtyferry/error.h include/dirtyferry/bitmap.h
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = dirtyferry.pc

noinst_LTLIBRARIES += libbase.la
libbase_la_SOURCES = \
	src/base/cleanup.h src/base/clock.h \
	src/base/error.c src/base/error.h \
	src/base/log.c src/base/log.h \
	src/base/size.c src/base/size.h \
	src/base/uuid.c src/base/uuid.h

noinst_LTLIBRARIES += libbitmap.la
libbitmap_la_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(NETTLE_CFLAGS)

libbitmap_la_SOURCES = \
	src/bitmap/map.h src/bitmap/map.c src/bitmap/mark.c src/bitmap/iterate.c \
	src/bitmap/merge.c src/bitmap/digest.c \
	src/bitmap/disk.h src/bitmap/disk.c src/bitmap/table.c src/bitmap/mapref.c \
	src/bitmap/section.c src/bitmap/writer.c \
	src/bitmap/permit.c src/bitmap/bitmap.c src/bitmap/handover.c

lib_LTLIBRARIES += libdirtyferry.la
libdirtyferry_la_SOURCES =
libdirtyferry_la_LIBADD = libbitmap.la libbase.la $(NETTLE_LIBS)
# current:revision:age as in the libtool manual; the map file carries the symbol version.
libdirtyferry_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined \
	-Wl,--version-script=$(top_srcdir)/src/dirtyferry.map
EXTRA_libdirtyferry_la_DEPENDENCIES = $(top_srcdir)/src/dirtyferry.map
EXTRA_DIST += src/dirtyferry.map
