# SPDX-License-Identifier: BSD-3-Clause
# Manual pages from POD, what is in the tarball for readers, and the test that compares both with the programs.

EXTRA_DIST += README.md HACKING.md SECURITY.md NEWS COPYING bootstrap .ci/run proto \
	src/cli/dirtyferry.pod src/daemon/dirtyferryd.pod src/bitmap/libdirtyferry.pod

if HAVE_POD2MAN
nodist_man_MANS = dirtyferry.1 dirtyferryd.8 libdirtyferry.3
CLEANFILES += $(nodist_man_MANS)

pod2man = $(AM_V_GEN)$(POD2MAN) --utf8 --errors=die --center=dirtyferry --release='$(PACKAGE_STRING)'

dirtyferry.1: src/cli/dirtyferry.pod
	$(pod2man) --section=1 --name=DIRTYFERRY $< $@.tmp && mv $@.tmp $@

dirtyferryd.8: src/daemon/dirtyferryd.pod
	$(pod2man) --section=8 --name=DIRTYFERRYD $< $@.tmp && mv $@.tmp $@

libdirtyferry.3: src/bitmap/libdirtyferry.pod
	$(pod2man) --section=3 --name=LIBDIRTYFERRY $< $@.tmp && mv $@.tmp $@
endif

TESTS += tests/docs.sh
EXTRA_DIST += tests/docs.sh
